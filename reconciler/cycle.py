"""One turn of the loop: a list of steps, run until one stops it.

Each step takes the turn and returns a fuller one; the first that cannot go
on decides the state. What failed is tried again: after a back-off when something outside did not
answer or the fault is ours, at the next bell when a person has to act first.

Nothing is taken back because a turn failed: what is served stays served until a later turn
publishes something newer. The first turn of all asks no network: it serves what was accepted
before the restart.

One task owns the loop. Others read its :class:`CycleStatus` through a ``Latest`` and ring its bell.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, NoReturn

from mesh.clock import Clock
from mesh.errors import Misconfigured, Unavailable
from mesh.latest import Latest
from mesh.problems import Severity
from reconciler.acceptance import Accepted, UnitStatus, Verdict
from reconciler.git import Event, Fetched
from reconciler.units import R

log = logging.getLogger(__name__)

BACKOFF_MIN = timedelta(seconds=1)
BACKOFF_MAX = timedelta(minutes=5)


class State(StrEnum):
    """How the last turn ended."""

    STARTING = "starting"
    READY = "ready"
    RETRYING = "retrying"  # something outside did not answer
    STALLED = "stalled"  # a person has to change something
    BROKEN = "broken"  # a bug of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn(Generic[R]):
    """What one turn has found out so far."""

    state: State = State.STARTING
    reason: str = ""
    hint: str = ""
    is_over: bool = False  # a step found that nothing is left to do
    fetched: Fetched | None = None
    fetched_at: datetime | None = None
    verdict: Verdict[R] | None = None
    accepted: Accepted[R] | None = None  # the accepted tree, as the repository has it
    serving: Accepted[R] | None = None  # what was handed on, by this turn or an earlier one
    judged: str = ""  # the last commit that went all the way in this process
    due: float | None = None  # when it is to be judged again, as the monotonic clock counts

    def following(self) -> Turn[R]:
        """The start of the next turn. It remembers what is served, and what was last fetched."""
        return Turn(
            fetched=self.fetched,
            fetched_at=self.fetched_at,
            serving=self.serving,
            judged=self.judged,
            due=self.due,
        )


Step = Callable[[Turn[R]], Awaitable[Turn[R]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleStatus:
    """What the loop tells others."""

    branch: str
    url: str  # without credentials
    state: State = State.STARTING
    reason: str = ""
    hint: str = ""
    since: datetime | None = None  # of this state and reason
    fetched_at: datetime | None = None  # when the remote last answered
    event: Event | None = None  # what the branch last did
    seen: str = ""
    revision: str = ""  # the commit of the branch behind what is served
    served: str = ""  # the commit of the accepted tree
    units: tuple[UnitStatus, ...] = ()


class Bell:
    """Wakes the loop. Owned by it; anybody may ring.

    Two sounds: the regular ring of the schedule, which a loop in back-off does not hear, and the
    urgent one of somebody who knows that there is something new, which it does.
    """

    def __init__(self) -> None:
        self.regular = asyncio.Event()
        self.urgent = asyncio.Event()

    def ring(self) -> None:
        """Look now."""
        self.urgent.set()

    async def heard(self, due: float | None, clock: Clock) -> None:
        """Return at a ring, or at ``due`` if that is still to come."""
        waits: list[Awaitable[object]] = [self.regular.wait(), self.urgent.wait()]
        if due is not None and due > clock.monotonic():
            waits.append(clock.sleep(timedelta(seconds=due - clock.monotonic())))
        await _first(*waits)
        self.silence()

    async def heard_or_over(self, span: timedelta, clock: Clock) -> None:
        """Return at an urgent ring, or after ``span``."""
        await _first(clock.sleep(span), self.urgent.wait())
        self.silence()

    def silence(self) -> None:
        # Before the turn, not after it: what rings during a turn is heard once it is over.
        self.regular.clear()
        self.urgent.clear()


async def _first(*waits: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def run_turn(steps: tuple[Step[R], ...], start: Turn[R]) -> Turn[R]:
    """Run the steps in order. The first that cannot go on decides the state."""
    turn = start
    for step in steps:
        try:
            turn = await step(turn)
        except Unavailable as error:
            return replace(turn, state=State.RETRYING, reason=str(error), hint=error.hint)
        except Misconfigured as error:
            return replace(turn, state=State.STALLED, reason=str(error), hint=error.hint)
        except Exception:
            # One of the two places that catch everything (DESIGN 6): a bug in reading one commit
            # must not take down the control plane that serves another.
            log.exception("turn broke", extra={"revision": turn.fetched.commit[:7] if turn.fetched else ""})
            return replace(turn, state=State.BROKEN, reason="a bug, see the log; last good stays", hint="")
        if turn.is_over:
            break
    return replace(turn, state=State.READY, reason="", hint="")


async def run_cycle(
    *,
    start: tuple[Step[R], ...],
    steps: tuple[Step[R], ...],
    status: Latest[CycleStatus],
    bell: Bell,
    clock: Clock,
) -> NoReturn:
    """``steps`` for ever, and before them ``start`` as long as nothing is served."""
    turn: Turn[R] = Turn()
    failures = 0
    while True:
        if turn.serving is None:
            turn = await run_turn(start, turn.following())
            if turn.serving or turn.state is not State.READY:
                _tell(status, turn, clock)
        turn = await run_turn(steps, turn.following())
        _tell(status, turn, clock)
        if turn.state in (State.RETRYING, State.BROKEN):
            failures += 1
            await bell.heard_or_over(backoff(failures, random.random()), clock)  # noqa: S311 (spreads load)
        else:
            failures = 0
            await bell.heard(turn.due, clock)


def backoff(failures: int, chance: float) -> timedelta:
    """Doubles up to a maximum; then some of it, so that many do not come back at once."""
    most = min(BACKOFF_MAX, BACKOFF_MIN * (1 << min(failures - 1, 16)))
    return most * (0.5 + chance / 2)


def told(before: CycleStatus, turn: Turn[R], now: datetime) -> CycleStatus:
    """The status after a turn."""
    is_same = (before.state, before.reason) == (turn.state, turn.reason)
    serving, verdict, fetched = turn.serving, turn.verdict, turn.fetched
    units = serving.units if serving else verdict.units if verdict else before.units
    event = fetched.event if fetched and fetched.event is not Event.UNCHANGED else before.event
    return replace(
        before,
        state=turn.state,
        reason=turn.reason,
        hint=turn.hint,
        since=before.since if is_same else now,
        fetched_at=turn.fetched_at,
        event=event,
        seen=fetched.commit if fetched else before.seen,
        revision=serving.revision if serving else "",
        served=serving.commit if serving else "",
        units=units,
    )


def _tell(status: Latest[CycleStatus], turn: Turn[R], clock: Clock) -> None:
    before = status.value
    after = told(before, turn, clock.now())
    status.publish(after)
    for unit in after.units:
        if unit.is_held and not any(_is_same_hold(unit, earlier) for earlier in before.units):
            log.warning("unit held", extra=_hold(unit))
    # A turn that found nothing new is no news: at rest the log is quiet.
    if (before.state, before.reason, before.served) == (after.state, after.reason, after.served):
        return
    level = logging.INFO if after.state is State.READY else logging.WARNING
    held = sum(unit.is_held for unit in after.units)
    log.log(
        level,
        "turn finished",
        extra={"state": after.state, "reason": after.reason, "revision": after.revision[:7], "held": held},
    )


def _is_same_hold(unit: UnitStatus, earlier: UnitStatus) -> bool:
    """Every commit is seen by every unit: only other problems are news."""
    return (unit.folder, unit.held_since, unit.problems) == (
        earlier.folder,
        earlier.held_since,
        earlier.problems,
    )


def _hold(unit: UnitStatus) -> dict[str, object]:
    """The first error of a held unit, as values of a log line."""
    said = {"unit": unit.name, "revision": unit.seen[:7], "served": (unit.accepted or "nothing")[:7]}
    for problem in unit.problems:
        if problem.severity is Severity.ERROR:
            return {**said, "at": str(problem.where), "code": problem.code, "reason": problem.message}
    return {**said}
