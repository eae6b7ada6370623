"""How well each kind of object is heard, and what that makes of the whole registry.

A registry is live when every kind was listed and is watched now. One that fails makes it stale, with
the reason, and what is known stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mesh.clock import Clock
from mesh.errors import MeshError, Misconfigured
from mesh.latest import Latest
from registries.registry import Freshness, State

TELLING = timedelta(seconds=10)
"""How often it is worth saying that all is still well."""


@dataclass(slots=True)
class _Ear:
    """One kind. ``is_behind`` from when nothing is heard of it, until it is listed or watched again."""

    is_listed: bool = False
    is_behind: bool = True
    is_watching: bool = False
    heard: tuple[float, datetime] | None = None
    """When: by the clock that never jumps, and by the wall clock."""
    error: MeshError | None = None


class Hearing:
    """Owned by the task of the registry; its reflectors tell it what they meet."""

    def __init__(self, kinds: Iterable[str], clock: Clock, freshness: Latest[Freshness]) -> None:
        self._clock, self._freshness = clock, freshness
        self._ears = {kind: _Ear() for kind in kinds}
        self._trouble: MeshError | None = None
        self._has_answered = False

    @property
    def is_complete(self) -> bool:
        """Whether every kind was listed since :meth:`begin_again`."""
        return all(ear.is_listed for ear in self._ears.values())

    def is_behind(self, *kinds: str) -> bool:
        return any(self._ears[kind].is_behind for kind in kinds)

    def begin_again(self) -> None:
        """This may be another cluster: everything has to be listed."""
        for ear in self._ears.values():
            ear.is_listed, ear.is_behind, ear.is_watching = False, True, False

    def listed(self, kind: str) -> None:
        ear = self._ears[kind]
        ear.is_listed, ear.is_behind = True, False
        self.heard(kind)

    def behind(self, kind: str) -> None:
        """What happens to it is not known for now."""
        self._ears[kind].is_behind = True

    def watching(self, kind: str) -> None:
        ear = self._ears[kind]
        ear.is_watching, ear.is_behind, ear.error = True, False, None
        self.heard(kind)

    def heard(self, kind: str) -> None:
        """The server said something of it, be it that nothing is new."""
        self._ears[kind].heard = self._clock.monotonic(), self._clock.now()
        self._tell()

    def failed(self, kind: str, error: MeshError) -> None:
        ear = self._ears[kind]
        ear.is_watching, ear.error = False, error
        self._tell()

    def unreachable(self, error: MeshError | None) -> None:
        """There is no way to the cluster at all; or, with ``None``, there is again."""
        self._trouble = error
        self._tell()

    def answered(self) -> None:
        """The first answer was published."""
        self._has_answered = True
        self._tell()

    def _tell(self) -> None:
        said = self._freshness.value
        error = self._trouble or next((ear.error for ear in self._ears.values() if ear.error), None)
        monotonic, heard_at = self._heard()
        now = Freshness(
            state=self._state(error),
            heard_at=heard_at,
            heard=monotonic,
            since=said.since,
            error=str(error) if error else "",
            hint=error.hint if error else "",
        )
        if now.state is not said.state or said.since is None:
            now = replace(now, since=self._clock.now())
        elif (now.error, now.hint) == (said.error, said.hint) and not _later(said.heard, now.heard):
            return
        self._freshness.publish(now)

    def _state(self, error: MeshError | None) -> State:
        if isinstance(error, Misconfigured):
            return State.STALLED
        if not self._has_answered:
            return State.WAITING
        if error is None and all(ear.is_listed and ear.is_watching for ear in self._ears.values()):
            return State.LIVE
        # Between two connections that both work nothing has failed: no reason to alarm anybody.
        return State.STALE if error is not None else self._freshness.value.state

    def _heard(self) -> tuple[float, datetime] | tuple[None, None]:
        """Since when, at the least, all of it is known to be complete."""
        heard = [ear.heard for ear in self._ears.values() if ear.heard is not None]
        return min(heard) if heard and len(heard) == len(self._ears) else (None, None)


def _later(before: float | None, now: float | None) -> bool:
    """Not by the wall clock: one that is set back must not silence us until it has caught up."""
    return now is not None and (before is None or now - before >= TELLING.total_seconds())
