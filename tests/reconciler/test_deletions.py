"""The guard over configuration: which removals are doubted, and until when."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.kinds.guards import Guards
from mesh.names import ObjectKey
from reconciler.deletions import Claims, Served, Watch, removals

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GUARDS = Guards()
MINUTE = 60.0
HINT = (
    "put them back, or say 'Meshwright-Allow-Removal: yes' in the commit that removes them,"
    " or run `meshwright registries release git`"
)


def objects(count: int, kind: str = "VirtualService", namespace: str = "shop") -> frozenset[ObjectKey]:
    return frozenset(ObjectKey(kind, namespace, f"o{number}") for number in range(count))


def some(keys: Iterable[ObjectKey], count: int) -> frozenset[ObjectKey]:
    return frozenset(sorted(keys, key=lambda key: int(key.name[1:]))[:count])


def serving(guards: Guards = GUARDS, **units: frozenset[ObjectKey]) -> Served:
    """``mesh`` is the unit around all others."""
    return Served(units={unit if unit != "mesh" else "": keys for unit, keys in units.items()}, guards=guards)


def doubted(served: Served, present: Collection[ObjectKey]) -> dict[str, str]:
    return removals(served, present, frozenset(), served.guards)


class Judging:
    """Judgings of one commit after another; what is served stays what it was."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.claims = Claims()

    def at(
        self,
        minutes: float,
        head: Collection[ObjectKey],
        *,
        released: Collection[ObjectKey] = (),
        allowed: Collection[ObjectKey] = (),
        broken: Collection[str] = (),
    ) -> dict[str, list[str]]:
        watch = Watch(
            self.served,
            self.claims,
            released=released,
            vouched=lambda _gone: frozenset(allowed),
            now=NOON + timedelta(minutes=minutes),
            moment=minutes * MINUTE,
        )
        tenancy = [unit for unit in self.served.units if unit]
        held = watch(head, self.served.units.keys() - broken, tenancy)
        self.claims = watch.claims(held, tenancy)
        return {unit or "mesh": [problem.message for problem in problems] for unit, problems in held.items()}


def test_more_than_half_of_many_objects_is_doubted() -> None:
    served = serving(mesh=objects(60))
    assert doubted(served, some(objects(60), 30)) == {}
    assert doubted(served, some(objects(60), 29)) == {"": "31 of 60 objects of unit 'mesh'"}
    assert doubted(served, objects(1, "Mesh")) == {"": "all 60 objects of unit 'mesh'"}


def test_few_objects_may_go_at_once() -> None:
    assert doubted(serving(mesh=objects(10) | objects(1, "Mesh", "")), objects(1, "Mesh", "")) == {
        "": "10 of 11 objects of unit 'mesh'"
    }
    assert doubted(serving(mesh=objects(9) | objects(1, "Mesh", "")), objects(1, "Mesh", "")) == {}


def test_an_object_in_another_unit_is_not_gone() -> None:
    served = serving(mesh=objects(60), a=objects(2, namespace="a"))
    assert doubted(served, objects(60) | objects(2, namespace="a")) == {}


def test_a_kind_that_vanishes_is_doubted_though_most_objects_stay() -> None:
    """Without its AuthorizationPolicies a mesh lets everybody in."""
    policies = objects(11, "AuthorizationPolicy")
    served = serving(mesh=objects(60) | policies)
    assert doubted(served, objects(60)) == {"": "all 11 of kind AuthorizationPolicy of unit 'mesh'"}
    assert doubted(served, objects(60) | some(policies, 1)) == {}
    assert doubted(serving(mesh=objects(60) | some(policies, 10)), objects(60)) == {}


def test_many_small_units_that_vanish_together_are_doubted() -> None:
    """And a unit that lost little of its own goes live."""
    served = serving(
        a=objects(8, namespace="a"), b=objects(8, namespace="b"), c=objects(8, namespace="c"), mesh=objects(4)
    )
    rest = objects(8, namespace="c") | some(objects(4), 3)
    assert doubted(served, rest) == {
        "a": "all 8 objects of unit 'a' and 17 of 28 of the repository",
        "b": "all 8 objects of unit 'b' and 17 of 28 of the repository",
    }
    assert doubted(served, rest | objects(8, namespace="b")) == {}


