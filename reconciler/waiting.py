"""Waits until the newest commit is live on every connected proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from mesh.clock import Clock
from reconciler.asking import ask

_BEAT = timedelta(milliseconds=200)


def until_live(state: Path, limit: timedelta, clock: Clock) -> tuple[Any, bool]:
    """The last status, and whether it was live before ``limit`` was over.

    The repository is looked at first. Twice: the first answer may be that of a look which began before we
    asked, and so before the push that our caller waits for.
    """
    ends = clock.monotonic() + limit.total_seconds()
    answer, is_so = ask(state, "/status"), True
    for _ in range(2):
        ask(state, "/poll", method="POST")
        answer, is_so = _until(partial(_is_looked_at_since, answer), state, ends, clock)
    return _until(is_live, state, ends, clock) if is_so else (answer, False)


def _until(
    holds: Callable[[Mapping[str, Any]], bool], state: Path, ends: float, clock: Clock
) -> tuple[Any, bool]:
    while True:
        answer = ask(state, "/status")
        if holds(answer):
            return answer, True
        if clock.monotonic() >= ends:
            return answer, False
        asyncio.run(_pause(clock))


def _is_looked_at_since(before: Mapping[str, Any], answer: Mapping[str, Any]) -> bool:
    """Whether the remote has answered again."""
    return bool(answer["git"]["fetched_at"] != before["git"]["fetched_at"])


async def _pause(clock: Clock) -> None:
    await clock.sleep(_BEAT)


def is_live(answer: Mapping[str, Any]) -> bool:
    """Whether the newest commit is served whole, acknowledged by all who are connected, refused by none."""
    live = answer["live"]
    return (
        bool(answer["revision"])
        and live["revision"] == answer["revision"]
        and live["acknowledged"] == live["connected"]
        and not live["refused"]
        and not any(unit["held_since"] for unit in answer["units"])
    )
