"""The steps of a turn: fetch, judge, accept, publish; and recall, with which the first turn begins.

Each is a function of the :class:`Desk` and the turn. What blocks (reading objects, parsing) runs in
the desk's one thread under a deadline: what outlives it is waited for by the next call and never
runs beside it. A damaged repository is replaced here, and the turn comes again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Generic, ParamSpec, Protocol, TypeVar

from mesh.clock import Clock
from mesh.errors import Misconfigured, Unavailable
from mesh.names import ObjectKey
from mesh.problems import Problem
from reconciler import acceptance
from reconciler import git as repository
from reconciler.acceptance import Accepted, Record
from reconciler.cycle import Step, Turn
from reconciler.deletions import Claims, Served, Watch
from reconciler.fetching import Git, Remote
from reconciler.git import Clone, Damaged, File
from reconciler.units import ROOT, Choice, R, Version
from reconciler.vouching import vouched

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Reader(Protocol[R]):
    """Makes configuration of files.

    The files come in the order in which they count: of two that define one object, the first keeps
    it. ``passed_over`` is what could not be read as files at all; it belongs into the problems. The
    Mesh document counts only outside the folders of ``tenancy``.
    """

    def __call__(
        self, files: Sequence[File], *, passed_over: tuple[Problem, ...], tenancy: tuple[str, ...]
    ) -> R: ...

    def keep(self, reading: R, /) -> None:
        """This one is served from now on: others may share with it what is equal."""
        ...

    def forget(self) -> None:
        """Nothing older than the last turn will be asked for again."""
        ...


class Desk(Generic[R]):
    """Where the cycle works: the clone, the remote, the reader. Owned by the task of the cycle.

    ``check`` may refuse a whole reading (:class:`Misconfigured`) for a reason that only a running
    mesh has. It is asked before anything is written, so that a restart is not left with it.
    """

    def __init__(
        self,
        *,
        folder: Path,
        remote: Remote,
        reader: Reader[R],
        publish: Callable[[Accepted[R]], None],
        clock: Clock,
        check: Callable[[R], None] = lambda _reading: None,
        fetch_limit: timedelta = timedelta(seconds=30),
        read_limit: timedelta = timedelta(seconds=120),
    ) -> None:
        self.remote = remote
        self.clock = clock
        self.publish = publish
        self.check = check
        self.git = Git(folder=folder, remote=remote, time_limit=fetch_limit)
        self.keep = reader.keep
        self.forget = reader.forget
        self.claims = Claims()  # removals that are held
        self.released: frozenset[ObjectKey] = frozenset()  # of those, what the operator believes
        self._reader = reader
        self._clone: Clone | None = None
        self._read_limit = read_limit
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reading")

    def release(self) -> int:
        """Believe the removals that are held now; returns of how many objects.

        The next turn takes them, once Git answers: ring its bell. What a later commit removes is not meant.
        """
        self.released = frozenset(self.claims.doubts)
        log.info("removals released", extra={"objects": len(self.released)})
        return len(self.released)

    async def clone(self) -> Clone:
        if self._clone is None:
            self._clone = await self.aside(Clone.open, self.git.folder)
        return self._clone

    async def renew(self) -> None:
        """Put a new repository in the place of a damaged one."""
        self._clone = await repository.renew(self.git.folder, self.remote.branch, self.aside)

    async def aside(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what blocks beside the loop, under a deadline."""
        limit = self._read_limit.total_seconds()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(limit):
                return await loop.run_in_executor(self._thread, partial(work, *args, **kwargs))
        except TimeoutError as error:
            raise Unavailable(f"reading the repository did not finish within {limit:g} s") from error

    def read(self, clone: Clone, choice: Choice, tenancy: tuple[str, ...]) -> R:
        """What the chosen versions of the units say together."""
        listings = [clone.files(version.tree, unit) for unit, version in choice.items() if version.tree]
        return self._reader(
            [file for listing in listings for file in listing.files],
            passed_over=tuple(problem for listing in listings for problem in listing.problems),
            tenancy=tenancy,
        )


async def recall(desk: Desk[R], turn: Turn[R]) -> Turn[R]:
    """What was accepted before the restart. No network is asked."""
    clone = await desk.clone()

    def read() -> Accepted[R] | None:
        record = acceptance.recall(clone, desk.remote.branch)
        choice = acceptance.served(clone, record, record.tenancy)
        if record.commit is None or not choice:
            return None
        reading = desk.read(clone, choice, record.tenancy)
        return Accepted(revision=record.revision, commit=record.commit, units=record.units, reading=reading)

    return replace(turn, accepted=await desk.aside(read))


