"""Bytes that a facet does not serve any more, because nobody could take them.

One refusal may be the host's own doing (an address in use) or the bytes' fault. The bytes are at
fault when no proxy ever acknowledged them: then the whole facet goes back to the last bytes that were
acknowledged under that name, or leaves the name out, until the bytes change (DESIGN D5). A later
acknowledgement of the very bytes ends the quarantine too. Arithmetic only; its owner publishes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from xds.directory import Refusal
from xds.resources import Part, Resource


class Fault(Enum):
    """Whose doing a refusal is."""

    BYTES = auto()
    HOST = auto()
    OUTDATED = auto()
    """The refused bytes are not served any more."""


class ReducedPart(Part):
    """A part without some of its names. They are not gone: a proxy that has older bytes keeps them."""

    __slots__ = ("withheld",)

    def __init__(self, type_url: str, resources: Mapping[str, Resource], withheld: frozenset[str]) -> None:
        super().__init__(type_url, resources)
        self.withheld = withheld


def withheld(parts: tuple[Part, ...]) -> frozenset[str]:
    """Names that are missing here and must not be taken for removed."""
    return frozenset().union(*(part.withheld for part in parts if isinstance(part, ReducedPart)))


@dataclass(frozen=True, slots=True)
class Held:
    """One name in quarantine: the version that nobody takes, and what is served instead."""

    version: str
    instead: Resource | None


class Quarantine:
    """The quarantine of one facet and one type. Owned by the facet."""

    def __init__(self) -> None:
        self._wanted: Part | None = None
        self._served: Part | None = None
        self._acknowledged: Part | None = None
        self.held: Mapping[str, Held] = {}

    def serve(self, wanted: Part) -> Part:
        """The part to publish for what translation wants. The same object as long as nothing changed."""
        if wanted is not self._wanted or self._served is None:
            # New bytes are innocent.
            self.held = {
                name: held
                for name, held in self.held.items()
                if name in wanted.resources and wanted.resources[name].version == held.version
            }
            self._wanted, self._served = wanted, self._reduced(wanted)
        return self._served

    def acknowledged(self, part: Part) -> bool:
        """A proxy holds exactly this part. True when that ended a quarantine: serve again."""
        self._acknowledged = part
        freed = [
            name
            for name, held in self.held.items()
            if name in part.resources and part.resources[name].version == held.version
        ]
        if not freed:
            return False
        self.held = {name: held for name, held in self.held.items() if name not in freed}
        self._served = None
        return True

    def refused(self, refusal: Refusal) -> Fault:
        """Whose fault it is. After BYTES, serve again."""
        if self._wanted is None or refusal.name in self.held:
            return Fault.OUTDATED
        resource = self._wanted.resources.get(refusal.name)
        if resource is None or resource.version != refusal.version:
            return Fault.OUTDATED
        before = self._acknowledged.resources.get(refusal.name) if self._acknowledged is not None else None
        if before is not None and before.version == refusal.version:
            return Fault.HOST
        self.held = {**self.held, refusal.name: Held(refusal.version, before)}
        self._served = None
        return Fault.BYTES

    def _reduced(self, wanted: Part) -> Part:
        if not self.held:
            return wanted
        resources = dict(wanted.resources)
        out: set[str] = set()
        for name, held in self.held.items():
            if held.instead is None:
                del resources[name]
                out.add(name)
            else:
                resources[name] = held.instead
        return (
            ReducedPart(wanted.type_url, resources, frozenset(out))
            if out
            else Part(wanted.type_url, resources)
        )
