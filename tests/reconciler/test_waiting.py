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
    "live": {"revision": "3f2a91c", "acknowledged": 2, "connected": 2, "refused": []},
    "units": [{"held_since": None}],
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"revision": ""}, False),
        ({"revision": "newer"}, False),
        ({"live": {**LIVE["live"], "acknowledged": 1}}, False),
        ({"live": {**LIVE["live"], "acknowledged": 0, "connected": 0}}, True),
        ({"live": {**LIVE["live"], "refused": [{"proxy": "ingress.istio-system"}]}}, False),
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
    """Answers from a list, the last again and again. Each look at the repository takes one answer's time."""

    def __init__(self, *answers: dict[str, Any], is_git_there: bool = True) -> None:
        self._answers = list(answers)
        self._is_git_there, self._looks = is_git_there, 0
        self.asked: list[str] = []

    def ask(self, state: Path, path: str, *, method: str = "GET") -> Any:
        self.asked.append(f"{method} {path}")
        if path == "/poll":
            self._looks += self._is_git_there
            return {"polled": True}
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return {**answer, "git": {"fetched_at": str(self._looks)}}


BEHIND = {**LIVE, "revision": "newer"}


def test_the_repository_is_looked_at_and_then_the_status_until_it_is_live(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon = Daemon(BEHIND, BEHIND, BEHIND, BEHIND, LIVE)
    monkeypatch.setattr(waiting, "ask", daemon.ask)

    answer, is_so = until_live(Path("/state"), timedelta(seconds=10), ImpatientClock())

    assert is_so
    assert answer["revision"] == LIVE["revision"]
    assert daemon.asked == [
        *("GET /status", "POST /poll", "GET /status", "POST /poll", "GET /status"),
        *("GET /status", "GET /status"),
    ]


def test_what_was_live_before_the_push_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon answers at once and looks at the repository a moment later."""
    monkeypatch.setattr(waiting, "ask", Daemon(LIVE, LIVE, BEHIND).ask)

    assert not until_live(Path("/state"), timedelta(seconds=1), ImpatientClock())[1]


def test_without_the_repository_nobody_knows_what_is_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "ask", Daemon(LIVE, is_git_there=False).ask)

    assert not until_live(Path("/state"), timedelta(seconds=1), ImpatientClock())[1]


def test_waiting_ends_with_the_last_that_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ImpatientClock()
    monkeypatch.setattr(waiting, "ask", Daemon(BEHIND).ask)

    answer, is_so = until_live(Path("/state"), timedelta(seconds=1), clock)

    assert not is_so
    assert answer["revision"] == "newer"
    assert 1 <= clock.monotonic() <= 1.2
