"""One connection to Consul: three blocking queries, and reads of what they show to have changed.

Seen with Consul 1.22.5 (``tests/integration/test_consul_indexes.py`` shows it again): the index of

* ``catalog/services`` moves with every registration, change and removal of a service, and with nothing else;
  its body (names and tags) mostly stays the same;
* ``health/state/any`` moves with every change of a check, filtered or not: filtered to what does not pass,
  its body is small, and says all that a service's health can be told by;
* ``catalog/nodes`` moves with every node, and no other index does, when an address or meta of one changes;
* ``health/service/<name>`` is kept per service: it moves with all of these for this one service and with
  none of another.

So checks and nodes say themselves which services they concern. A registration says only *that* one changed:
which, is found by a sweep (:mod:`registries.consul.sweeping`).
One query per service would not need them, but an agent allows one client 200 connections.

The rules about indexes are Consul's ("Blocking Queries"): one that is lower than before, or 0, means that the
past is void, and everything is read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, NoReturn

from mesh.clock import Clock
from mesh.errors import Misconfigured, Unavailable
from mesh.kinds.registry_consul import Consul
from registries.consul.client import Client, Reply
from registries.consul.pace import Pace
from registries.consul.reading import RIGHTS, Reading
from registries.consul.seen import Seen, at_nodes, by_checks, by_name, by_nodes
from registries.consul.shapes import rows
from registries.consul.sweeping import Sweeping

SERVICES = "/v1/catalog/services"
CHECKS = "/v1/health/state/any"
NODES = "/v1/catalog/nodes"
_UNHEALTHY = 'Status != "passing"'
# Comparing so many rows with what is known takes about a millisecond; more is not for the loop.
_FEW = 500


class Following:
    """Owned by the task that connects; ends with its connection."""

    def __init__(
        self, client: Client, settings: Consul, reading: Reading, clock: Clock, *, pace: Pace
    ) -> None:
        self._client, self._settings, self._reading = client, settings, reading
        self._clock, self._pace = clock, pace
        self._sweeping = Sweeping(client, reading, clock, pace)
        self._at: dict[str, int] = {}
        # The index of the services up to which a sweep was asked for.
        self._swept = 0

    async def read_everything(self) -> None:
        """Read all services; the notes are replaced when the last one is there."""
        # The queries' indexes come first: what changes while services are read is then heard of. A leader
        # that has just started answers by as much of its log as it has read, unless asked consistently.
        services = await self._ask(SERVICES, is_consistent=True)
        self._swept = services.index
        await self._ask(CHECKS, only=_UNHEALTHY)
        await self._ask(NODES)
        await self._reading.read_all(self._names(services))

    async def follow(self) -> NoReturn:
        """Listen until something fails.

        :raises Unavailable: when Consul does not answer, or starts over: then everything is to be read again.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(SERVICES, self._heard_of_services, self._pace.window))
            group.create_task(self._follow(CHECKS, self._heard_of_checks, self._pace.window, only=_UNHEALTHY))
            group.create_task(self._follow(NODES, self._heard_of_nodes, self._pace.nodes_window))
            group.create_task(self._sweeping.run())
            group.create_task(self._sweeping.resync())
            group.create_task(self._reading.run(group))
        raise AssertionError("its tasks do not end")

    async def _ask(self, path: str, *, only: str = "", after: int = 0, is_consistent: bool = False) -> Reply:
        reply = await self._client.ask(
            path, only=only, after=after, wait=self._pace.wait, is_consistent=is_consistent
        )
        if reply.index < max(after, 1):
            raise Unavailable(f"Consul started over: the index of {path} went from {after} to {reply.index}")
        self._at[path] = reply.index
        return reply

    async def _follow(
        self, path: str, hear: Callable[[Reply], Awaitable[None]], window: timedelta, *, only: str = ""
    ) -> NoReturn:
        while True:
            await hear(await self._ask(path, only=only, after=self._at[path]))
            self._reading.tell_heard()
            await self._clock.sleep(window)

    async def _heard_of_services(self, reply: Reply) -> None:
        self._reading.note(by_name(self._reading.seen, self._names(reply)))
        if reply.index != self._swept:
            self._swept = reply.index
            self._sweeping.stir()

    async def _heard_of_checks(self, reply: Reply) -> None:
        def concerned(seen: Mapping[str, Seen]) -> frozenset[str]:
            checks = rows(reply.body, Node=str, CheckID=str, Status=str, ServiceName=str)
            return frozenset(by_checks(seen, checks))

        await self._compare(reply.body, concerned)

    async def _heard_of_nodes(self, reply: Reply) -> None:
        def concerned(seen: Mapping[str, Seen]) -> frozenset[str]:
            return frozenset(by_nodes(seen, at_nodes(rows(reply.body, Node=str, ModifyIndex=int))))

        await self._compare(reply.body, concerned)

    async def _compare(self, body: Any, concerned: Callable[[Mapping[str, Seen]], frozenset[str]]) -> None:
        """Note the services that a body concerns, by what was read of them when it is compared."""
        if not isinstance(body, list) or len(body) <= _FEW:
            self._reading.note(concerned(self._reading.seen))
            return
        before = dict(self._reading.seen)
        self._reading.note(await asyncio.to_thread(concerned, before))
        # A read that ended meanwhile may have met a moment before this body's: it is read once more.
        seen = self._reading.seen
        self._reading.note(name for name, one in seen.items() if before.get(name) is not one)

    def _names(self, reply: Reply) -> frozenset[str]:
        """In lower case: to Consul, names that differ by case are one service.

        :raises Misconfigured: when there are none because none may be seen.
        :raises Unavailable: when not even Consul itself is there: its leader registers that before all else.
        """
        if not isinstance(reply.body, dict):
            raise Unavailable(
                "Consul's catalogue of services is none", hint="check the address of the registry"
            )
        if not reply.body:
            if reply.is_filtered or reply.is_closed:
                raise Misconfigured("the token may not see any service of Consul", hint=RIGHTS)
            # Other partitions and namespaces are empty until somebody registers something.
            if not (self._settings.partition or self._settings.namespace):
                raise Unavailable("Consul shows no service at all, not even itself", hint=RIGHTS)
        return frozenset(name.lower() for name in reply.body if self._settings.selects(name))
