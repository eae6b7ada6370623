"""Objects of the Kubernetes API as the server writes them, with everything defaulted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]
SIDECAR = {"security.istio.io/tlsMode": "istio"}
CREATED = "2026-01-02T03:04:05Z"


def a_service(
    name: str = "reviews",
    namespace: str = "shop",
    *,
    ports: Sequence[Mapping[str, Any]] = ({"name": "http", "port": 9080, "protocol": "TCP"},),
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    **spec: Any,
) -> Object:
    """A Service at 10.96.0.1 that selects ``app: <name>``."""
    return {
        "metadata": _metadata(name, namespace, labels, annotations),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "10.96.0.1",
            "clusterIPs": ["10.96.0.1"],
            "ipFamilies": ["IPv4"],
            "selector": {"app": name},
            "ports": [dict(port) for port in ports],
            **spec,
        },
    }


def a_pod(
    name: str = "reviews-1",
    namespace: str = "shop",
    *,
    address: str = "10.1.0.1",
    app: str = "",
    labels: Mapping[str, str] | None = None,
    uid: str = "",
    node: str = "node-a",
    account: str = "reviews",
    phase: str = "Running",
    is_ready: bool = True,
    containers: Sequence[Mapping[str, Any]] = ({"name": "app"},),
    **status: Any,
) -> Object:
    """A Pod with a sidecar, labelled ``app: <name without its last part>``."""
    chosen = {"app": app or name.rpartition("-")[0] or name, **SIDECAR, **(labels or {})}
    addresses = {"podIP": address, "podIPs": [{"ip": address}]} if address else {}
    return {
        "metadata": {**_metadata(name, namespace, chosen, None), "uid": uid or f"uid of {name}"},
        "spec": {
            "nodeName": node,
            "serviceAccountName": account,
            "containers": [dict(c) for c in containers],
        },
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": "True" if is_ready else "False"}],
            **addresses,
            **status,
        },
    }


def an_endpoint(
    pod: str | None = "reviews-1",
    address: str = "10.1.0.1",
    *,
    namespace: str = "shop",
    uid: str | None = None,
    zone: str = "",
    node: str = "node-a",
    **conditions: bool,
) -> Object:
    """One endpoint; ready, and of a Pod, unless said otherwise."""
    target = {
        "kind": "Pod",
        "name": pod,
        "namespace": namespace,
        "uid": f"uid of {pod}" if uid is None else uid,
    }
    return {
        "addresses": [address],
        "conditions": conditions or {"ready": True, "serving": True, "terminating": False},
        "nodeName": node,
        **({"targetRef": target} if pod else {}),
        **({"zone": zone} if zone else {}),
    }


def a_slice(
    *endpoints: Object,
    service: str = "reviews",
    name: str = "",
    namespace: str = "shop",
    ports: Sequence[Mapping[str, Any]] = ({"name": "http", "port": 8080, "protocol": "TCP"},),
    family: str = "IPv4",
) -> Object:
    """An EndpointSlice of a Service, whose Pods listen at 8080."""
    return {
        "metadata": _metadata(
            name or f"{service}-a", namespace, {"kubernetes.io/service-name": service}, None
        ),
        "addressType": family,
        "endpoints": list(endpoints),
        "ports": [dict(port) for port in ports],
    }


def a_node(name: str = "node-a", region: str = "eu", zone: str = "eu-1", subzone: str = "") -> Object:
    """A Node, and where it is."""
    said = {
        "topology.kubernetes.io/region": region,
        "topology.kubernetes.io/zone": zone,
        "topology.istio.io/subzone": subzone,
    }
    return {"metadata": _metadata(name, "", said, None)}


def a_namespace(name: str = "shop", **labels: str) -> Object:
    """A Namespace; underscores of its labels stand for hyphens."""
    return {"metadata": _metadata(name, "", {k.replace("_", "-"): v for k, v in labels.items()}, None)}


def _metadata(
    name: str, namespace: str, labels: Mapping[str, str] | None, annotations: Mapping[str, str] | None
) -> Object:
    return {
        "name": name,
        **({"namespace": namespace} if namespace else {}),
        "creationTimestamp": CREATED,
        "labels": dict(labels or {}),
        "annotations": dict(annotations or {}),
    }
