"""What controllers and kubelets would write into the demo's cluster, which has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.demo.hybrid.cast import Cast, Definition, Member
from reconciler.demo.hybrid.kubernetes_api import KubernetesApi

NAMESPACE, ACCOUNT = "meshwright", "meshwright"
"""Of the account that examples/kubernetes makes."""


async def fill(cluster: KubernetesApi, cast: Cast) -> None:
    """Everything that the cluster has: objects first, then Pods that are ready, then who serves what."""
    for definition in cast.objects:
        await cluster.apply(definition)
    for pod in cast.pods:
        await cluster.apply(pod.definition)
        await say_ready(cluster, cast, pod, is_ready=True)


async def say_ready(cluster: KubernetesApi, cast: Cast, pod: Member, *, is_ready: bool) -> None:
    """The kubelet reports the Pod's condition, and the controller writes the EndpointSlices of it."""
    await cluster.report(pod.definition, status(pod, is_ready=is_ready))
    for service in _selecting(cast, pod):
        await cluster.apply(endpoint_slice(service, pod, is_ready=is_ready))


def status(pod: Member, *, is_ready: bool) -> dict[str, Any]:
    """The status of a Pod that runs."""
    address = pod.workload.address
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": str(is_ready)}],
    }


def endpoint_slice(service: Definition, pod: Member, *, is_ready: bool) -> dict[str, Any]:
    """One Pod as a Service has it.

    A slice of its own: the Pods of the demo are on one machine and have a port each, and a slice has one
    port for all of its endpoints. (Where the target port is a name, the controller does the same.)
    """
    metadata = service["metadata"]
    reference = {"kind": "Pod", "namespace": pod.workload.namespace, "name": pod.workload.name}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{metadata['name']}-{pod.workload.name}",
            "namespace": metadata["namespace"],
            "labels": {"kubernetes.io/service-name": metadata["name"]},
        },
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [pod.workload.address],
                "conditions": {"ready": is_ready, "serving": is_ready, "terminating": False},
                "targetRef": reference,
            }
        ],
        "ports": [{"name": "http", "port": pod.workload.port, "protocol": "TCP"}],
    }


def _selecting(cast: Cast, pod: Member) -> Iterator[Definition]:
    """The Services whose selector picks the Pod."""
    for one in cast.objects:
        if one["kind"] == "Service" and one["metadata"]["namespace"] == pod.workload.namespace:
            selector: Mapping[str, str] = one["spec"]["selector"]
            if selector.items() <= pod.workload.labels.items():
                yield one
