"""Keeps the garbage collector from walking over the world.

A mesh of a thousand services is some million objects that stay. Python's full collections would visit all
of them and hold the loop for tenths of a second, over and over while a fleet connects. So nothing is
collected until the first world stands, and what stands then is put aside for good (``gc.freeze``; DESIGN
D4), and again at growing intervals what has been added by then. What comes and goes in between is collected
as ever; objects put aside that die are freed by reference counting, as nearly all of ours are. Those that
hold each other are not freed any more, so what comes and goes with every stream must not (``xds/server.py``).
"""

from __future__ import annotations

import gc
from datetime import timedelta
from typing import NoReturn

from mesh.clock import Clock

# Young objects are many and short-lived here (requests, bodies, turns), so they are looked at seldom; but
# never so many at once that looking takes longer than a few milliseconds.
_THRESHOLDS = (10_000, 5, 200)
_FIRST = timedelta(seconds=1)
_LONGEST = timedelta(hours=1)


def hold() -> None:
    """Until :func:`release`: start-up makes almost nothing but what stays."""
    gc.disable()


def release() -> None:
    """What there is now stays."""
    gc.set_threshold(*_THRESHOLDS)
    gc.freeze()
    gc.enable()


async def run_freezer(clock: Clock) -> NoReturn:
    """Put aside what has come to stay: after a second, two more, four more, up to hourly."""
    pause = _FIRST
    while True:
        await clock.sleep(pause)
        if gc.isenabled():
            gc.freeze()
        pause = min(2 * pause, _LONGEST)
