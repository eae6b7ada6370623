"""Who is connected, and how far the revision has got.

One task (:meth:`Fleet.run`) follows the world: it has the workshop put every proxy into its facets and let
each facet follow once, then publishes to those proxies alone whose parts changed. So work is spent per facet
and per change. Streams join and leave from their own tasks on the same loop; a newcomer waits until its
facets are made.

Live means acknowledged (DESIGN D16): a revision is live on a proxy when, for each type, what the proxy
acknowledged is at least as new as what its facets had when they adopted the revision.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NoReturn

from mesh.clock import Clock, breathe
from mesh.errors import Refused
from mesh.latest import Latest
from mesh.proxies import Interception, NodeId, Proxy
from mesh.world import World
from xds.admission import Enrolment, NotAdmitted, Reason, admit, believe, prove
from xds.directory import Caller, Refusal
from xds.facets import Facet
from xds.member import Member
from xds.memo import Memo
from xds.quarantine import Fault
from xds.resources import Part
from xds.workshop import Workshop

log = logging.getLogger(__name__)

# How long the loop may be kept from its other tasks: well below the budget of 50 ms (DESIGN 5).
_SLICE_SECONDS = 0.01
# Enrolling takes a tenth of a second and the making of one world.
_ENROLMENT_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one revision has got. ``acknowledged_at``: when the last of those then connected had it."""

    revision: str
    pushed_at: datetime
    acknowledged_at: datetime | None = None


