"""Who is connected, which facets each proxy is composed of, and how far the revision has got.

One task (:meth:`Fleet.run`) follows the world: it puts every proxy into its facets, lets each facet follow
once, and publishes to those proxies alone whose parts changed. So work is spent per facet and per change.
Streams join and leave from their own tasks on the same loop; a newcomer waits until its facets are made.

Live means acknowledged (DESIGN D16): a revision is live on a proxy when, for each type, what the proxy
acknowledged is at least as new as what its facets had when they adopted the revision.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NoReturn

from mesh.clock import Clock, breathe
from mesh.latest import Latest
from mesh.proxies import Interception, NodeId, Proxy
from mesh.scope import GatewayKey, OutboundKey, Scope
from mesh.services import ServiceKey
from mesh.views import HostView, InboundView
from mesh.world import World
from xds import envoy
from xds.admission import admit
from xds.directory import Caller, Refusal
from xds.facets import (
    Bench,
    Facet,
    GatewayFacet,
    HostFacet,
    InboundFacet,
    OutboundFacet,
    TrustFacet,
    Turn,
)
from xds.memo import Memo
from xds.quarantine import Fault
from xds.resources import Assignment, Part

log = logging.getLogger(__name__)

# How long the loop may be kept from its other tasks: well below the budget of 50 ms (DESIGN 5).
_SLICE_SECONDS = 0.01
_TRUST = "trust"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one revision has got. ``acknowledged_at``: when the last of those then connected had it."""

    revision: str
    pushed_at: datetime
    acknowledged_at: datetime | None = None


class Member:
    """One connected proxy; what its session sees of the fleet. Owned by the fleet's task."""

    def __init__(self, fleet: Fleet, node: NodeId, proxy: Proxy) -> None:
        self._fleet = fleet
        self.node = node
        self.proxy = proxy
        self.assignment: Latest[Assignment] = Latest(Assignment({}, ""))
        self.facets: tuple[Facet, ...] = ()
        self.held: dict[str, tuple[Part, ...]] = {}
        self.refusals: dict[tuple[str, str], Refusal] = {}
        self.is_ready = asyncio.Event()

    def acknowledged(self, type_url: str, parts: tuple[Part, ...]) -> None:
        self.held[type_url] = parts
        for key in [key for key, one in self.refusals.items() if key[0] == type_url and _holds(parts, one)]:
            del self.refusals[key]
        self._fleet.heard(self, type_url, parts)

    def refused(self, refusal: Refusal) -> None:
        self.refusals[refusal.type_url, refusal.name] = refusal
        self._fleet.refused(self, refusal)

    def leave(self) -> None:
        self._fleet.left(self)

    @property
    def is_live(self) -> bool:
        """Whether the proxy has acknowledged the revision that its facets last adopted."""
        return all(self._is_live(type_url) for type_url in envoy.TYPES)

    def _is_live(self, type_url: str) -> bool:
        wanted = self.assignment.value.parts.get(type_url, ())
        held = self.held.get(type_url, ())
        if held == wanted:
            return True
        adopted = [facet.adopted.get(type_url, 0) for facet in self.facets if type_url in facet.types]
        return len(held) == len(adopted) and all(
            part.serial >= floor for part, floor in zip(held, adopted, strict=True)
        )


def _holds(parts: tuple[Part, ...], refusal: Refusal) -> bool:
    """Whether the proxy now has (other) bytes under the name it once refused."""
    return any(refusal.name in part.resources for part in parts)


