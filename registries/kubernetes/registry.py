"""One Kubernetes cluster as a registry: five reflectors, one inventory, and the answer made of it.

Who owns what: :meth:`KubernetesRegistry.run` owns everything; its reflectors write tables, and between two of
their waits the answer is made, so no lock is needed. What has arrived together is answered together.

Nothing is answered before every kind was listed once, after a change of the connection as at the start: it
may lead to another cluster. While Pods or EndpointSlices are not heard the last answer stays: only together
do the two say who serves, and one that is older than the other would withdraw what exists (istio#58125).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

from mesh.clock import Clock, breathe
from mesh.latest import Latest
from mesh.services import Provider
from registries.answers import Answer
from registries.draft import Draft
from registries.kubernetes.access import Access
from registries.kubernetes.api import Api
from registries.kubernetes.client import Client
from registries.kubernetes.connection import Connect, Connection, Line
from registries.kubernetes.hearing import Hearing
from registries.kubernetes.inventory import PATIENCE, Inventory
from registries.kubernetes.reading import Reading
from registries.kubernetes.reflector import PACE, Heard, Pace, Reflector
from registries.kubernetes.resources import NAMESPACES, NODES, PODS, SERVICES, SLICES, Resource
from registries.kubernetes.table import Table
from registries.registry import Freshness
from registries.waits import first


@dataclass(frozen=True, slots=True)
class Counters:
    """What was done so far, for metrics and tests. ``heard`` is by kind."""

    joins: int
    answers: int
    heard: Mapping[str, Heard]


class KubernetesRegistry:
    """Services, Pods and what belongs to them, of one cluster: a :class:`registries.registry.Registry`."""

    provider = Provider.KUBERNETES

    def __init__(
        self,
        reading: Reading,
        access: Access,
        clock: Clock,
        *,
        connect: Connect = Client,
        pace: Pace = PACE,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = reading.registry
        self.answer: Latest[Answer | None] = Latest(None)
        self.freshness: Latest[Freshness] = Latest(Freshness())
        self._connection = Connection(self.name, access, clock, connect=connect, pace=pace, chance=chance)
        self._inventory = Inventory(reading)
        self._draft = Draft(reading.registry, Provider.KUBERNETES)
        kept = self._inventory
        self._kinds: tuple[tuple[Resource, Table[Any]], ...] = (
            (SERVICES, kept.services),
            (SLICES, kept.slices),
            (PODS, kept.pods),
            (NODES, kept.nodes),
            (NAMESPACES, kept.namespaces),
        )
        self._hearing = Hearing([one.kind for one, _ in self._kinds], clock, self.freshness)
        self._heard = {one.kind: Heard() for one, _ in self._kinds}
        self._stirred = asyncio.Event()
        self._answers = 0

    @property
    def counters(self) -> Counters:
        return Counters(self._inventory.joins, self._answers, MappingProxyType(self._heard))

    async def run(self) -> NoReturn:
        """Listen for ever."""
        await self._connection.run(self._listen, self._hearing.unreachable)

    async def _listen(self, api: Line) -> NoReturn:
        """Over one connection, until another is needed."""
        self._hearing.begin_again()
        async with asyncio.TaskGroup() as tasks:
            for resource, table in self._kinds:
                tasks.create_task(self._reflector(resource, table, api).run())
            await self._run_answers()

    def _reflector(self, resource: Resource, table: Table[Any], api: Api) -> Reflector[Any]:
        return Reflector(
            resource,
            api,
            table,
            self._hearing,
            self._connection.clock,
            heard=self._heard[resource.kind],
            chance=self._connection.chance,
            stirred=self._stirred.set,
            refused=self._connection.refused.set,
            pace=self._connection.pace,
        )

    async def _run_answers(self) -> NoReturn:
        """Make an answer of what has changed, whenever something has."""
        while True:
            if self._inventory.is_waiting:
                await first(self._stirred.wait(), self._connection.clock.sleep(PATIENCE))
            else:
                await self._stirred.wait()
            # Other streams may have something to read as well; their news belongs into the same answer.
            await breathe()
            self._stirred.clear()
            if not self._hearing.is_complete or self._hearing.is_behind(PODS.kind, SLICES.kind):
                continue  # a list is on its way, and it stirs
            await self._inventory.settle(self._draft, self._connection.clock.monotonic())
            if self._draft.is_changed or self.answer.value is None:
                self._answers += 1
                self.answer.publish(self._draft.answer())
            self._hearing.answered()
