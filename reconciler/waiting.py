"""Waits until the newest commit is live on every connected proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from mesh.clock import Clock
from reconciler.asking import ask

_BEAT = timedelta(milliseconds=200)


def until_live(state: Path, limit: timedelta, clock: Clock) -> tuple[Any, bool]:
    """The last status, and whether it was live before ``limit`` was over.

    The repository is looked at first.
    """
    ask(state, "/poll", method="POST")
    ends = clock.monotonic() + limit.total_seconds()
    while True:
        answer = ask(state, "/status")
        if is_live(answer):
            return answer, True
        if clock.monotonic() >= ends:
            return answer, False
        asyncio.run(_pause(clock))


async def _pause(clock: Clock) -> None:
    await clock.sleep(_BEAT)


def is_live(answer: Mapping[str, Any]) -> bool:
    """Whether the newest commit is served whole, and acknowledged by everybody who is connected."""
    live = answer["live"]
    return (
        bool(answer["revision"])
        and live["revision"] == answer["revision"]
        and live["acknowledged"] == live["connected"]
        and not any(unit["held_since"] for unit in answer["units"])
    )