class Fleet:
    """Everybody who is connected. Implements :class:`xds.directory.Directory`."""

    def __init__(self, clock: Clock, worlds: Latest[World]) -> None:
        self._clock = clock
        self._worlds = worlds
        self._world = worlds.value
        self._bench = Bench(scope=Scope(), memo=Memo())
        self._members: dict[int, Member] = {}
        self._trust = TrustFacet()
        self._facets: dict[Hashable, Facet] = {_TRUST: self._trust}
        self._newcomers = asyncio.Event()
        self._behind: set[Member] = set()
        self._slice_began = 0.0
        self.progress: Progress | None = None

    @property
    def members(self) -> tuple[Member, ...]:
        return tuple(self._members.values())

    @property
    def memo(self) -> Memo:
        """For its counters."""
        return self._bench.memo

    @property
    def world(self) -> World:
        """The world that the facets have followed to."""
        return self._world

    async def join(self, node: NodeId, metadata: Mapping[str, Any], caller: Caller) -> Member:
        """Let a proxy in, and return when what it shall have is known.

        :raises Refused: when this caller may not be this node.
        """
        proxy = admit(node, caller, _proxy(self._worlds.value, node, metadata))
        member = Member(self, node, proxy)
        self._members[id(member)] = member
        try:
            if not self._is_seated(member):
                self._newcomers.set()
                await member.is_ready.wait()
        except asyncio.CancelledError:
            self.left(member)
            raise
        return member

    def _is_seated(self, member: Member) -> bool:
        """Seat a proxy at once when all its facets are in force already: what 2,000 reconnecting find."""
        member.facets = self._facets_of(member.proxy)
        if any(facet.world is not self._world for facet in member.facets):
            return False
        self._publish(member)
        return True

    def left(self, member: Member) -> None:
        self._members.pop(id(member), None)
        self._behind.discard(member)
        self._check_progress()

    def heard(self, member: Member, type_url: str, parts: tuple[Part, ...]) -> None:
        """A proxy holds exactly these parts."""
        contributing = [facet for facet in member.facets if type_url in facet.types]
        released = False
        if len(contributing) == len(parts):
            for facet, part in zip(contributing, parts, strict=True):
                released |= facet.acknowledged(part)
        if released:
            self._serve_again()
        if member in self._behind and member.is_live:
            self._behind.discard(member)
            self._check_progress()

    def refused(self, member: Member, refusal: Refusal) -> None:
        """A proxy would not take a resource: withdraw it for all when nobody ever took it."""
        faults = [facet.refused(refusal) for facet in member.facets]
        if Fault.BYTES in faults:
            log.warning(
                "resource quarantined",
                extra={"resource": refusal.name, "version": refusal.version, "reason": refusal.message},
            )
            self._serve_again()

    def _serve_again(self) -> None:
        """Quarantines changed: facets serve other parts of what they want."""
        changed = {id(facet) for facet in self._facets.values() if facet.serve()}
        for member in self._members.values():
            if any(id(facet) in changed for facet in member.facets):
                self._publish(member)

    async def run(self) -> NoReturn:
        """Follow the world for ever."""
        version = -1
        while True:
            version, world = await self._newer_or_newcomers(version)
            self._newcomers.clear()
            await self._turn(world)

    async def _newer_or_newcomers(self, version: int) -> tuple[int, World]:
        newer = asyncio.ensure_future(self._worlds.newer_than(version))
        newcomers = asyncio.ensure_future(self._newcomers.wait())
        try:
            await asyncio.wait((newer, newcomers), return_when=asyncio.FIRST_COMPLETED)
        finally:
            newer.cancel()
            newcomers.cancel()
        return self._worlds.version, self._worlds.value

    async def _turn(self, world: World) -> None:
        before, self._world = self._world, world
        bench = self._bench
        # Once in a while everything in force is asked for, so that the rest can be forgotten.
        is_crowded = bench.memo.is_crowded or bench.scope.recall.is_crowded
        self._slice_began = self._clock.monotonic()
        for member in self.members:
            if is_crowded or world is not before or not member.is_ready.is_set():
                member.proxy = _known(world, member.proxy)
                member.facets = self._facets_of(member.proxy)
                await self._pause()
        self._forget_facets()
        moved = None if is_crowded else _moved(before, world)
        for facet in tuple(self._facets.values()):
            if is_crowded or facet.world is not world:
                is_new = facet.world is None
                facet.turn(Turn(world=world, moved=None if is_new else moved), bench)
                await self._pause()
        if is_crowded:
            bench.memo.end_generation()
            bench.scope.recall.end_generation()
        await self._publish_all(world.revision)

    async def _publish_all(self, revision: str) -> None:
        """Tell every proxy whose parts changed. With a new revision, begin to count who has it."""
        is_new = self.progress is None or self.progress.revision != revision
        if is_new:
            self.progress = Progress(revision=revision, pushed_at=self._clock.now())
            for facet in self._facets.values():
                facet.adopt()
        for member in self.members:
            if member.facets:
                self._publish(member)
                await self._pause()
        if is_new:
            self._behind = {member for member in self.members if not member.is_live}
            self._check_progress()

    async def _pause(self) -> None:
        """Give the loop back once a slice is used up."""
        if self._clock.monotonic() - self._slice_began > _SLICE_SECONDS:
            await breathe()
            self._slice_began = self._clock.monotonic()

    def _facets_of(self, proxy: Proxy) -> tuple[Facet, ...]:
        """The facets of a proxy, in a fixed order; those that nobody had are made."""
        keys = self._bench.scope.facets(self._world, proxy)
        found = []
        for key in (keys.outbound, keys.inbound, keys.host):
            if key is not None:
                if key not in self._facets:
                    self._facets[key] = _facet(key)
                found.append(self._facets[key])
        return (*found, self._trust)

    def _forget_facets(self) -> None:
        """Facets of nobody. One generation of them stays, for proxies that come right back."""
        used = {id(facet) for member in self._members.values() for facet in member.facets}
        for key, facet in tuple(self._facets.items()):
            if id(facet) not in used and facet is not self._trust and facet.world is not self._world:
                del self._facets[key]
                self._bench.memo.forget_owner(facet.name)

    def _publish(self, member: Member) -> None:
        parts = {
            type_url: tuple(facet.parts[type_url] for facet in member.facets if type_url in facet.types)
            for type_url in envoy.TYPES
        }
        if parts != member.assignment.value.parts:
            member.assignment.publish(Assignment(parts, self._world.revision))
        member.is_ready.set()

    def _check_progress(self) -> None:
        if self.progress is not None and not self._behind and self.progress.acknowledged_at is None:
            self.progress = replace(self.progress, acknowledged_at=self._clock.now())
            log.info(
                "revision live",
                extra={"revision": self.progress.revision, "proxies": len(self._members)},
            )


