"""The event loop: how soon it gets its turn, and how long it was kept from its tasks (DESIGN 5: 50 ms)."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import NoReturn

from prometheus_client import CollectorRegistry, Gauge

from mesh.clock import Clock

_BEAT = timedelta(milliseconds=20)
_SWITCH_S = 0.0005


def precede_threads() -> None:
    """Let a thread that computes give the interpreter to the loop soon.

    The loop lets go of it with every system call, and beside a thread that makes worlds or resources it would
    then wait for Python's 5 ms each time. With fifty changes a second in Consul, the median lag is a third
    less by this.
    """
    sys.setswitchinterval(_SWITCH_S)


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