class Fleet:
    """Everybody who is connected. Implements :class:`xds.directory.Directory`."""

    def __init__(self, clock: Clock, worlds: Latest[World], enrolment: Enrolment | None = None) -> None:
        self._clock = clock
        self._enrolment = enrolment
        self._worlds = worlds
        self._workshop = Workshop(worlds.value)
        self._is_working = False
        """Whether the workshop is in use beside the loop."""
        self._members: dict[int, Member] = {}
        self._worked = asyncio.Event()
        self._newcomers = asyncio.Event()
        self._turned = asyncio.Event()
        self._behind: set[Member] = set()
        self.progress: Progress | None = None

    @property
    def members(self) -> tuple[Member, ...]:
        return tuple(self._members.values())

    @property
    def facets(self) -> tuple[Facet, ...]:
        return self._workshop.facets

    @property
    def memo(self) -> Memo:
        """For its counters."""
        return self._workshop.memo

    @property
    def remembered(self) -> int:
        """How many results are kept so as not to be made again."""
        return self._workshop.remembered

    @property
    def world(self) -> World:
        """The world that the facets have followed to."""
        return self._workshop.world

    async def join(self, node: NodeId, metadata: Mapping[str, Any], caller: Caller) -> Member:
        """Let a proxy in, and return when what it shall have is known.

        :raises Refused: when this caller may not be this node, or what it shall have cannot be made.
        """
        config = self._worlds.value.config
        believe(caller, (config.trust_domain, *config.mesh_config.trust_domain_aliases))
        with ExitStack() as departure:
            if enrolment := self._enrol(node, metadata, caller):
                departure.callback(enrolment.depart, node.namespace, node.name)
                await self._until_enrolled(node)
            proxy = admit(node, caller, _proxy(self._worlds.value, node, metadata))
            while self._is_working:
                await self._worked.wait()
            member = Member(self, node, self._workshop.seat(proxy))
            self._members[id(member)] = member
            departure.callback(self._forget, member)
            if self._workshop.is_made(member.seat):
                member.publish(self.world.revision)  # what 2,000 that come back find
            else:
                self._newcomers.set()
                await member.answered.wait()
                if not member.is_told:
                    raise NotAdmitted(
                        f"what {proxy.id} shall have cannot be made, by a bug of the control plane: refused",
                        reason=Reason.BROKEN,
                        hint="the status tells what is broken",
                    )
            member.departure = departure.pop_all()
        return member

    def _enrol(self, node: NodeId, metadata: Mapping[str, Any], caller: Caller) -> Enrolment | None:
        """Where the proxy enrolled itself, if that is how it is known; it departs from there.

        :raises NotAdmitted: when it cannot be a workload of the group that it names.
        """
        group = metadata.get("AUTO_REGISTER_GROUP")
        if self._enrolment is None or not group:
            return None
        prove(node, caller)
        try:
            has_arrived = self._enrolment.arrive(node, str(group), caller.identity)
        except Refused as refused:
            raise NotAdmitted(str(refused), reason=Reason.ENROLMENT, hint=refused.hint) from refused
        return self._enrolment if has_arrived else None

    async def _until_enrolled(self, node: NodeId) -> None:
        """Until the world in force has the workload where it says that it is: then it has its listeners.

        :raises NotAdmitted: when that does not come to be, because the repository has changed meanwhile.
        """
        try:
            async with asyncio.timeout(_ENROLMENT_SECONDS):
                while not _stands(self.world, node):
                    await self._turned.wait()
        except TimeoutError as error:
            raise NotAdmitted(
                f"{node.name} enrolled, and did not become a workload within {_ENROLMENT_SECONDS} s: refused",
                reason=Reason.ENROLMENT,
            ) from error

    def left(self, member: Member) -> None:
        member.departure.close()

    def _forget(self, member: Member) -> None:
        self._members.pop(id(member), None)
        self._behind.discard(member)
        self._check_progress()

    def heard(self, member: Member, type_url: str, parts: tuple[Part, ...]) -> None:
        """A proxy holds exactly these parts."""
        contributing = member.contributing(type_url)
        released = False
        if len(contributing) == len(parts):
            for facet, part in zip(contributing, parts, strict=True):
                released |= facet.acknowledged(part)
        if released:
            self._serve()
        if member in self._behind and member.is_live:
            self._behind.discard(member)
            self._check_progress()

    def refused(self, member: Member, refusal: Refusal) -> None:
        """A proxy would not take a resource: withdraw it for all when nobody ever took it.

        Of a facet that only this proxy has nothing can be said about others: the fault may be the host's own
        (an address in use), so it is left to its session, which tries again.
        """
        faults = [facet.refused(refusal) for facet in member.facets if self._is_shared(facet)]
        if Fault.BYTES in faults:
            log.warning(
                "resource quarantined",
                extra={"resource": refusal.name, "version": refusal.version, "reason": refusal.message},
            )
            self._serve()

    def _is_shared(self, facet: Facet) -> bool:
        """Whether proxies other than one have it. One that comes back may still be here a second time."""
        having = (member.proxy.id for member in self._members.values() if facet in member.facets)
        first = next(having, "")
        return any(other != first for other in having)

    def _serve(self) -> None:
        """Quarantines changed: facets serve other parts of what they want.

        A turn under way puts everything in force when it ends, this too.
        """
        if not self._is_working:
            for member in self._having(self._workshop.serve()):
                member.publish(self.world.revision)

    def _having(self, facets: frozenset[Facet]) -> tuple[Member, ...]:
        return tuple(member for member in self.members if not facets.isdisjoint(member.facets))

    async def run(self) -> NoReturn:
        """Follow the world for ever, and seat who came meanwhile."""
        version = -1
        while True:
            await self._newer_or_newcomers(version)
            self._newcomers.clear()
            if self._worlds.version > version:
                version = self._worlds.version
                await self._turn(self._worlds.value)
            else:
                await self._make_for_newcomers()

    async def _newer_or_newcomers(self, version: int) -> None:
        newer = asyncio.ensure_future(self._worlds.newer_than(version))
        newcomers = asyncio.ensure_future(self._newcomers.wait())
        try:
            await asyncio.wait((newer, newcomers), return_when=asyncio.FIRST_COMPLETED)
        finally:
            newer.cancel()
            newcomers.cancel()

    async def _turn(self, world: World) -> None:
        """Everybody's facets follow to a new world."""
        members = self.members
        async with self._working():
            seats = await asyncio.to_thread(self._workshop.turn, world, [m.seat for m in members])
        self._turned.set()
        self._turned = asyncio.Event()
        concerned = {member for member, seat in zip(members, seats, strict=True) if seat is not member.seat}
        for member, seat in zip(members, seats, strict=True):
            member.seat = seat
        concerned.update(self._having(self._workshop.serve()))
        concerned.update(member for member in members if not member.is_told)
        await self._publish_to(concerned, world.revision)

    async def _make_for_newcomers(self) -> None:
        """Make the facets that only newcomers have; nobody else is touched."""
        newcomers = [member for member in self.members if not member.is_told]
        async with self._working():
            await asyncio.to_thread(self._workshop.make, [member.seat for member in newcomers])
        # A refusal that came meanwhile may concern those who were here before.
        concerned = {*newcomers, *self._having(self._workshop.serve())}
        for facet in {facet for member in newcomers for facet in member.facets}:
            if not facet.adopted:
                facet.adopt()
        await self._publish_each(concerned)

    @asynccontextmanager
    async def _working(self) -> AsyncIterator[None]:
        """The workshop is in use: who comes meanwhile is seated afterwards."""
        self._is_working, self._worked = True, asyncio.Event()
        try:
            yield
        finally:
            self._is_working = False
            self._worked.set()

    async def _publish_to(self, concerned: Iterable[Member], revision: str) -> None:
        """Tell every proxy whose parts changed. With a new revision, begin to count who has it."""
        is_new = self.progress is None or self.progress.revision != revision
        if is_new:
            self.progress = Progress(revision=revision, pushed_at=self._clock.now())
            for facet in self.facets:
                facet.adopt()
            # While they are told one after another, nobody counts as having it.
            self._behind = set(self.members)
        await self._publish_each(concerned)
        if is_new:
            self._behind = {member for member in self.members if not member.is_live}
            self._check_progress()

    async def _publish_each(self, members: Iterable[Member]) -> None:
        began = self._clock.monotonic()
        for member in members:
            member.publish(self.world.revision)
            member.answered.set()  # who is not told even now cannot be: nobody waits for a bug to go away
            if self._clock.monotonic() - began > _SLICE_SECONDS:
                await breathe()
                began = self._clock.monotonic()

    def _check_progress(self) -> None:
        if self.progress is not None and not self._behind and self.progress.acknowledged_at is None:
            self.progress = replace(self.progress, acknowledged_at=self._clock.now())
            if self._members:
                log.info(
                    "revision live",
                    extra={"revision": self.progress.revision[:7], "proxies": len(self._members)},
                )


def _stands(world: World, node: NodeId) -> bool:
    workload = world.services.workloads.get((node.namespace, node.name))
    return workload is not None and workload.address == node.address


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
        network=workload.network,
    )