async def fetch(desk: Desk[R], turn: Turn[R]) -> Turn[R]:
    """The newest commit of the branch. The turn is over when that went all the way already.

    Unless some of it is held and may not be any more.
    """
    fetched = await repository.fetch(await desk.clone(), desk.git, desk.aside)
    is_due = bool(desk.released) or (turn.due is not None and turn.due <= desk.clock.monotonic())
    is_over = turn.serving is not None and fetched.commit == turn.judged and not is_due
    return replace(turn, fetched=fetched, fetched_at=desk.clock.now(), is_over=is_over)


async def judge(desk: Desk[R], turn: Turn[R]) -> Turn[R]:
    """What becomes of each unit of the commit. Reads as often as the rule of units asks for."""
    if turn.fetched is None:
        raise TypeError("nothing was fetched: judge comes after fetch")
    clone, commit = await desk.clone(), turn.fetched.commit
    now, moment = desk.clock.now(), desk.clock.monotonic()
    claims, released = desk.claims, desk.released

    def work() -> acceptance.Verdict[R]:
        before = acceptance.recall(clone, desk.remote.branch)
        watch = Watch(
            _served(desk, clone, before, turn.serving),
            claims,
            released=released,
            vouched=partial(_vouched, desk, clone, commit, before),
            now=now,
            moment=moment,
        )
        verdict = acceptance.judge(clone, commit, before, partial(desk.read, clone), now, watch)
        clone.forget_unused()
        desk.forget()
        return verdict

    verdict = await desk.aside(work)
    desk.claims = verdict.claims
    desk.released -= released  # what was released meanwhile is for the next turn
    return replace(turn, verdict=verdict, due=verdict.claims.due_after(moment))


def _served(desk: Desk[R], clone: Clone, before: Record, serving: Accepted[R] | None) -> Served:
    """What is in the accepted tree, read again only if it is not what was handed on last."""
    if before.commit is None:
        return Served()
    if serving is not None and serving.commit == before.commit:
        reading = serving.reading
    else:
        reading = desk.read(clone, acceptance.served(clone, before, before.tenancy), before.tenancy)
    return Served.of(reading.contents, before.tenancy, reading.guards)


def _vouched(
    desk: Desk[R], clone: Clone, revision: str, before: Record, gone: Mapping[str, Collection[ObjectKey]]
) -> frozenset[ObjectKey]:
    def contents(commit: str) -> Collection[ObjectKey]:
        whole = Version(clone.tree(commit), commit)
        return desk.read(clone, {ROOT: whole}, before.tenancy).contents.keys()

    accepted = {unit.folder: unit.accepted for unit in before.units if unit.accepted}
    return vouched(clone, revision, accepted, gone, contents)


async def accept(desk: Desk[R], turn: Turn[R]) -> Turn[R]:
    """Write the accepted tree. A commit of which nothing can be served does not even begin one.

    An empty mesh is not the same as nothing: serving it would take from proxies what they have.
    """
    if turn.verdict is None:
        raise TypeError("nothing was judged: accept comes after judge")
    verdict = turn.verdict
    if verdict.serves_nothing:
        raise Misconfigured(
            f"no unit of commit {verdict.revision[:7]} can be accepted, and there is no earlier version",
            hint="run `meshwright check` on it",
        )
    desk.check(verdict.ruling.reading)
    clone = await desk.clone()
    made = await desk.aside(acceptance.accept, clone, desk.remote.branch, verdict, desk.clock.now())
    return replace(turn, accepted=made)


async def publish(desk: Desk[R], turn: Turn[R]) -> Turn[R]:
    """Hand it on. Only then has the commit gone all the way."""
    if turn.accepted is None:
        return turn
    desk.keep(turn.accepted.reading)
    desk.publish(turn.accepted)
    judged = turn.verdict.revision if turn.verdict else turn.judged
    return replace(turn, serving=turn.accepted, judged=judged)


def start(desk: Desk[R]) -> tuple[Step[R], ...]:
    """What comes before the first turn that serves something."""
    return tuple(_repairing(desk, partial(step, desk)) for step in (recall, publish))


def steps(desk: Desk[R]) -> tuple[Step[R], ...]:
    """Every other turn."""
    return tuple(_repairing(desk, partial(step, desk)) for step in (fetch, judge, accept, publish))


def _repairing(desk: Desk[R], step: Step[R]) -> Step[R]:
    async def guarded(turn: Turn[R]) -> Turn[R]:
        try:
            return await step(turn)
        except Damaged:
            await desk.renew()
            raise

    return guarded
