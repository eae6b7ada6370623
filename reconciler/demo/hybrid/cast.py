"""Who runs in the hybrid demo: read from its own copy of the example.

``consul/`` holds what machines register, in the words of Consul's configuration; ``kubernetes/`` what the
cluster has; the rest is the mesh's repository. Pods have the address of this machine and a port each:
Kubernetes takes no endpoint on the loopback network.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.demo import workloads
from reconciler.demo.workloads import ProxyPorts, Workload

CONSUL, KUBERNETES, GIT = "dc1", "k8s", "git"
"""The registries, as ``mesh.yaml`` names them."""
FIRST, NEWCOMER = "consul/services.json", "consul/newcomer.json"
_CLUSTER = "kubernetes/"
_FIRST_POD = 31
"""The last number of the loopback address on which the first Pod's proxy has the ports of its own."""

Definition = Mapping[str, Any]
"""A service instance as Consul has it, or an object as Kubernetes has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One workload, and what its registry is told of it (nothing, where Git declares it)."""

    workload: Workload
    registry: str
    definition: Definition


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Everybody. ``newcomer`` registers in Consul while the demo runs."""

    client: Member
    machines: tuple[Member, ...]
    pods: tuple[Member, ...]
    newcomer: Member
    objects: tuple[Definition, ...]
    """What the cluster has besides Pods: namespaces and Services."""

    @property
    def at_first(self) -> tuple[Member, ...]:
        return (self.client, *self.machines, *self.pods)

    @property
    def registries(self) -> Mapping[str, str]:
        """By the name of an instance: the registry that knows it."""
        return {one.workload.name: one.registry for one in (*self.at_first, self.newcomer)}

    @property
    def sockets(self) -> tuple[tuple[str, int], ...]:
        """Everything that must be free for the demo to run."""
        return tuple(place for one in (*self.at_first, self.newcomer) for place in one.workload.sockets)


def of_git(files: Mapping[str, str]) -> dict[str, str]:
    """The files of the mesh's repository."""
    return {name: text for name, text in files.items() if "/" not in name}


def read(files: Mapping[str, str], ports: ProxyPorts, *, pods_at: str) -> Cast:
    """The cast that ``files`` declare, by their path in the example; Pods have the address ``pods_at``."""
    client, *_ = (
        Member(workload=workloads.entry(document, ports), registry=GIT, definition={})
        for document in workloads.documents(of_git(files))
        if document["kind"] == "WorkloadEntry"
    )
    machines = tuple(_machines(files, FIRST, ports))
    newcomer, *_ = _machines(files, NEWCOMER, ports)
    in_cluster = {name: text for name, text in files.items() if name.startswith(_CLUSTER)}
    network, _, _ = client.workload.address.rpartition(".")
    objects = tuple(workloads.documents(in_cluster))
    return Cast(
        client=client,
        machines=machines,
        pods=tuple(
            _pod(document, ports, pods_at, f"{network}.{_FIRST_POD + number}")
            for number, document in enumerate(one for one in objects if one["kind"] == "Pod")
        ),
        newcomer=newcomer,
        objects=tuple(document for document in objects if document["kind"] != "Pod"),
    )


def _machines(files: Mapping[str, str], name: str, ports: ProxyPorts) -> Iterator[Member]:
    for definition in json.loads(files[name])["services"]:
        workload = Workload(
            name=definition["id"],
            namespace="shop",
            address=definition["address"],
            labels=definition["meta"],
            service_account=definition["meta"]["serviceAccount"],
            port=definition["port"],
            proxy_ports=ports,
        )
        yield Member(workload=workload, registry=CONSUL, definition=definition)


def _pod(document: Definition, ports: ProxyPorts, address: str, own_address: str) -> Member:
    metadata, spec = document["metadata"], document["spec"]
    workload = Workload(
        name=metadata["name"],
        namespace=metadata["namespace"],
        address=address,
        labels=metadata["labels"],
        service_account=spec["serviceAccountName"],
        port=spec["containers"][0]["ports"][0]["containerPort"],
        proxy_ports=ports,
        own_address=own_address,
    )
    return Member(workload=workload, registry=KUBERNETES, definition=document)