def test_a_repository_without_any_object_is_doubted_however_small_it_was() -> None:
    served = serving(mesh=objects(1), a=objects(2, namespace="a"))
    assert doubted(served, ()) == {
        "": "the only object of unit 'mesh' and all 3 of the repository",
        "a": "all 2 objects of unit 'a' and all 3 of the repository",
    }


def test_the_first_commit_has_nothing_to_remove() -> None:
    assert doubted(Served(), ()) == {}


def test_the_only_object_of_a_mesh_is_not_counted() -> None:
    assert doubted(serving(mesh=objects(1)), ()) == {"": "the only object of unit 'mesh'"}


@pytest.mark.parametrize(
    ("guards", "is_held"),
    [
        (GUARDS, True),
        (Guards(disabled=True), False),
        (Guards(above=60), False),
        (Guards(share=75), False),
        (Guards(share=74.9), True),
    ],
)
def test_the_guards_are_those_of_the_mesh_that_is_served(guards: Guards, is_held: bool) -> None:
    assert bool(doubted(serving(guards, mesh=objects(60)), some(objects(60), 15))) is is_held


def test_a_removal_is_held_until_head_has_claimed_it_for_the_dwell() -> None:
    judging = Judging(serving(mesh=objects(60)))
    rest = some(objects(60), 15)
    held = {
        "mesh": [
            "the commit removes 45 of 60 objects of unit 'mesh': held until 2026-01-01 12:05:00Z or released"
        ]
    }
    assert judging.at(0, rest) == held
    assert judging.at(4, rest | objects(3, "Gateway")) == held
    assert judging.claims.due_after(4 * MINUTE) == 5 * MINUTE
    assert judging.at(5, rest) == {}
    assert judging.claims == Claims()


def test_what_comes_back_and_goes_again_begins_anew() -> None:
    judging = Judging(serving(mesh=objects(60)))
    rest = some(objects(60), 15)
    assert judging.at(0, rest)
    assert judging.at(4, objects(60)) == {}
    assert judging.at(6, rest)
    assert judging.at(11, rest) == {}


def test_an_error_of_the_unit_stops_the_clock() -> None:
    """A file that cannot be read hides its objects; that is no claim."""
    judging = Judging(serving(mesh=objects(60)))
    rest = some(objects(60), 15)
    assert judging.at(0, rest)
    assert judging.at(4, rest, broken=[""]) == {}
    assert judging.at(6, rest)


def test_what_a_broken_file_hides_does_not_hold_its_neighbours() -> None:
    judging = Judging(serving(mesh=objects(60), a=objects(3, namespace="a")))
    assert judging.at(0, some(objects(3, namespace="a"), 1), broken=[""]) == {}
    assert judging.at(0, some(objects(3, namespace="a"), 1)).keys() == {"mesh", "a"}


def test_what_is_removed_later_counts_of_what_is_left() -> None:
    judging = Judging(serving(mesh=objects(60)))
    judging.at(0, some(objects(60), 15))
    assert judging.at(4, some(objects(60), 10)) == {
        "mesh": [
            "the commit removes 50 of 60 objects of unit 'mesh': held until 2026-01-01 12:05:00Z or released"
        ]
    }
    assert judging.at(5, some(objects(60), 10)) == {}

    judging = Judging(serving(mesh=objects(60)))
    judging.at(0, some(objects(60), 15))
    judging.at(4, some(objects(60), 5))
    assert judging.at(5, some(objects(60), 5)) == {
        "mesh": [
            "the commit removes 10 of 15 objects of unit 'mesh': held until 2026-01-01 12:09:00Z or released"
        ]
    }
    assert judging.at(9, some(objects(60), 5)) == {}


