"""Waits for whichever comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


async def first(*waits: Awaitable[object]) -> None:
    """Return when one of them is over; the others are given up."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
