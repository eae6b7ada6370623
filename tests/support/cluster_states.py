"""A cluster without an API server: objects are put straight into the inventory, and joined on demand."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from mesh.services import Provider
from registries.answers import Answer, Instance, Offer
from registries.draft import Draft
from registries.kubernetes import objects
from registries.kubernetes.inventory import Inventory
from registries.kubernetes.objects import Key
from registries.kubernetes.reading import Reading
from registries.kubernetes.table import Table
from tests.support.cluster_objects import Object

EAST = Reading(registry="east")
PARSERS = {
    "service": objects.service,
    "slice": objects.endpoint_slice,
    "pod": objects.pod,
    "node": objects.node,
    "namespace": objects.namespace,
}


class ClusterState:
    """What is known of a cluster, and the draft of what is said of it."""

    def __init__(self, reading: Reading = EAST) -> None:
        self.inventory = Inventory(reading)
        self.draft = Draft(reading.registry, Provider.KUBERNETES)

    def put(self, kind: str, *items: Object) -> None:
        for item in items:
            self.table(kind).put(PARSERS[kind](item))

    def drop(self, kind: str, key: Key) -> None:
        self.table(kind).drop(key)

    def table(self, kind: str) -> Table[Any]:
        tables: dict[str, Table[Any]] = {
            "service": self.inventory.services,
            "slice": self.inventory.slices,
            "pod": self.inventory.pods,
            "node": self.inventory.nodes,
            "namespace": self.inventory.namespaces,
        }
        return tables[kind]

    async def answer(self, now: float = math.inf) -> Answer:
        """:param now: in seconds; at the end of time nobody waits for anything any more."""
        await self.inventory.settle(self.draft, now)
        return self.draft.answer()

    async def offer(self, name: str = "reviews", namespace: str = "shop") -> Offer | None:
        said = (await self.answer()).said(namespace)
        return said.offers.get(f"{name}.{namespace}.svc.cluster.local")


def places(instances: Iterable[Instance]) -> list[str]:
    """Address and ports of each instance, in short."""
    return [f"{one.workload.address}:{dict(one.ports)}" for one in instances]


def told(answer: Answer) -> dict[str, Any]:
    """All that an answer says, comparable by value."""
    return {
        namespace: (
            {host: (one.service, one.instances, one.unready) for host, one in said.offers.items()},
            dict(said.workloads.items()),
        )
        for namespace, said in answer.namespaces.items()
    }
