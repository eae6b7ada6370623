"""The loop: how turns end, and when the next begins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mesh.errors import Misconfigured, Refused, Unavailable
from mesh.latest import Latest
from mesh.problems import Problem, Where
from reconciler.acceptance import Accepted, UnitStatus
from reconciler.cycle import BACKOFF_MAX, Bell, CycleStatus, State, Turn, backoff, run_cycle, run_turn
from reconciler.git import Event, Fetched
from reconciler.logs import KeysAndValues
from tests.support.clock import FakeClock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
COMMIT = Fetched(commit="3f2a91c", event=Event.FIRST)


async def passes(turn: Turn) -> Turn:
    return turn


async def fetches(turn: Turn) -> Turn:
    return replace(turn, fetched=COMMIT)


async def finds_nothing_new(turn: Turn) -> Turn:
    return replace(turn, is_over=True)


def fails_with(error: BaseException) -> Callable:
    async def step(turn: Turn) -> Turn:
        raise error

    return step


@pytest.mark.parametrize(
    ("error", "state", "reason", "hint"),
    [
        (Unavailable("no answer", hint="wait"), State.RETRYING, "no answer", "wait"),
        (Misconfigured("no branch", hint="push it"), State.STALLED, "no branch", "push it"),
        (Refused("not for you"), State.BROKEN, "a bug, see the log; last good stays", ""),
        (ZeroDivisionError(), State.BROKEN, "a bug, see the log; last good stays", ""),
    ],
)
async def test_the_first_step_that_cannot_go_on_decides_the_state(
    error: Exception, state: State, reason: str, hint: str
) -> None:
    turn = await run_turn((fetches, fails_with(error), fails_with(AssertionError())), Turn())
    assert (turn.state, turn.reason, turn.hint) == (state, reason, hint)
    assert turn.fetched == COMMIT  # what earlier steps said stands


async def test_a_turn_with_nothing_left_to_do_is_ready() -> None:
    turn = await run_turn((finds_nothing_new, fails_with(AssertionError())), Turn())
    assert turn.state is State.READY


async def test_being_cancelled_is_not_a_bug_that_is_caught() -> None:
    with pytest.raises(asyncio.CancelledError):
        await run_turn((fails_with(asyncio.CancelledError()),), Turn())


def test_the_back_off_doubles_up_to_a_limit_and_is_spread() -> None:
    assert [backoff(n, 1.0).total_seconds() for n in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert backoff(3, 0.0) == timedelta(seconds=2)
    assert backoff(1000, 1.0) == BACKOFF_MAX


class Loop:
    """A running loop whose one step does what the test says, and counts."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.bell = Bell()
        self.status = Latest(CycleStatus(branch="main", url="/srv/mesh.git"))
        self.outcome: Callable = passes
        self.turns = 0

    async def step(self, turn: Turn) -> Turn:
        self.turns += 1
        return await self.outcome(turn)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        loop = run_cycle(start=(), steps=(self.step,), status=self.status, bell=self.bell, clock=self.clock)
        task = asyncio.create_task(loop)
        await self.clock.advance(timedelta(0))
        try:
            yield
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def after(self, span: timedelta) -> int:
        await self.clock.advance(span)
        return self.turns


NOW = timedelta(0)


async def test_a_loop_that_is_ready_sleeps_until_the_bell() -> None:
    loop = Loop()
    async with loop.running():
        assert await loop.after(timedelta(days=1)) == 1
        loop.bell.regular.set()
        assert await loop.after(NOW) == 2
        assert await loop.after(timedelta(days=1)) == 2
        loop.bell.ring()
        assert await loop.after(NOW) == 3


async def test_a_loop_that_has_something_due_wakes_then() -> None:
    loop = Loop()

    async def is_due_in_five_minutes(turn: Turn) -> Turn:
        return replace(turn, due=300.0)

    loop.outcome = is_due_in_five_minutes
    async with loop.running():
        assert await loop.after(timedelta(minutes=4)) == 1
        assert await loop.after(timedelta(minutes=1)) == 2
        # What is due already waits for the bell: it could not be done.
        assert await loop.after(timedelta(days=1)) == 2
        loop.bell.ring()
        assert await loop.after(NOW) == 3


async def test_a_bell_during_a_turn_is_heard_after_it() -> None:
    loop = Loop()

    async def rings(turn: Turn) -> Turn:
        if loop.turns == 1:
            loop.bell.ring()
        return turn

    loop.outcome = rings
    async with loop.running():
        assert await loop.after(NOW) == 2


