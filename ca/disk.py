"""What waits for the disk, off the loop; a disk that hangs must not hang the caller too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from mesh.errors import Unavailable

_SECONDS = 10

P = ParamSpec("P")
T = TypeVar("T")


async def off_loop(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """:raises Unavailable: when it takes too long; the work itself may still be done."""
    try:
        async with asyncio.timeout(_SECONDS):
            return await asyncio.to_thread(call, *args, **kwargs)
    except TimeoutError:
        raise Unavailable(
            f"the disk of the control plane did not answer within {_SECONDS} s",
            hint="try again; the same token and key are accepted for ten minutes",
        ) from None
