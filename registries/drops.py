"""One number that should not drop: the instances of a service, or all that a registry knows.

Arithmetic only. A drop is net, so that a set which is replaced is none. It is measured against the highest
number that was named within the last ``dwell``: what bleeds away, one by one or by many small steps, is held
where the line is crossed, and what shrinks by no more than the share within any such time is believed. A
number is forgotten a ``dwell`` after it was left, which is when what left with it is believed to be gone.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from mesh.clock import Clock
from mesh.durations import MILLION
from mesh.kinds.guards import Guards

SETTLE = 30.0
"""Seconds for which a drop must be over before what is still missing is believed."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Now: spans are measured on the first clock, people read the second."""

    monotonic: float
    wall: datetime

    @classmethod
    def of(cls, clock: Clock) -> Moment:
        return cls(clock.monotonic(), clock.now())


@dataclass(slots=True)
class Stopwatch:
    """Counts the seconds in which a registry is heard. Owned by its guard."""

    is_running: bool = False
    _counted: float = 0.0
    _since: float = 0.0

    def run(self, now: float, *, is_running: bool) -> None:
        if self.is_running:
            self._counted += now - self._since
        self.is_running, self._since = is_running, now

    def read(self, now: float) -> float:
        return self._counted + (now - self._since if self.is_running else 0.0)


@dataclass(slots=True)
class Drop:
    """Too many have gone. ``baseline`` is how many there were, less those that are believed to be gone."""

    baseline: int
    since: datetime
    guards: Guards
    """Those that hold it, whatever is set meanwhile."""
    over_since: float | None = None
    """By the stopwatch: since when enough are back, and none that was missing has returned after that."""


@dataclass(slots=True)
class Count:
    """How many there are by the newest answer, and whether that is a drop. Owned by a guard."""

    newest: int
    drop: Drop | None = None
    _lately: deque[tuple[float, int]] = field(default_factory=deque)
    """By the stopwatch: when there were more, and how many; later ones are fewer."""

    def take(self, newest: int, guards: Guards, moment: Moment, heard: float) -> bool:
        """Whether what is missing now is to be held. ``heard`` is the stopwatch's time.

        :param guards: for a drop that begins; one that is there is held by its own.
        """
        if self.drop is not None:
            guards = self.drop.guards
        before, self.newest = self.newest, newest
        if newest < before:
            while self._lately and self._lately[-1][1] <= before:
                self._lately.pop()
            self._lately.append((heard, before))
        baseline = max(newest, self._peak(heard, guards), self.drop.baseline if self.drop else 0)
        if is_drop(newest, baseline, guards):
            self.drop = Drop(baseline, self.drop.since if self.drop else moment.wall, guards)
            return True
        if self.drop is not None and self.drop.over_since is None:
            self.drop.over_since = heard
        return False

    def returned(self, heard: float) -> None:
        """Something that was missing is back: more may follow."""
        if self.drop is not None and self.drop.over_since is not None:
            self.drop.over_since = heard

    def believe(self, gone: int, heard: float) -> None:
        """So many are believed to be gone: they no longer count as missing."""
        if self.drop is not None and gone:
            # What went before the dwell is in none of the numbers that were named since.
            self.drop.baseline = max(self.drop.baseline - gone, self._peak(heard, self.drop.guards))
            if self.drop.over_since is None and not is_drop(
                self.newest, self.drop.baseline, self.drop.guards
            ):
                self.drop.over_since = heard

    def forget(self) -> None:
        """The newest number is the right one, whatever there was before."""
        self.drop = None
        self._lately.clear()

    def is_settled(self, heard: float) -> bool:
        """Whether there is no drop, or none any more."""
        at = self.settled_at
        return self.drop is None or (at is not None and at <= heard)

    @property
    def settled_at(self) -> float | None:
        """By the stopwatch: when a drop that is over may be forgotten."""
        if self.drop is None or self.drop.over_since is None:
            return None
        return self.drop.over_since + SETTLE

    def is_idle(self, heard: float, guards: Guards) -> bool:
        """Whether a new one would say the same."""
        return self.drop is None and not self._peak(heard, guards)

    def _peak(self, heard: float, guards: Guards) -> int:
        dwell = guards.dwell.total_seconds()
        while self._lately and self._lately[0][0] + dwell <= heard:
            self._lately.popleft()
        return self._lately[0][1] if self._lately else 0


def is_drop(newest: int, baseline: int, guards: Guards) -> bool:
    """Whether more than the share of more than ``above`` have gone."""
    if guards.disabled or baseline <= guards.above:
        return False
    return (baseline - newest) * MILLION > guards.share * baseline
