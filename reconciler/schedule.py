"""APScheduler, used only to ring a bell.

A job's body is ``bell.set()``. What there is to do is decided by the loop that wakes; a bell that
is already ringing is not rung twice, so a slow loop is never behind.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler


class Schedule:
    """Rings bells at intervals. Belongs to the event loop it is started in."""

    def __init__(self) -> None:
        self._scheduler = AsyncIOScheduler(timezone=UTC)

    def every(self, interval: timedelta, bell: asyncio.Event, *, name: str) -> None:
        """Ring ``bell`` every ``interval``, give or take a tenth, so that replicas do not march in step."""

        # A coroutine, because APScheduler runs plain functions in a thread and an Event is the loop's.
        async def ring() -> None:
            bell.set()

        self._scheduler.add_job(
            ring,
            "interval",
            seconds=interval.total_seconds(),
            jitter=interval.total_seconds() / 10,
            id=name,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,  # late is better than not at all
        )

    def start(self) -> None:
        self._scheduler.start()

    def stop(self) -> None:
        self._scheduler.shutdown(wait=False)