async def test_in_back_off_the_schedule_is_not_heard_and_a_person_is() -> None:
    loop = Loop()
    loop.outcome = fails_with(Unavailable("no answer"))
    async with loop.running():
        loop.bell.regular.set()
        assert await loop.after(timedelta(seconds=0.4)) == 1
        loop.bell.ring()
        assert await loop.after(NOW) == 2


async def test_an_outage_of_an_hour_ends_without_a_person() -> None:
    loop = Loop()
    loop.outcome = fails_with(Unavailable("no answer"))
    async with loop.running():
        assert await loop.after(timedelta(hours=1)) < 40
        assert loop.status.value.state is State.RETRYING
        loop.outcome = passes
        await loop.after(BACKOFF_MAX)
        assert loop.status.value.state is State.READY


async def test_after_a_turn_that_went_well_the_back_off_begins_anew() -> None:
    """Else every outage is ended later than the one before it."""
    loop = Loop()
    loop.outcome = fails_with(Unavailable("no answer"))
    async with loop.running():
        await loop.after(timedelta(hours=1))
        loop.outcome = passes
        await loop.after(BACKOFF_MAX)
        loop.outcome = fails_with(Unavailable("no answer"))
        loop.bell.ring()
        turns = await loop.after(NOW)
        assert await loop.after(timedelta(seconds=1)) == turns + 1


async def test_a_bug_is_contained_and_tried_again() -> None:
    loop = Loop()
    loop.outcome = fails_with(ZeroDivisionError())
    async with loop.running():
        assert await loop.after(timedelta(seconds=1)) == 2
        assert loop.status.value.reason == "a bug, see the log; last good stays"


async def test_the_status_says_since_when_it_is_so() -> None:
    loop = Loop()
    loop.outcome = fails_with(Misconfigured("there is no branch"))
    began = loop.clock.now()
    async with loop.running():
        await loop.clock.advance(timedelta(hours=1))
        loop.bell.ring()
        await loop.after(NOW)
        assert loop.turns == 2
        assert (loop.status.value.state, loop.status.value.since) == (State.STALLED, began)
        loop.outcome = passes
        loop.bell.ring()
        await loop.after(NOW)
        assert loop.status.value.since == began + timedelta(hours=1)


async def test_the_last_event_of_the_branch_stays_until_the_next() -> None:
    loop = Loop()
    loop.outcome = fetches
    async with loop.running():
        assert (loop.status.value.event, loop.status.value.seen) == (Event.FIRST, "3f2a91c")

        async def unchanged(turn: Turn) -> Turn:
            return replace(turn, fetched=replace(COMMIT, event=Event.UNCHANGED))

        loop.outcome = unchanged
        loop.bell.ring()
        await loop.after(NOW)
        assert (loop.turns, loop.status.value.event) == (2, Event.FIRST)


def a_hold(seen: str, *problems: Problem) -> UnitStatus:
    return UnitStatus(folder="shop", seen=seen, accepted="3f2a91c0000", held_since=NOON, problems=problems)


def a_problem(code: str, line: int) -> Problem:
    return Problem(code=code, where=Where(file="shop/a.yaml", line=line), message="no subset 'v4'")


async def test_a_unit_that_is_held_is_a_line_of_the_log_until_its_problems_are_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = Loop()
    caplog.set_level("WARNING", "reconciler.cycle")
    warning, error, other = a_problem("IST0109", 1), a_problem("IST0101", 14), a_problem("IST0101", 15)
    holds = iter(
        (a_hold("c0ffee00", warning, error), a_hold("c0ffee11", warning, error), a_hold("c0ffee22", other))
    )

    async def holds_a_unit(turn: Turn) -> Turn:
        accepted = Accepted(revision="r1", commit="t1", units=(next(holds),), reading=None)
        return replace(turn, serving=accepted)

    loop.outcome = holds_a_unit
    async with loop.running():
        for _ in range(2):
            loop.bell.ring()
            await loop.after(NOW)

    lines = [KeysAndValues().format(record).split("Z ", 1)[1] for record in caplog.records]
    told = "WARNING unit held unit=shop revision={} served=3f2a91c at=shop/a.yaml:{} code=IST0101 reason={}"
    assert lines == [
        told.format("c0ffee0", 14, "\"no subset 'v4'\""),
        told.format("c0ffee2", 15, "\"no subset 'v4'\""),
    ]
