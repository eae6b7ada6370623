from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler import waiting
from reconciler.waiting import is_live, until_live
from tests.support.clock import FakeClock

LIVE: dict[str, Any] = {
    "revision": "3f2a91c",
    "live": {"revision": "3f2a91c", "acknowledged": 2, "connected": 2},
    "units": [{"held_since": None}],
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"revision": ""}, False),
        ({"revision": "newer"}, False),
        ({"live": {"revision": "3f2a91c", "acknowledged": 1, "connected": 2}}, False),
        ({"live": {"revision": "3f2a91c", "acknowledged": 0, "connected": 0}}, True),
        ({"units": [{"held_since": None}, {"held_since": "2026-01-01"}]}, False),
    ],
)
def test_live_is_the_newest_commit_whole_and_acknowledged_by_all(
    change: dict[str, Any], expected: bool
) -> None:
    assert is_live({**LIVE, **change}) is expected


class ImpatientClock(FakeClock):
    """Sleeping is over at once, and the time has passed."""

    async def sleep(self, span: timedelta) -> None:
        asleep = asyncio.create_task(super().sleep(span))
        await self.advance(span)
        await asleep


class Daemon:
    """Answers from a list, the last again and again."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    def ask(self, state: Path, path: str, *, method: str = "GET") -> Any:
        self.asked.append(f"{method} {path}")
        if path == "/poll":
            return {"polled": True}
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


BEHIND = {**LIVE, "revision": "newer"}


def test_the_repository_is_looked_at_and_then_the_status_until_it_is_live(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon = Daemon(BEHIND, BEHIND, LIVE)
    monkeypatch.setattr(waiting, "ask", daemon.ask)

    assert until_live(Path("/state"), timedelta(seconds=10), ImpatientClock()) == (LIVE, True)
    assert daemon.asked == ["POST /poll", "GET /status", "GET /status", "GET /status"]


def test_waiting_ends_with_the_last_that_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ImpatientClock()
    monkeypatch.setattr(waiting, "ask", Daemon(BEHIND).ask)

    assert until_live(Path("/state"), timedelta(seconds=1), clock) == (BEHIND, False)
    assert 1 <= clock.monotonic() <= 1.2
