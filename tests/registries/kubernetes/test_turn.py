"""Long work gives the loop back, and short work does not pay for it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from mesh.clock import breathe
from registries.kubernetes.turn import Turn


class SlowSteps:
    """A clock on which each look at it costs a step's time."""

    def __init__(self, step: timedelta) -> None:
        self._step, self._now = step.total_seconds(), 1.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._now, UTC)

    def monotonic(self) -> float:
        self._now += self._step
        return self._now

    async def sleep(self, span: timedelta) -> None:
        raise NotImplementedError


async def turns_of_others(step: timedelta) -> int:
    """How often another task was there during a hundred steps."""
    seen = 0

    async def others() -> None:
        nonlocal seen
        while True:
            await breathe()
            seen += 1

    task = asyncio.create_task(others())
    await breathe()
    seen, turn = 0, Turn(SlowSteps(step))
    for _ in range(100):
        await turn.pass_on()
    task.cancel()
    return seen


async def test_a_burst_of_large_events_does_not_keep_the_loop() -> None:
    assert await turns_of_others(timedelta(milliseconds=6)) == 100


async def test_a_burst_of_small_events_is_taken_in_one_go() -> None:
    assert await turns_of_others(timedelta(microseconds=10)) == 1
