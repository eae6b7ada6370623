"""The guard over configuration: when a commit that takes much away is believed.

**The rule** (DESIGN D10). A commit is compared with what is served. Of a unit is *gone* what was in it and
is nowhere in the commit: an object that moved to another file or another unit is there. The unit is held
when, of more than ``guards.above`` objects that it had, more than ``guards.share`` is gone; and when a kind
of which it had more than ``above`` has gone altogether (a fifth of the objects may be every
AuthorizationPolicy). The repository as a whole is watched likewise, because ten small teams that vanish are
many objects too: when too much of it is gone, each unit is held that lost more than the share of its own,
however small it is. A repository without any object left is too much, however small it was.

A removal is believed, object by object,

- when HEAD has claimed it for ``guards.dwell``. Later commits that still lack the object keep its clock
  running, one that has it again stops it, and so does an error of the unit: broken files hide objects. The
  clock lives in memory: a restart begins it anew, which holds longer and loses nothing, because what is
  served is the accepted tree;
- at once by the operator's word, which counts for what is held at that moment;
- at once by the word of a commit (:mod:`reconciler.vouching`).

What is believed no longer counts, neither as gone nor as having been there: after 45 of 60, another 5 are
5 of 15.

The guards in force are those of the Mesh document that is served, and as long as something is held the
guards that held it: a commit cannot switch off the guard that watches it. Nothing is gone from a mesh that
serves nothing yet. Removals by small steps, each taken, are nobody's mistake to guess and pass.

Only values here: nothing is read, and time is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from mesh.kinds.guards import Guards
from mesh.names import ObjectKey
from mesh.problems import Problem, Where
from reconciler.units import owner, shown

CODE = "MW0019"
ALLOWANCE = "Meshwright-Allow-Removal: yes"
_HINT = (
    f"put them back, or say {ALLOWANCE!r} in the commit that removes them, "
    "or run `meshwright registries release git`"
)
_MILLION = 1_000_000

Vouched = Callable[[Mapping[str, Collection[ObjectKey]]], frozenset[ObjectKey]]
"""What commits themselves allow to be gone of what is gone, unit by unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What is served: the objects of each unit, and the guards that watch them."""

    units: Mapping[str, frozenset[ObjectKey]] = field(default_factory=dict)
    guards: Guards = field(default_factory=Guards)

    @classmethod
    def of(cls, contents: Mapping[ObjectKey, str], tenancy: Container[str], guards: Guards) -> Self:
        """:param contents: each object and the file it is in."""
        units: dict[str, set[ObjectKey]] = {}
        for key, file in contents.items():
            units.setdefault(owner(file, tenancy), set()).add(key)
        return cls(units={unit: frozenset(keys) for unit, keys in units.items()}, guards=guards)


@dataclass(frozen=True, slots=True)
class Doubt:
    """Until when a removal is not believed: by the clock that never jumps, and as people are told."""

    due: float
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What HEAD has been claiming to be gone of units that are held for it, and the guards that held it."""

    doubts: Mapping[ObjectKey, Doubt] = field(default_factory=dict)
    guards: Guards | None = None

    def due_after(self, moment: float) -> float | None:
        """When time alone changes something next."""
        return min((doubt.due for doubt in self.doubts.values() if doubt.due > moment), default=None)


