from __future__ import annotations

import asyncio
from datetime import timedelta

from prometheus_client import CollectorRegistry

from mesh.clock import breathe
from reconciler.loop import run_stall_watch
from tests.support.clock import FakeClock


class StallingClock(FakeClock):
    """Wakes its sleepers as late as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.late = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.late


async def test_the_longest_stall_is_kept() -> None:
    registry, clock = CollectorRegistry(), StallingClock()
    watch = asyncio.create_task(run_stall_watch(clock, registry))

    async def longest_after(stall: float) -> float | None:
        await breathe()
        clock.late += stall
        await clock.advance(timedelta(milliseconds=20))
        found = registry.get_sample_value("meshwright_loop_stall_seconds_max")
        return round(found, 3) if found is not None else None

    assert await longest_after(0) == 0
    assert await longest_after(0.3) == 0.3
    assert await longest_after(0.1) == 0.3
    watch.cancel()
