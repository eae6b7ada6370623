"""Units of acceptance: what belongs to which, and which version of each is taken.

A folder named in ``Mesh.spec.tenancy`` is a unit; the longest such folder owns a file. Everything
else is the unit ``mesh``. A commit is taken unit by unit, each as a whole (DESIGN 3.1).

**The rule.** A unit is held exactly when its own objects have an error in the world of its new
version and the versions that the other units are served at. So

- new versions that need each other go live together: judging starts with all of them;
- an error is the unit's in whose file it is. When a new version of A takes away what B refers to,
  A goes live and B's dangling reference is reported at B, which stays as it is. The other way
  round, whoever points at somebody's object could forbid its owner to change it;
- two units that define one object: it stays with the unit that is served with it.

A guard may hold units besides: it is asked about each reading, for the units that have no error in it.
Whom it holds when everything new is read together gets no second chance: that does not depend on company.

Only values here: nothing is read and nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from mesh.kinds.guards import Guards
from mesh.names import ObjectKey
from mesh.problems import Problem, has_errors

ROOT = ""
RESERVED = ".meshwright"  # ours, in the accepted tree


class Reading(Protocol):
    """What came out of the files of a choice, as far as judging needs to know."""

    @property
    def tenancy(self) -> tuple[str, ...]:
        """The folders that the Mesh document names."""
        ...

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong, with the file it is in."""
        ...

    @property
    def contents(self) -> Mapping[ObjectKey, str]:
        """Every object and the file it is in."""
        ...

    @property
    def guards(self) -> Guards:
        """What the Mesh document says of removals."""
        ...


R = TypeVar("R", bound=Reading)


@dataclass(frozen=True, slots=True)
class Version:
    """One state of one unit: its tree (``None``: no files) and the commit it is of."""

    tree: str | None
    commit: str


# Unit -> the version of it that is read. In the order of reading: served versions first.
Choice = Mapping[str, Version]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling(Generic[R]):
    """What is served from now on, and what is held and why."""

    taken: Choice
    held: Mapping[str, tuple[Problem, ...]]
    reading: R


def shown(unit: str) -> str:
    """The name of a unit as users see it."""
    return unit or "mesh"


def folders(tenancy: Iterable[str]) -> tuple[str, ...]:
    """The folders of ``tenancy``, each once and spelt as in a git tree.

    What leads outside is none, nor is our own.
    """
    parts = (tuple(p for p in path.split("/") if p not in ("", ".")) for path in tenancy)
    return tuple(sorted({"/".join(p) for p in parts if p and ".." not in p and p[0] != RESERVED}))


def owner(path: str, tenancy: Container[str]) -> str:
    """The unit that a file or folder belongs to."""
    while path and path not in tenancy:
        path = path.rpartition("/")[0]
    return path


def by_unit(problems: Iterable[Problem], tenancy: Iterable[str]) -> dict[str, tuple[Problem, ...]]:
    """Each unit's problems: those in its files."""
    units = frozenset(tenancy)
    found: dict[str, list[Problem]] = {}
    for problem in problems:
        found.setdefault(owner(problem.where.file, units), []).append(problem)
    return {unit: tuple(its) for unit, its in found.items()}


def settle(
    candidates: Choice,
    served: Choice,
    read: Callable[[Choice], R],
    guard: Callable[[R, Collection[str]], Mapping[str, tuple[Problem, ...]]] = lambda _reading, _units: {},
) -> Ruling[R]:
    """Apply the rule above. ``candidates`` has every unit; ``served`` those that have a version.

    First everything new is read together and what has errors is put back, until nothing new has
    any. Then each that was put back gets a second chance beside what remained: it may have failed
    only by the company it was in.
    """
    new = {u for u, v in candidates.items() if u not in served or served[u].tree != v.tree}
    held: dict[str, tuple[Problem, ...]] = {}

    def choice(taking: set[str]) -> Choice:
        # Whoever is read first keeps an object that is defined twice.
        stays = {u: served[u] for u in sorted(served) if u in candidates and u not in taking}
        return stays | {u: candidates[u] for u in sorted(taking)}

    def errors(reading: R, among: set[str]) -> dict[str, tuple[Problem, ...]]:
        found = by_unit(reading.problems, candidates)
        return {u: ps for u, ps in found.items() if u in among and has_errors(ps)}

    def wrong_with(reading: R, among: set[str]) -> dict[str, tuple[Problem, ...]]:
        own = errors(reading, among)
        return {**own, **guard(reading, among - own.keys())}

    taking = set(new)
    reading = read(choice(taking))
    barred = guard(reading, taking - errors(reading, taking).keys()).keys()
    while wrong := wrong_with(reading, taking):
        held |= wrong
        taking -= wrong.keys()
        reading = read(choice(taking))

    chances = sorted(held.keys() - barred) if len(held) > 1 else []
    while chances:
        again = []
        for unit in chances:
            trial = read(choice(taking | {unit}))
            if wrong := wrong_with(trial, taking | {unit}):
                if unit in wrong:
                    # What is wrong in either company is its own mistake; the rest would bury it.
                    own = tuple(problem for problem in wrong[unit] if problem in held[unit])
                    held[unit] = own or wrong[unit]
                continue
            taking, reading = taking | {unit}, trial
            del held[unit]
            again = sorted(held.keys() - barred)
        chances = again

    # What is not held is what the commit has, whether it brought it or left it as it was.
    taken = {u: v if u in held else candidates[u] for u, v in choice(taking).items()}
    return Ruling(taken=taken, held=held, reading=reading)
