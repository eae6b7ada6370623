"""Which proxy may connect under which identity, and how many at once.

The identity and the machine's name come from the certificate, so they are proven; what the node says
of itself is only a claim. Two machines of one account are told apart by the name in the certificate's
subject (DESIGN 3.4). Whoever fits is let in through a turnstile, so that a fleet that comes back at
once is built for in an orderly way, those who have no configuration first.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Protocol

from mesh.errors import Refused
from mesh.identity import SpiffeId
from mesh.proxies import NodeId, Proxy
from xds.directory import Caller


class Reason(StrEnum):
    """Why a stream was refused; the label of the counter."""

    IDENTITY = "identity"
    MACHINE = "machine"
    UNKNOWN = "unknown"
    ENROLMENT = "enrolment"
    MALFORMED = "malformed"
    BROKEN = "broken"


class NotAdmitted(Refused):
    """A stream that may not be opened."""

    def __init__(self, message: str, *, reason: Reason, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class Enrolment(Protocol):
    """Where proxies that nobody declared become workloads."""

    def arrive(self, node: NodeId, group: str, identity: SpiffeId) -> bool:
        """A proxy asks to be a workload of a group; the caller was checked by :func:`prove`.

        False when it is declared by name: then there is nothing to ask, and it does not depart.

        :raises Refused: when it cannot be one.
        """
        ...

    def depart(self, namespace: str, name: str) -> None:
        """The stream of one that arrived has ended."""
        ...


def believe(caller: Caller, trust_domains: Collection[str]) -> None:
    """Check that the caller is of this mesh: a plugged-in authority may sign for other meshes as well.

    :raises NotAdmitted:
    """
    domain = caller.identity.trust_domain
    if domain not in trust_domains:
        raise NotAdmitted(
            f"machine {caller.machine} presented a certificate of trust domain {domain}: refused",
            reason=Reason.IDENTITY,
            hint="a trust domain that this mesh had before belongs in meshConfig.trustDomainAliases",
        )


def prove(node: NodeId, caller: Caller) -> str:
    """Check that the caller may use the node's namespace and name. Returns how to call it in a refusal.

    :raises NotAdmitted:
    """
    identity = caller.identity
    presented = f"machine {caller.machine} presented a certificate of ns/{identity.namespace}"
    if identity.namespace != node.namespace:
        raise NotAdmitted(
            f"{presented}/sa/{identity.service_account} but connects as ns/{node.namespace}: refused",
            reason=Reason.IDENTITY,
        )
    # The machine comes before "unknown", so that a stranger cannot ask which names exist.
    if caller.machine != node.name:
        raise NotAdmitted(
            f"{presented}/sa/{identity.service_account} but connects as proxy {node.name}: refused",
            reason=Reason.MACHINE,
        )
    return presented


def admit(node: NodeId, caller: Caller, known: Proxy | None) -> Proxy:
    """The proxy that the caller is. ``known``: the proxy of that namespace and name, if there is one.

    :raises NotAdmitted:
    """
    presented, identity = prove(node, caller), caller.identity
    if known is None:
        raise NotAdmitted(
            f"no proxy {node.name} is known in ns/{node.namespace}: refused",
            reason=Reason.UNKNOWN,
            hint="declare it in the repository: a Machine, or a WorkloadEntry of that name",
        )
    if known.service_account != identity.service_account:
        raise NotAdmitted(
            f"{presented}/sa/{identity.service_account} but connects as"
            f" ns/{known.namespace}/sa/{known.service_account}: refused",
            reason=Reason.IDENTITY,
        )
    if known.role is not node.role:
        raise NotAdmitted(
            f"proxy {known.id} is a {known.role} but connects as {node.role}: refused", reason=Reason.IDENTITY
        )
    return known


class Turnstile:
    """Lets so many pass at once; the rest wait in order, the urgent ones first. Owned by the server."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: list[tuple[bool, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    @property
    def waiting(self) -> int:
        return sum(not turn.done() for _, _, turn in self._waiting)

    @asynccontextmanager
    async def place(self, *, is_urgent: bool) -> AsyncIterator[None]:
        """One of the places. ``is_urgent``: the proxy has no configuration yet."""
        if self._free > 0:
            self._free -= 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (not is_urgent, next(self._order), turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave()
                raise
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        """Hand the place to the next who still waits."""
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class ByteBudget:
    """Bytes that may be on their way at once, over all streams; small writes are not counted."""

    def __init__(self, bytes_max: int, *, free_below: int = 65536) -> None:
        self._free = bytes_max
        self._bytes_max = bytes_max
        self._free_below = free_below
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def spend(self, size: int) -> AsyncIterator[None]:
        if size < self._free_below:
            yield
            return
        # One write larger than the whole budget must still pass: it goes alone.
        share = min(size, self._bytes_max)
        await self._take(share)
        try:
            yield
        finally:
            self._give(share)

    async def _take(self, share: int) -> None:
        if not self._waiting and share <= self._free:
            self._free -= share
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((share, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give(share)
            raise

    def _give(self, share: int) -> None:
        self._free += share
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            wanted, turn = self._waiting.pop(0)
            if not turn.done():
                self._free -= wanted
                turn.set_result(None)