class Watch:
    """The guard while one commit is judged. It belongs to that judging.

    The first contents it is shown are HEAD's own: nothing is put back in them, and what is missing there is
    what HEAD claims. What is missing in later ones only was moved to a unit that is held; no time makes
    that a removal.
    """

    def __init__(
        self,
        served: Served,
        claims: Claims,
        *,
        released: Container[ObjectKey] = (),
        vouched: Vouched = lambda _gone: frozenset(),
        now: datetime,
        moment: float,
    ) -> None:
        """:param vouched: asked only when it matters."""
        self._served = served
        self._guards = claims.guards or served.guards
        self._claims = claims
        self._released = released
        self._vouched = vouched
        self._now, self._moment = now, moment
        self._doubts: dict[ObjectKey, Doubt] | None = None
        self._believed: frozenset[ObjectKey] = frozenset()

    def __call__(
        self, contents: Collection[ObjectKey], units: Container[str], tenancy: Container[str]
    ) -> dict[str, tuple[Problem, ...]]:
        """Which of ``units`` are held, and why. ``tenancy`` tells them apart; it may be a new one."""
        # What others lack is no claim: a file of theirs that cannot be read hides its objects.
        served = self._served.units.items()
        others = [keys for unit, keys in served if owner(unit, tenancy) not in units]
        present = frozenset(contents).union(*others)
        if self._doubts is None:
            self._begin(contents, present)
        doubted = removals(self._served, present, self._believed, self._guards)
        ends = self._ends(doubted.keys(), present)
        found: dict[str, tuple[Problem, ...]] = {}
        for unit, claim in doubted.items():
            # A commit that ends a tenancy does not dilute what was in it.
            now_of = owner(unit, tenancy)
            found[now_of] = (*found.get(now_of, ()), _problem(unit, claim, ends.get(unit)))
        return found

    def claims(self, held: Mapping[str, Collection[Problem]], tenancy: Container[str]) -> Claims:
        """What is to be handed to the next judging: the clocks of what the guard holds."""
        guarded = {unit for unit, problems in held.items() if any(one.code == CODE for one in problems)}
        units = [keys for unit, keys in self._served.units.items() if owner(unit, tenancy) in guarded]
        watched = frozenset[ObjectKey]().union(*units)
        kept = {key: doubt for key, doubt in (self._doubts or {}).items() if key in watched}
        return Claims(doubts=kept, guards=self._guards) if kept else Claims()

    def _begin(self, head: Collection[ObjectKey], present: Collection[ObjectKey]) -> None:
        dwell = self._guards.dwell
        fresh = Doubt(self._moment + dwell.total_seconds(), self._now.replace(microsecond=0) + dwell)
        over = Doubt(self._moment, self._now)
        before = self._claims.doubts
        gone = {unit: {key for key in keys if key not in head} for unit, keys in self._served.units.items()}
        doubts = {
            key: over if key in self._released else before.get(key, fresh)
            for keys in gone.values()
            for key in keys
        }
        self._doubts = doubts
        self._believed = frozenset(key for key, doubt in doubts.items() if doubt.due <= self._moment)
        if removals(self._served, present, self._believed, self._guards):
            self._believed |= self._vouched(gone)

    def _ends(self, units: Collection[str], present: Collection[ObjectKey]) -> dict[str, datetime]:
        """When enough of each unit's removal will be believed, where time can tell."""
        doubts = self._doubts or {}
        ends: dict[str, datetime] = {}
        for doubt in sorted(set(doubts.values()), key=lambda doubt: doubt.due) if units else ():
            by_then = self._believed | {key for key, one in doubts.items() if one.due <= doubt.due}
            left = removals(self._served, present, by_then, self._guards)
            ends |= {unit: doubt.until for unit in units if unit not in left and unit not in ends}
        return ends


def _problem(unit: str, claim: str, until: datetime | None) -> Problem:
    where = Where(file=unit or "mesh.yaml")
    if until is None:
        message = f"the commit moves {claim} to units that are held: held with those"
        return Problem(code=CODE, where=where, message=message, hint="mend the units that they go to")
    message = f"the commit removes {claim}: held until {until:%Y-%m-%d %H:%M:%S}Z or released"
    return Problem(code=CODE, where=where, message=message, hint=_HINT)


def removals(
    served: Served, present: Collection[ObjectKey], believed: Container[ObjectKey], guards: Guards
) -> dict[str, str]:
    """The units of which too much is gone, and what that is in words."""
    if guards.disabled:
        return {}
    missing = {unit: {key for key in keys if key not in present} for unit, keys in served.units.items()}
    if not any(missing.values()):
        return {}
    gone = {unit: {key for key in keys if key not in believed} for unit, keys in missing.items()}
    had = {unit: (keys - missing[unit]) | gone[unit] for unit, keys in served.units.items()}
    found = {unit: claim for unit in had if (claim := _claim(unit, had[unit], gone[unit], guards))}
    all_had, all_gone = (sum(len(keys) for keys in each.values()) for each in (had, gone))
    is_empty = all_gone > 0 and not present
    if is_empty or _is_too_much(all_gone, all_had, guards):
        for unit in sorted(had.keys() - found.keys()):
            if is_empty or _is_more_than_share(len(gone[unit]), len(had[unit]), guards):
                others = (
                    f" and {_part(all_gone, all_had)} of the repository" if all_had > len(had[unit]) else ""
                )
                found[unit] = f"{_objects(len(gone[unit]), len(had[unit]))} of unit {shown(unit)!r}{others}"
    return found


def _claim(unit: str, had: frozenset[ObjectKey], gone: set[ObjectKey], guards: Guards) -> str:
    if _is_too_much(len(gone), len(had), guards):
        return f"{_objects(len(gone), len(had))} of unit {shown(unit)!r}"
    kinds = {key.kind for key in gone} - {key.kind for key in had - gone}
    counts = {kind: sum(key.kind == kind for key in gone) for kind in sorted(kinds)}
    emptied = [f"all {count} of kind {kind}" for kind, count in counts.items() if count > guards.above]
    return f"{' and '.join(emptied)} of unit {shown(unit)!r}" if emptied else ""


def _is_too_much(gone: int, had: int, guards: Guards) -> bool:
    return had > guards.above and _is_more_than_share(gone, had, guards)


def _is_more_than_share(gone: int, had: int, guards: Guards) -> bool:
    return gone * _MILLION > guards.share * had


def _objects(gone: int, had: int) -> str:
    return "the only object" if had == 1 else f"{_part(gone, had)} objects"


def _part(gone: int, had: int) -> str:
    return f"all {had}" if gone == had else f"{gone} of {had}"
