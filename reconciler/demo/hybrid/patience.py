"""Looks again and again until there is something to see, and no longer than it may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from mesh.clock import Clock
from mesh.errors import Unavailable

T = TypeVar("T")


async def until(
    awaited: str, look: Callable[[], Awaitable[T | None]], clock: Clock, *, limit: timedelta, beat: timedelta
) -> T:
    """The first thing that ``look`` finds.

    :raises Unavailable: when it finds nothing in time; ``awaited`` says for what was waited.
    """
    try:
        async with asyncio.timeout(limit.total_seconds()):
            while (found := await look()) is None:
                await clock.sleep(beat)
            return found
    except TimeoutError:
        raise Unavailable(
            f"waited {limit.total_seconds():.0f} s for {awaited}", hint="the logs say more"
        ) from None
