"""Which resource of a refused response is the culprit, and when it is tried again.

The culprit is found by sending halves, never by reading Envoy's words: they are cut, they hold random
markers, and they name the resource in one of several forms only (reference/envoy-bets.md, 8). Arithmetic
on names; the sending is :mod:`xds.delta`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xds.bodies import Response, find
from xds.resources import Part
from xds.subscription import NO_NAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long to wait, in seconds: for an answer, and before a refused resource is tried again."""

    flight: float = 5.0
    backoff_first: float = 5.0
    backoff_max: float = 600.0

    def backoff(self, tries: int, jitter: float) -> float:
        """Doubled with each try after the first; ``jitter`` in [0, 1) takes away up to half of it."""
        return float(min(self.backoff_max, self.backoff_first * 2 ** min(tries - 1, 16)) * (1 - jitter / 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Culprit:
    """One resource that this proxy refused, alone in its response. ``tries`` counts the refusals."""

    version: str
    message: str
    tries: int
    retry_at: float


@dataclass(frozen=True, slots=True)
class Found:
    """A culprit to be told: its name (empty: some of them, only together) and what is known of it."""

    name: str
    culprit: Culprit


class Suspects:
    """The refusals of one type on one stream. Owned by its :class:`xds.delta.Delta`."""

    __slots__ = ("_groups", "_limits", "_searches", "culprits", "found", "quiet_until")

    def __init__(self, limits: Limits) -> None:
        self.culprits: dict[str, Culprit] = {}
        self.found: list[Found] = []
        """Not yet told; whoever tells them takes them."""
        self.quiet_until = 0.0
        self._limits = limits
        self._groups: list[frozenset[str]] = []
        self._searches = 0
        """Searches since the last culprit or the last acknowledged update."""

    @property
    def is_searching(self) -> bool:
        return bool(self._groups)

    def refused(self, response: Response, error: str, now: float, jitter: float) -> None:
        names = response.names
        if len(names) == 1:
            self._searches = 0
            (name,) = names
            self._caught(name, response.parts, error, now, jitter)
        elif names and (response.is_trial or not self._searches):
            self._groups.extend(_halves(names))
            self._searches += not response.is_trial
        elif names:
            # Each was taken alone, and together they were not: soon asking again teaches nothing new.
            self.quiet_until = now + self._limits.backoff(self._searches, jitter)
            culprit = Culprit(version="", message=error, tries=self._searches, retry_at=self.quiet_until)
            self._searches += 1
            self.found.append(Found("", culprit))

    def _caught(self, name: str, parts: tuple[Part, ...], error: str, now: float, jitter: float) -> None:
        resource = find(parts, name)
        version = resource.version if resource is not None else ""
        known = self.culprits.get(name)
        tries = known.tries + 1 if known is not None and known.version == version else 1
        retry_at = now + self._limits.backoff(tries, jitter)
        culprit = Culprit(version=version, message=error, tries=tries, retry_at=retry_at)
        self.culprits[name] = culprit
        if tries == 1:
            self.found.append(Found(name, culprit))

    def accepted(self, response: Response) -> None:
        if not response.is_trial:
            self._searches = 0
        for name in response.names.intersection(self.culprits):
            resource = find(response.parts, name)
            if resource is not None and resource.version == self.culprits[name].version:
                del self.culprits[name]

    def acquit(self, target: tuple[Part, ...]) -> None:
        """The target is a new one: other bytes are innocent."""
        self.quiet_until = 0.0
        for name in list(self.culprits):
            resource = find(target, name)
            if resource is None or resource.version != self.culprits[name].version:
                del self.culprits[name]

    def forget(self, names: Iterable[str]) -> None:
        """The stream is not interested any more."""
        for name in names:
            self.culprits.pop(name, None)

    def group(self, present: frozenset[str]) -> frozenset[str]:
        """The next group to be sent on trial, as far as it still exists; empty when none is left."""
        while self._groups:
            group = self._groups.pop() & present
            if group:
                return group
        return NO_NAMES

    def retry(self, now: float) -> str:
        """A culprit whose time has come; empty when there is none."""
        return next((name for name, culprit in self.culprits.items() if culprit.retry_at <= now), "")

    def moments(self) -> Iterable[float]:
        """When time alone changes something."""
        return (self.quiet_until, *(culprit.retry_at for culprit in self.culprits.values()))


def _halves(names: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    ordered = sorted(names)
    middle = len(ordered) // 2
    return frozenset(ordered[:middle]), frozenset(ordered[middle:])
