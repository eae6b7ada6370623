"""Make before break: what may be sent before what was acknowledged.

Clusters and their endpoints come first, then what points at them, then removals; clusters are
removed last (DESIGN D5). The phase is computed from what each type still lacks, so a target that
changes in the middle needs no special case: the newest one is simply compared again. Endpoints of
known clusters and secrets pass at any time; they break nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum

from xds import envoy


class Phase(IntEnum):
    """The first of these that is not finished."""

    CLUSTERS = 0
    LISTENERS = 1
    REMOVALS = 2
    REST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """What one type lacks. ``gains``: additions or changes not acknowledged; ``losses``: removals likewise.

    ``answers``: names that were asked for, or must be said again, and are not acknowledged.
    """

    gains: bool = False
    losses: bool = False
    answers: bool = False


SETTLED = Lack()
"""The one object that says so; compared with ``is``."""


def phase(clusters: Lack, endpoints: Lack, listeners: Lack, routes: Lack) -> Phase:
    # Plain endpoint updates do not count: under steady churn listeners would wait for ever.
    if clusters.gains or endpoints.answers:
        return Phase.CLUSTERS
    if listeners.gains or listeners.losses or routes.gains:
        return Phase.LISTENERS
    if clusters.losses or routes.losses:
        return Phase.REMOVALS
    return Phase.REST


_GAINS = {envoy.LISTENER: Phase.LISTENERS, envoy.ROUTES: Phase.LISTENERS}

# A listener that goes frees its port, and the one that takes the port may come in the same response
# (Envoy works off removals first); so listeners are the one type whose losses travel with the gains.
_LOSSES = {
    envoy.LISTENER: Phase.LISTENERS,
    envoy.ROUTES: Phase.REMOVALS,
    envoy.CLUSTER: Phase.REMOVALS,
}


def may_gain(type_url: str, granted: Phase) -> bool:
    return granted >= _GAINS.get(type_url, Phase.CLUSTERS)


def may_lose(type_url: str, granted: Phase) -> bool:
    return granted >= _LOSSES.get(type_url, Phase.REST)


class Pace:
    """One proxy's way through the phases. Owned by its session.

    A phase that does not end within ``limit`` is passed over, one more with each further ``limit``: a
    proxy that never acknowledges still gets everything, and delays nobody but itself.
    """

    __slots__ = ("_limit", "_phase", "_since")

    def __init__(self, limit: timedelta, now: float) -> None:
        self._limit = limit.total_seconds()
        self._phase = Phase.CLUSTERS
        self._since = now

    def enter(self, current: Phase, now: float) -> None:
        """To be told whenever something happened, also when nothing is left to do."""
        if current is not self._phase:
            self._phase, self._since = current, now

    def granted(self, now: float) -> Phase:
        return Phase(min(Phase.REST, self._phase + self._passed(now)))

    def due(self, now: float) -> float | None:
        """When time alone will grant more."""
        passed = self._passed(now)
        if self._phase + passed >= Phase.REST:
            return None
        return self._since + (passed + 1) * self._limit

    def _passed(self, now: float) -> int:
        return int((now - self._since) / self._limit)
