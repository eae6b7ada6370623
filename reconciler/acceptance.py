"""Which version of each unit is served: the accepted tree.

What is served is itself a commit, on ``refs/meshwright/accepted/<branch>`` of the local
repository: for each unit the newest subtree that was accepted, and ``.meshwright/holds.json``,
which says per unit what was seen, what is served, since when it is held and why. So the last good
state needs no database, a restart without the remote serves it, and its past is a log of commits.

A turn that changes nothing writes nothing; a unit that did not change keeps its subtree. The ref
moves by compare-and-swap as the last write: whoever dies before leaves objects that no ref names.

A commit that changes the tenancy is judged by the tenancy that was accepted before it. When it is
taken, the new tenancy is in force and the new units are told apart at once.

A unit of which a commit removes too much is held too (:mod:`reconciler.deletions`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic

from mesh.errors import Unavailable
from mesh.names import ObjectKey
from mesh.problems import CATALOGUE, Problem, Where
from reconciler.deletions import Claims, Watch
from reconciler.git import ACCEPTED, Clone
from reconciler.units import (
    RESERVED,
    ROOT,
    Choice,
    R,
    Ruling,
    Version,
    by_unit,
    folders,
    owner,
    settle,
    shown,
)

Read = Callable[[Choice, tuple[str, ...]], R]
"""Makes a reading of the chosen versions of the units of a tenancy."""

HOLDS = f"{RESERVED}/holds.json"
PROBLEMS_MAX = 20  # of one held unit: enough to begin with, and the record stays small


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitStatus:
    """How one unit stands. ``accepted`` is ``None`` as long as no version of it was."""

    folder: str
    seen: str
    accepted: str | None
    held_since: datetime | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def name(self) -> str:
        return shown(self.folder)

    @property
    def is_held(self) -> bool:
        return self.held_since is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The accepted tree as it stands in the repository. Without a commit: nothing was accepted yet."""

    commit: str | None = None
    revision: str = ""  # the newest commit of the branch of which something was accepted
    tree: str | None = None
    units: tuple[UnitStatus, ...] = ()

    @property
    def tenancy(self) -> tuple[str, ...]:
        return tuple(unit.folder for unit in self.units if unit.folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(Generic[R]):
    """What is served: the reading of the accepted tree, and where it comes from."""

    revision: str
    commit: str
    units: tuple[UnitStatus, ...]
    reading: R = field(compare=False, repr=False)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with what is served. What is wrong with held versions is in ``units``."""
        return self.reading.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(Generic[R]):
    """What is to become of a commit. Nothing is written yet."""

    revision: str
    before: Record
    tenancy: tuple[str, ...]
    ruling: Ruling[R]
    units: tuple[UnitStatus, ...]
    claims: Claims = field(default_factory=Claims)  # removals that are not believed yet

    @property
    def serves_nothing(self) -> bool:
        return not self.ruling.taken

    @property
    def served(self) -> str:
        """The commit behind what is served: an earlier one when nothing of this was accepted."""
        is_refused_whole = all(unit.is_held for unit in self.units)
        return self.before.revision if is_refused_whole else self.revision


def recall(clone: Clone, branch: str) -> Record:
    """The accepted tree of a branch."""
    commit = clone.ref(ACCEPTED + branch)
    if commit is None:
        return Record()
    tree = clone.tree(commit)
    said = json.loads(clone.data(tree, HOLDS) or b"{}")
    units = tuple(_unit_from_json(unit) for unit in said.get("units", ()))
    return Record(commit=commit, revision=said.get("revision", ""), tree=tree, units=units)


def served(clone: Clone, record: Record, tenancy: Iterable[str]) -> Choice:
    """The versions that a record serves, told apart by ``tenancy``."""
    commits = {unit.folder: unit.accepted for unit in record.units}
    trees = split(clone, record.tree, tenancy)
    # A folder that was no unit then was served as part of the unit around it.
    origin = {unit: commits.get(owner(unit, record.tenancy)) for unit in trees}
    return {unit: Version(tree, commit) for unit, tree in trees.items() if (commit := origin[unit])}


def judge(
    clone: Clone, revision: str, before: Record, read: Read[R], now: datetime, watch: Watch
) -> Verdict[R]:
    """Decide what becomes of each unit of a commit. ``watch`` knows what is served now."""
    tree = clone.tree(revision)
    if any(unit.folder == ROOT and unit.accepted for unit in before.units):
        tenancy = before.tenancy
    else:
        everything = Version(split(clone, tree, ())[ROOT], revision)
        tenancy = folders(read({ROOT: everything}, ()).tenancy)

    def ruling_by(tenancy: tuple[str, ...], base: Choice) -> Ruling[R]:
        candidates = {u: Version(t, revision) for u, t in split(clone, tree, tenancy).items()}
        return settle(
            candidates,
            base,
            lambda choice: read(choice, tenancy),
            lambda reading, units: watch(reading.contents, units, tenancy),
        )

    ruling = ruling_by(tenancy, served(clone, before, tenancy))
    units = _standing(ruling, tenancy, revision, before, now)
    told = folders(ruling.reading.tenancy)
    if ROOT in ruling.taken and ROOT not in ruling.held and told != tenancy:
        between = Record(tree=compose(clone, ruling.taken), units=units)
        tenancy, ruling = told, ruling_by(told, served(clone, between, told))
        units = _standing(ruling, tenancy, revision, before, now)
    return Verdict(
        revision=revision,
        before=before,
        tenancy=tenancy,
        ruling=ruling,
        units=units,
        claims=watch.claims(ruling.held, tenancy),
    )


def accept(clone: Clone, branch: str, verdict: Verdict[R], now: datetime) -> Accepted[R]:
    """Write the accepted tree and move the ref to it."""
    before = verdict.before
    said = {"revision": verdict.served, "units": [_unit_as_json(unit) for unit in verdict.units]}
    holds = json.dumps(said, indent=1, sort_keys=True).encode() + b"\n"
    record = clone.with_file(None, HOLDS.rpartition("/")[2], holds)
    tree = clone.with_subtrees(compose(clone, verdict.ruling.taken), {RESERVED: record})
    commit = before.commit
    if tree is not None and (commit is None or tree != before.tree):
        held = "".join(f"Held: {unit.name}\n" for unit in verdict.units if unit.is_held)
        subject = clone.subject(verdict.revision)
        verb = "accept" if verdict.served == verdict.revision else "hold"
        message = f"{verb} {verdict.revision[:7]}: {subject}\n\nSource: {verdict.revision}\n{held}"
        commit = clone.commit(tree, parent=before.commit, message=message, when=now)
        if not clone.move_ref(ACCEPTED + branch, to=commit, expected=before.commit):
            raise Unavailable(
                f"another process accepted a version of {branch!r} meanwhile",
                hint="is a second meshwright using this state folder?",
            )
    reading = verdict.ruling.reading
    return Accepted(revision=verdict.served, commit=commit or "", units=verdict.units, reading=reading)


def split(clone: Clone, tree: str | None, tenancy: Iterable[str]) -> dict[str, str | None]:
    """The tree of each unit alone, without the units inside it and without what is ours."""
    if tree is None:
        return dict.fromkeys((ROOT, *tenancy))
    inside: dict[str, list[str]] = {unit: [] for unit in (ROOT, *tenancy)}
    for unit in tenancy:
        outer = owner(unit.rpartition("/")[0], inside)
        inside[outer].append(unit.removeprefix(f"{outer}/"))
    inside[ROOT].append(RESERVED)
    around = {unit: clone.subtree(tree, unit) if unit else tree for unit in inside}
    return {
        unit: clone.with_subtrees(whole, dict.fromkeys(inside[unit])) if whole else None
        for unit, whole in around.items()
    }


def compose(clone: Clone, choice: Choice) -> str | None:
    """The tree in which every unit stands at its folder. A tenant's folder goes before a file there."""
    root = choice[ROOT].tree if ROOT in choice else None
    folders = {unit: version.tree for unit, version in choice.items() if unit and version.tree}
    return clone.with_subtrees(root, folders)


def _standing(
    ruling: Ruling[R], tenancy: tuple[str, ...], revision: str, before: Record, now: datetime
) -> tuple[UnitStatus, ...]:
    """How each unit stands. What is still held at the same version is held since it was first held."""
    problems = by_unit(ruling.reading.problems, tenancy) | dict(ruling.held)
    earlier = {unit.folder: unit for unit in before.units if unit.is_held}
    units = []
    for folder in sorted({ROOT, *tenancy}):
        version = ruling.taken.get(folder)
        accepted = version.commit if version else None
        if folder in ruling.held:
            was = earlier.get(folder)
            since = was.held_since if was and was.accepted == accepted else now.replace(microsecond=0)
        else:
            since = None
        units.append(
            UnitStatus(
                folder=folder,
                seen=revision,
                accepted=accepted,
                held_since=since,
                problems=problems.get(folder, ())[:PROBLEMS_MAX],
            )
        )
    return tuple(units)


def _unit_as_json(unit: UnitStatus) -> dict[str, Any]:
    return {
        "folder": unit.folder,
        "seen": unit.seen,
        "accepted": unit.accepted,
        "heldSince": unit.held_since.isoformat() if unit.held_since else None,
        "problems": [_problem_as_json(problem) for problem in unit.problems],
    }


def _unit_from_json(said: Mapping[str, Any]) -> UnitStatus:
    since = said["heldSince"]
    problems = [_problem_from_json(problem) for problem in said["problems"] if problem["code"] in CATALOGUE]
    return UnitStatus(
        folder=said["folder"],
        seen=said["seen"],
        accepted=said["accepted"],
        held_since=datetime.fromisoformat(since).astimezone(UTC) if since else None,
        problems=tuple(problems),
    )


def _problem_as_json(problem: Problem) -> dict[str, Any]:
    return {
        "code": problem.code,
        "file": problem.where.file,
        "line": problem.where.line,
        "path": problem.path,
        "object": str(problem.object) if problem.object else None,
        "message": problem.message,
        "hint": problem.hint,
    }


def _problem_from_json(said: Mapping[str, Any]) -> Problem:
    return Problem(
        code=said["code"],
        where=Where(file=said["file"], line=said["line"]),
        path=said["path"],
        object=ObjectKey.parse(said["object"]) if said["object"] else None,
        message=said["message"],
        hint=said["hint"],
    )
