"""One connected proxy: what it shall have, what it has, what it refused."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Protocol

from mesh.latest import Latest
from mesh.proxies import NodeId, Proxy
from xds import envoy
from xds.directory import Refusal
from xds.facets import Facet
from xds.resources import Assignment, Part
from xds.workshop import Seat


class Fleet(Protocol):
    """What a member tells the fleet."""

    def heard(self, member: Member, type_url: str, parts: tuple[Part, ...]) -> None: ...

    def refused(self, member: Member, refusal: Refusal) -> None: ...

    def left(self, member: Member) -> None: ...


class Member:
    """One connected proxy. Owned by the fleet's task; implements :class:`xds.directory.Membership`."""

    def __init__(self, fleet: Fleet, node: NodeId, seat: Seat) -> None:
        self._fleet = fleet
        self.node = node
        self.seat = seat
        self.assignment: Latest[Assignment] = Latest(Assignment({}, ""))
        self.held: dict[str, tuple[Part, ...]] = {}
        self.refusals: dict[tuple[str, str], Refusal] = {}
        self._composed: dict[str, tuple[Facet, ...]] = {}
        self._moved: set[str] = set()
        """Types whose facets are others than those whose parts it holds: age tells nothing between them."""
        self.is_told = False
        """Whether it knows what it shall have."""
        self.answered = asyncio.Event()
        """Set once it is told, or once what it shall have turned out to be impossible to make."""
        self.departure = ExitStack()
        """What is to be undone when the stream ends."""

    @property
    def proxy(self) -> Proxy:
        return self.seat.proxy

    @property
    def facets(self) -> tuple[Facet, ...]:
        return self.seat.facets

    def acknowledged(self, type_url: str, parts: tuple[Part, ...]) -> None:
        self.held[type_url] = parts
        if parts == self.assignment.value.parts.get(type_url):
            self._moved.discard(type_url)
        for key, refusal in tuple(self.refusals.items()):
            if key[0] == type_url and self._is_settled(refusal, parts):
                del self.refusals[key]
        self._fleet.heard(self, type_url, parts)

    def _is_settled(self, refusal: Refusal, parts: tuple[Part, ...]) -> bool:
        """Whether the proxy took the refused bytes after all, or nobody wants it to any more.

        Older bytes in their place, while the new ones are in quarantine, settle nothing.
        """
        return _has(parts, refusal) or not _has(self._wanted(refusal.type_url), refusal)

    def _wanted(self, type_url: str) -> tuple[Part, ...]:
        """What translation has for this proxy, quarantined or not."""
        return tuple(facet.wanted[type_url] for facet in self.contributing(type_url))

    def contributing(self, type_url: str) -> tuple[Facet, ...]:
        """The facets that have resources of a type, in the order of the assignment's parts."""
        return tuple(facet for facet in self.facets if type_url in facet.types)

    def refused(self, refusal: Refusal) -> None:
        """A refusal of what nobody wants any more is no news: it crossed the fix on its way."""
        if not refusal.name or _has(self._wanted(refusal.type_url), refusal):
            self.refusals[refusal.type_url, refusal.name] = refusal
        self._fleet.refused(self, refusal)

    def leave(self) -> None:
        self._fleet.left(self)

    def publish(self, revision: str) -> None:
        """Tell the session what the facets have now.

        Not while one of them is still to be made: an empty part would be an order to forget.
        """
        if any(facet.world is None for facet in self.facets):
            return
        parts = {
            type_url: tuple(facet.parts[type_url] for facet in self.contributing(type_url))
            for type_url in envoy.TYPES
        }
        composed = {type_url: self.contributing(type_url) for type_url in envoy.TYPES}
        self._moved |= {url for url, facets in composed.items() if facets != self._composed.get(url)}
        self._composed = composed
        before = self.assignment.value.parts
        if parts != before:
            for type_url, aim in parts.items():
                if aim != before.get(type_url) and aim == self.held.get(type_url):
                    # It goes back to what it held before the last target, and may have left that since.
                    del self.held[type_url]
            self._forget_refusals()
            self.assignment.publish(Assignment(parts, revision))
        self.is_told = True
        self.answered.set()

    def _forget_refusals(self) -> None:
        """Of what nobody wants any more."""
        for key, refusal in tuple(self.refusals.items()):
            if refusal.name and not _has(self._wanted(refusal.type_url), refusal):
                del self.refusals[key]

    @property
    def is_live(self) -> bool:
        """Whether the proxy has acknowledged the revision that its facets last adopted."""
        return all(self._is_live(type_url) for type_url in envoy.TYPES)

    def _is_live(self, type_url: str) -> bool:
        contributing = self.contributing(type_url)
        if contributing != self._composed.get(type_url):
            return False  # it was put into other facets, and is not told of them yet
        held = self.held.get(type_url, ())
        wanted = tuple(facet.parts[type_url] for facet in contributing)
        if held == wanted or type_url in self._moved:
            return held == wanted
        adopted = [facet.adopted.get(type_url, 0) for facet in contributing]
        return len(held) == len(adopted) and all(
            part.serial >= floor for part, floor in zip(held, adopted, strict=True)
        )


def _has(parts: tuple[Part, ...], refusal: Refusal) -> bool:
    """Whether the very bytes that were refused are among these."""
    found = (part.resources.get(refusal.name) for part in parts)
    return any(resource is not None and resource.version == refusal.version for resource in found)
