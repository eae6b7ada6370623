"""How long the event loop was kept from its tasks: the measure behind the budget of 50 ms (DESIGN 5)."""

from __future__ import annotations

from datetime import timedelta
from typing import NoReturn

from prometheus_client import CollectorRegistry, Gauge

from mesh.clock import Clock

_BEAT = timedelta(milliseconds=20)


async def run_stall_watch(clock: Clock, registry: CollectorRegistry) -> NoReturn:
    """Sleep a little, and see how much longer it took."""
    longest = Gauge(
        "meshwright_loop_stall_seconds_max",
        "The longest time that one task kept the event loop from all others.",
        registry=registry,
    )
    most = 0.0
    while True:
        began = clock.monotonic()
        await clock.sleep(_BEAT)
        late = clock.monotonic() - began - _BEAT.total_seconds()
        if late > most:
            most = late
            longest.set(most)
