"""Changes without an end in what a registry holds, and what becomes of them in a real Envoy.

**The lag** of a change is counted from the beginning of the call to the registry's API until Envoy's own
admin page (``/config_dump`` with its endpoints) shows it. Envoy takes endpoints and acknowledges them in one
turn of its loop, so this is the time of the ACK plus at most one round of asking: 5 ms and what the page
takes. Every fifth change is followed, whichever it is. Changes that an outage touches are counted apart.

**The steady** instances are never changed, and asked for every 100 ms: none may ever be missing.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from mesh.clock import SystemClock
from registries.registry import State
from tests.bench.report import Spread
from tests.bench.usage import usage
from tests.support.churn_stage import Places, Stage
from tests.support.daemons import Unanswered, until

CHANGES_PER_SECOND = 50
_FOLLOWED = 5
_AT_ONCE = 8
_SETTLE_S = 30.0
_UNHEARD = timedelta(seconds=1)
_BEAT, _STEADY_BEAT = timedelta(milliseconds=5), timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one instance. ``write`` calls the API; ``shows`` says whether Envoy knows of it."""

    write: Callable[[], None]
    cluster: str
    shows: Callable[[Places], bool]
    done: Callable[[], None] = lambda: None
    """Called when Envoy knows, or nobody looks: from then on the instance may change again."""


class Source(Protocol):
    """A registry's server in which everything changes. Owned by the test that churns it."""

    @property
    def steady(self) -> Mapping[str, Places]:
        """By cluster, the instances that are never changed: those that are looked at all the time."""

    def change(self, how: random.Random) -> Change:
        """Decide on the next change."""

    def kill(self) -> None:
        """End the server as a power cut would."""

    def start(self) -> None:
        """Start it again with what it held."""

    def expected(self) -> Mapping[str, Places]:
        """What Envoy must have in the end: read afresh from the server, and not by any code of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of a churn."""

    changes: int
    seconds: float
    followed: int
    lag: Spread
    disturbed: Spread
    """Of the changes that the outage touched."""
    looks: int
    """How often the steady instances were looked at."""
    missed: Sequence[str]
    """Steady instances that were not there at a look."""
    cpu_percent: float
    """Of a core, by the control plane; and its memory."""
    resident_mb: float
    resident_max_mb: float

    def __str__(self) -> str:
        return (
            f"{self.changes} changes in {self.seconds:g} s; lag of {self.followed}: {self.lag};"
            f" when the outage touched them: {self.disturbed};"
            f" control plane: {self.cpu_percent:g} % of a core,"
            f" {self.resident_mb:g} MB, {self.resident_max_mb:g} MB at most;"
            f" {self.looks} looks at what is steady, {len(self.missed)} missing"
        )


@dataclass(slots=True)
class Storm:
    """Changes, and those that wait to be seen. Owned by :func:`churn`."""

    stage: Stage
    source: Source
    how: random.Random
    clock: SystemClock = field(default_factory=SystemClock)
    changes: int = 0
    lags: list[float] = field(default_factory=list)
    disturbed: list[float] = field(default_factory=list)
    looks: int = 0
    missed: list[str] = field(default_factory=list)
    is_disturbed: bool = False
    _pending: dict[int, tuple[Change, float, bool]] = field(default_factory=dict)

    async def blow(self, span: timedelta) -> float:
        """Change something fifty times a second. Returns the seconds: more than asked if calls are slow."""
        begun, room = self.clock.monotonic(), asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for turn in range(int(CHANGES_PER_SECOND * span.total_seconds())):
                early = begun + turn / CHANGES_PER_SECOND - self.clock.monotonic()
                await self.clock.sleep(timedelta(seconds=max(early, 0)))
                await room.acquire()
                group.create_task(self._change(self.source.change(self.how), room))
        return self.clock.monotonic() - begun

    async def _change(self, change: Change, room: asyncio.Semaphore) -> None:
        self.changes += 1
        number = self.changes
        is_followed = number % _FOLLOWED == 0
        if is_followed:
            self._pending[number] = change, self.clock.monotonic(), self.is_disturbed
        try:
            await asyncio.to_thread(change.write)
        finally:
            room.release()
        if not is_followed:
            change.done()

    async def follow(self) -> None:
        """Ask Envoy for every cluster in which a change waits to be seen."""
        while True:
            if waiting := dict(self._pending):
                found = await self.stage.endpoints({change.cluster for change, *_ in waiting.values()})
                now = self.clock.monotonic()
                for number, (change, begun, was_disturbed) in waiting.items():
                    if change.shows(found.get(change.cluster, {})):
                        is_disturbed = was_disturbed or self.is_disturbed
                        (self.disturbed if is_disturbed else self.lags).append(now - begun)
                        del self._pending[number]
                        change.done()
            await self.clock.sleep(_BEAT)

    async def watch(self) -> None:
        """Look at the steady instances."""
        steady = self.source.steady
        while True:
            found = await self.stage.endpoints(steady)
            self.looks += 1
            self.missed += [
                f"{place} of {cluster} at look {self.looks}: {found.get(cluster, {}).get(place, 'gone')}"
                for cluster, there in steady.items()
                for place, health in there.items()
                if found.get(cluster, {}).get(place) != health
            ]
            await self.clock.sleep(_STEADY_BEAT)

    async def until_seen(self) -> None:
        """Wait until Envoy knows of every change that is followed."""

        async def are_seen() -> bool:
            return not self._pending

        try:
            await until("Envoy to know of every change", are_seen, _SETTLE_S)
        except Unanswered as error:
            left = sorted(change.cluster for change, *_ in self._pending.values())
            raise Unanswered(f"{error}: not of {len(left)} in {left[:5]}") from None

    @asynccontextmanager
    async def disturbance(self) -> AsyncIterator[None]:
        """What is under way, begins or ends in the block is counted apart."""
        self._pending = {number: (*one[:2], True) for number, one in self._pending.items()}
        self.is_disturbed = True
        try:
            yield
        finally:
            self._pending = {number: (*one[:2], True) for number, one in self._pending.items()}
            self.is_disturbed = False


