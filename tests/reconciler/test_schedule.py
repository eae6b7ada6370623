"""The schedule rings, and does nothing else."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from reconciler.schedule import Schedule


async def test_a_bell_rings_again_and_again_on_the_loop_that_waits() -> None:
    schedule, bell = Schedule(), asyncio.Event()
    schedule.every(timedelta(seconds=0.02), bell, name="poll")
    schedule.start()
    try:
        async with asyncio.timeout(5):
            for _ in range(2):
                await bell.wait()
                bell.clear()
    finally:
        schedule.stop()


async def test_a_stopped_schedule_is_silent() -> None:
    schedule, bell = Schedule(), asyncio.Event()
    schedule.every(timedelta(seconds=0.02), bell, name="poll")
    schedule.start()
    schedule.stop()
    waiting = asyncio.create_task(bell.wait())
    done, _ = await asyncio.wait({waiting}, timeout=0.1)
    waiting.cancel()
    assert not done