def _facet(key: Hashable) -> Facet:
    match key:
        case OutboundKey():
            return OutboundFacet(key)
        case InboundView():
            return InboundFacet(key)
        case HostView():
            return HostFacet(key)
        case GatewayKey():
            return GatewayFacet(key)
        case _:
            raise TypeError(f"no facet has the key {key!r}")


def _moved(before: World, world: World) -> frozenset[ServiceKey] | None:
    """The services whose endpoints are other than before; ``None`` when policy decides anew about all."""
    policies = "PeerAuthentication"
    if (
        before.config.of(policies) is not world.config.of(policies)
        or before.config.mesh is not world.config.mesh
    ):
        return None
    old, new = before.services.endpoints, world.services.endpoints
    return frozenset(key for key in (*new, *old) if old.get(key) is not new.get(key))


def _proxy(world: World, node: NodeId, metadata: Mapping[str, Any]) -> Proxy | None:
    """The proxy that a node names, if Git or a registry knows it. Of its words only the capture is taken."""
    workload = world.services.workloads.get((node.namespace, node.name))
    if workload is None:
        return None
    mode = str(metadata.get("INTERCEPTION_MODE", Interception.REDIRECT))
    port = str(metadata.get("HTTP_PROXY_PORT", ""))
    return Proxy(
        role=node.role,
        name=node.name,
        namespace=node.namespace,
        address=workload.address,
        service_account=workload.service_account,
        labels=workload.labels,
        interception=Interception(mode) if mode in Interception._value2member_map_ else Interception.REDIRECT,
        http_proxy_port=int(port) if port.isdigit() and int(port) < 65536 else 0,
        domain=node.domain,
    )


def _known(world: World, proxy: Proxy) -> Proxy:
    """The proxy by what is known of it now: the same object as long as that is the same."""
    workload = world.services.workloads.get((proxy.namespace, proxy.name))
    if workload is None:
        return proxy
    now = replace(
        proxy,
        address=workload.address,
        service_account=workload.service_account,
        labels=workload.labels,
    )
    return proxy if now == proxy else now