@contextmanager
def promptly() -> Iterator[None]:
    """Calls are made in threads: none of them shall keep another, or who looks, from its turn for long."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


async def churn(stage: Stage, source: Source, span: timedelta, seed: int = 7) -> Found:
    """Change things for so long; half-way the server is killed and started again. Waits for the end of it."""
    with promptly():
        return await _churn(stage, source, span, seed)


async def _churn(stage: Stage, source: Source, span: timedelta, seed: int) -> Found:
    storm = Storm(stage, source, random.Random(seed))
    before, seconds = usage(stage.pid), 0.0
    async with asyncio.TaskGroup() as group:
        looking = [group.create_task(look) for look in (storm.follow(), storm.watch())]
        seconds += await storm.blow(span / 2)
        halfway = usage(stage.pid)
        async with storm.disturbance():
            await _outage(storm)
        again = usage(stage.pid)
        seconds += await storm.blow(span / 2)
        after = usage(stage.pid)
        await storm.until_seen()
        for task in looking:
            task.cancel()
    spent = halfway.cpu - before.cpu + after.cpu - again.cpu
    return Found(
        changes=storm.changes,
        seconds=round(seconds, 1),
        followed=len(storm.lags),
        lag=Spread.of(storm.lags),
        disturbed=Spread.of(storm.disturbed),
        looks=storm.looks,
        missed=storm.missed,
        cpu_percent=round(100 * spent / seconds),
        resident_mb=round(after.resident_mb, 1),
        resident_max_mb=round(after.resident_max_mb, 1),
    )


async def _outage(storm: Storm) -> None:
    await asyncio.to_thread(storm.source.kill)
    await storm.stage.until_state(State.STALE)
    await asyncio.to_thread(storm.source.start)
    # What changes before the registry is heard again must not be missed either.
    await storm.blow(_UNHEARD)
    await storm.stage.until_state(State.LIVE)
    await storm.until_seen()


async def until_settled(stage: Stage, expected: Mapping[str, Places]) -> None:
    """Wait until Envoy has exactly this, and the control plane says that it has sent it."""

    async def has_all() -> bool:
        return await stage.endpoints() == expected

    try:
        await until("Envoy to have what a fresh read finds", has_all, _SETTLE_S)
    except Unanswered as error:
        raise Unanswered(f"{error}: {differences(await stage.endpoints(), expected)}") from None
    assert differences(await stage.sent(), expected) == []


def differences(found: Mapping[str, Places], expected: Mapping[str, Places]) -> list[str]:
    """What is other than expected, by cluster."""
    return [
        f"{cluster}: found {sorted(set(here.items()) - set(there.items()))},"
        f" expected {sorted(set(there.items()) - set(here.items()))}"
        for cluster in sorted(found.keys() | expected.keys())
        for here, there in [(found.get(cluster, {}), expected.get(cluster, {}))]
        if here != there
    ]