def test_the_word_of_the_operator_counts_for_what_is_held() -> None:
    judging = Judging(serving(mesh=objects(60)))
    judging.at(0, some(objects(60), 15))
    released = judging.claims.doubts.keys()
    assert len(released) == 45
    assert judging.at(1, some(objects(60), 2), released=released) == {
        "mesh": [
            "the commit removes 13 of 15 objects of unit 'mesh': held until 2026-01-01 12:06:00Z or released"
        ]
    }
    assert judging.at(2, some(objects(60), 15)) == {}


def test_the_word_of_a_commit_counts_for_what_it_allows() -> None:
    gone = objects(60) - some(objects(60), 15)
    assert Judging(serving(mesh=objects(60))).at(0, some(objects(60), 15), allowed=gone) == {}
    assert Judging(serving(mesh=objects(60))).at(0, (), allowed=gone)


def test_commits_are_not_asked_when_nothing_is_in_doubt() -> None:
    def asked(_gone: Mapping[str, Collection[ObjectKey]]) -> frozenset[ObjectKey]:
        raise AssertionError

    watch = Watch(serving(mesh=objects(60)), Claims(), vouched=asked, now=NOON, moment=0)
    assert watch(some(objects(60), 30), [""], ()) == {}


def test_a_commit_cannot_switch_off_the_guard_that_watches_it() -> None:
    """Its unit's new Mesh document may be live already while another unit is held."""
    judging = Judging(serving(a=objects(60, namespace="a")))
    rest = some(objects(60, namespace="a"), 15)
    assert judging.at(0, rest)
    judging.served = serving(Guards(disabled=True), a=objects(60, namespace="a"))
    assert judging.at(1, rest)
    assert judging.at(5, rest) == {}


def test_a_problem_names_the_folder_and_every_way_out() -> None:
    served = serving(**{"teams/a": objects(60)})
    (problem,) = Watch(served, Claims(), now=NOON, moment=0)((), ["teams/a"], ["teams/a"])["teams/a"]
    assert str(problem) == (
        "teams/a: error MW0019: the commit removes all 60 objects of unit 'teams/a':"
        " held until 2026-01-01 12:05:00Z or released"
    )
    assert problem.hint == HINT


def test_what_was_moved_to_a_held_unit_is_not_gone_in_time() -> None:
    watch = Watch(serving(a=objects(60)), Claims(), now=NOON, moment=0)
    assert watch(objects(60), ["a"], ["a"]) == {}
    (problem,) = watch(some(objects(60), 15), ["a"], ["a"])["a"]
    assert str(problem) == (
        "a: error MW0019: the commit moves 45 of 60 objects of unit 'a'"
        " to units that are held: held with those"
    )
    assert problem.hint == "mend the units that they go to"


def test_ending_a_tenancy_does_not_dilute_what_was_in_it() -> None:
    watch = Watch(serving(mesh=objects(200), a=objects(60, namespace="a")), Claims(), now=NOON, moment=0)
    held = watch(objects(200), [""], ())
    assert [problem.message for problem in held[""]] == [
        "the commit removes all 60 objects of unit 'a': held until 2026-01-01 12:05:00Z or released"
    ]
    assert watch.claims(held, ()).due_after(0) == 5 * MINUTE


UNITS = st.dictionaries(st.sampled_from(["", "a", "b"]), st.integers(1, 40))


@given(UNITS, st.lists(st.tuples(st.integers(1, 3), st.integers(0, 40)), min_size=1, max_size=6))
def test_whatever_is_pushed_is_believed_once_it_stays_for_the_dwell(
    sizes: dict[str, int], pushes: list[tuple[float, int]]
) -> None:
    served = Served(units={unit: objects(size, namespace=unit or "m") for unit, size in sizes.items()})
    judging, minute = Judging(served), 0
    for pause, count in pushes:
        minute += pause
        head = {key for keys in served.units.values() for key in some(keys, count)}
        if not judging.at(minute, head):
            judging.served = Served(units={unit: keys & head for unit, keys in served.units.items()})
    assert judging.at(minute + 5, head) == {}
    assert judging.claims == Claims()
