"""A fleet that follows the worlds of a test, and proxies that join it as if by the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from mesh.clock import breathe
from mesh.identity import SpiffeId
from mesh.latest import Latest
from mesh.proxies import NodeId, Role
from mesh.world import World
from tests.support.clock import FakeClock
from tests.support.config import NAMESPACE, Meshes
from xds import envoy
from xds.directory import Caller, Refusal
from xds.fleet import Fleet
from xds.member import Member
from xds.resources import Resource

_TURNS_MAX = 10_000


class HurriedClock(FakeClock):
    """A second passes whenever somebody looks: every slice of work is used up at once."""

    def __init__(self) -> None:
        super().__init__()
        self._looks = 0

    def monotonic(self) -> float:
        self._looks += 1
        return float(self._looks)


class Following:
    """A fleet and its worlds."""

    def __init__(self, clock: FakeClock, *documents: str) -> None:
        self._meshes = Meshes()
        self.worlds: Latest[World] = Latest(self._meshes.world(*documents))
        self.fleet = Fleet(clock, self.worlds)

    def offer(self, *documents: str) -> World:
        """Publish the world of these documents, and do not wait for it."""
        world = self._meshes.world(*documents)
        self.worlds.publish(world)
        return world

    async def publish(self, *documents: str) -> None:
        """Publish the world of these documents, and return when everybody was told."""
        world = self.offer(*documents)
        await until(
            lambda: self.fleet.progress is not None and self.fleet.progress.revision == world.revision
        )

    async def join(
        self, app: str, namespace: str = NAMESPACE, role: Role = Role.SIDECAR, **metadata: Any
    ) -> Member:
        """The proxy of the workload ``<app>-1`` of the account ``<app>`` joins."""
        node, caller = a_node(app, namespace, role), a_caller(app, namespace)
        return await self.fleet.join(node, metadata, caller)


def a_node(app: str, namespace: str = NAMESPACE, role: Role = Role.SIDECAR) -> NodeId:
    return NodeId(role=role, address="10.0.0.1", name=f"{app}-1", namespace=namespace, domain="cluster.local")


def a_caller(app: str, namespace: str = NAMESPACE) -> Caller:
    return Caller(SpiffeId("cluster.local", namespace, app), f"{app}-1")


@asynccontextmanager
async def a_fleet(*documents: str, clock: FakeClock | None = None) -> AsyncIterator[Following]:
    following = Following(clock or FakeClock(), *documents)
    run = asyncio.create_task(following.fleet.run())
    try:
        yield following
    finally:
        run.cancel()
        await asyncio.wait({run})
        if not run.cancelled():
            run.result()


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until the condition holds."""
    for _ in range(_TURNS_MAX):
        if condition():
            return
        await breathe()
    raise AssertionError("it never came to be")


def has(member: Member, type_url: str) -> dict[str, Resource]:
    """What the proxy shall have of a type, by name."""
    parts = member.assignment.value.parts.get(type_url, ())
    return {name: resource for part in parts for name, resource in part.resources.items()}


def accept(member: Member, *type_urls: str) -> None:
    """The proxy acknowledges what it shall have: all of it, or of these types."""
    for type_url in type_urls or envoy.TYPES:
        member.acknowledged(type_url, member.assignment.value.parts.get(type_url, ()))


def refuse(member: Member, type_url: str, name: str) -> Refusal:
    """The proxy will not take one resource."""
    version = has(member, type_url)[name].version
    refusal = Refusal(type_url=type_url, name=name, version=version, message="no")
    member.refused(refusal)
    return refusal
