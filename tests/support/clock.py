"""A clock that tests move by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Keeps sleepers in a heap; ``advance`` wakes each in order and lets it run to its next wait."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = timedelta(0)
        self._skew = timedelta(0)
        self._sleepers: list[tuple[timedelta, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        return self._start + self._elapsed + self._skew

    def monotonic(self) -> float:
        return self._elapsed.total_seconds()

    async def sleep(self, span: timedelta) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + span, next(self._order), woken))
        await woken

    def jump(self, span: timedelta) -> None:
        """The wall clock is set by someone; the monotonic clock does not notice."""
        self._skew += span

    async def advance(self, span: timedelta) -> None:
        """Let ``span`` pass."""
        end = self._elapsed + span
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, woken = heapq.heappop(self._sleepers)
            self._elapsed = max(self._elapsed, at)
            if not woken.done():
                woken.set_result(None)
            await _settle()
        self._elapsed = end


async def _settle() -> None:
    """Give every ready task its turns until it waits again."""
    for _ in range(20):
        await asyncio.sleep(0)  # noqa: TID251 (yields; no time passes)
