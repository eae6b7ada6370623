"""Time, as something that can be handed in.

The only module that asks the time or sleeps. Everything else takes a :class:`Clock`.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What the rooms may ask of time."""

    def now(self) -> datetime:
        """The wall clock, in UTC. It may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment. It never jumps."""
        ...

    async def sleep(self, span: timedelta) -> None:
        """Return after ``span``."""
        ...


async def breathe() -> None:
    """Let every other task have its turn; no time passes. For long computations on the loop."""
    await asyncio.sleep(0)


class SystemClock:
    """The real thing."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, span: timedelta) -> None:
        await asyncio.sleep(span.total_seconds())
