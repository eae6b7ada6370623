from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from mesh.interning import Interner, Recall, gathered, number


class Thing:
    """Something with an identity, that can be seen to die."""

    def __init__(self, *parts: object) -> None:
        self.parts = parts


def make(*parts: object) -> Thing:
    return Thing(*parts)


def test_equal_values_become_the_same_object() -> None:
    intern = Interner()
    first = intern((1, "a" * 3))

    assert intern((1, "".join("aaa"))) is first


def test_values_of_different_types_are_never_the_same() -> None:
    intern = Interner()

    assert [type(intern(value)) for value in (1, 1.0, True)] == [int, float, bool]


def test_a_value_that_nobody_asked_for_again_is_forgotten() -> None:
    intern = Interner()
    kept, _ = intern("kept!"), intern("gone!")
    intern.drop_unused()
    intern("kept!")

    assert intern.drop_unused() == 1
    assert len(intern) == 1
    assert intern("kept!") is kept


def test_a_result_is_remembered_by_the_identity_of_its_inputs() -> None:
    recall = Recall()
    one, equal = Thing(), Thing()

    assert recall.get(make, one) is recall.get(make, one)
    assert recall.get(make, one) is not recall.get(make, equal)
    assert recall.made["make"] == 2


def test_the_inputs_are_held_so_that_no_identity_is_used_twice() -> None:
    recall = Recall()
    argument = Thing()
    seen = weakref.ref(argument)
    recall.get(make, argument)
    del argument
    gc.collect()

    assert seen() is not None


def test_what_is_keyed_by_less_than_its_arguments_is_found_by_that() -> None:
    recall = Recall()
    slice_ = Thing()

    first = recall.keyed((slice_,), make, Thing("a whole world"))

    assert recall.keyed((slice_,), make, Thing("another")) is first


def test_a_generation_forgets_what_was_not_asked_for_in_it() -> None:
    recall = Recall()
    kept, gone = Thing(), Thing()
    first = recall.get(make, kept)
    recall.get(make, gone)

    recall.begin_generation()
    recall.get(make, kept)
    recall.end_generation()

    assert len(recall) == 1
    assert recall.get(make, kept) is first
    recall.get(make, gone)
    assert recall.made["make"] == 3


def test_garbage_of_many_changes_does_not_outlive_the_next_generation() -> None:
    """What was in force for a while since the last sweep is not in force now."""
    recall = Recall()
    living = Thing()
    for _ in range(5):
        for _ in range(100):
            recall.get(make, Thing())
        recall.begin_generation()
        recall.get(make, living)
        recall.end_generation()

        assert len(recall) == 1


def test_what_was_made_on_the_way_lives_exactly_as_long_as_what_it_was_made_for() -> None:
    recall = Recall()
    part, whole = Thing(), Thing()

    def outer(_whole: Thing, inner: Thing) -> Thing:
        return Thing(recall.get(make, inner))

    result = recall.get(outer, whole, part)
    recall.begin_generation()
    assert recall.get(outer, whole, part) is result
    recall.end_generation()

    assert len(recall) == 2
    assert recall.get(make, part) is result.parts[0]

    recall.begin_generation()
    recall.end_generation()
    assert len(recall) == 0


def test_a_part_that_two_share_stays_while_one_of_them_does() -> None:
    recall = Recall()
    part, first, second = Thing(), Thing(), Thing()

    def outer(_whole: Thing, inner: Thing) -> Thing:
        return Thing(recall.get(make, inner))

    shared = recall.get(outer, first, part).parts[0]
    recall.get(outer, second, part)
    recall.begin_generation()
    recall.get(outer, second, part)
    recall.end_generation()

    assert len(recall) == 2
    assert recall.get(outer, second, part).parts[0] is shared


def test_an_exception_inside_leaves_nothing_half_made() -> None:
    recall = Recall()
    part, whole = Thing(), Thing()

    def broken(_whole: Thing) -> Thing:
        recall.get(make, part)
        raise ValueError("no")

    def outer(inner: Thing) -> Thing:
        with pytest.raises(ValueError):
            recall.get(broken, inner)
        return Thing(recall.get(make, inner))

    for _ in range(2):
        with pytest.raises(ValueError):
            recall.get(broken, whole)
    made = recall.get(outer, whole)

    assert recall.made["broken"] == 3
    recall.begin_generation()
    assert recall.get(outer, whole) is made
    recall.end_generation()
    # The outer result and what it is made of; the part that only the broken one asked for is gone.
    assert len(recall) == 2


def test_a_recall_is_crowded_when_most_of_it_is_of_no_use() -> None:
    recall = Recall()
    living = [Thing() for _ in range(10)]
    for thing in living:
        recall.get(make, thing)
    recall.end_generation()
    assert not recall.is_crowded

    for _ in range(1020):
        recall.get(make, Thing())
    assert recall.is_crowded

    recall.begin_generation()
    for thing in living:
        recall.get(make, thing)
    recall.end_generation()
    assert not recall.is_crowded
    assert len(recall) == 10


def test_a_gathering_is_the_same_as_long_as_its_members_are() -> None:
    recall = Recall()
    one, two = Thing(), Thing()
    first: Any = recall.get(gathered, one, two)

    assert recall.get(gathered, one, two) is first
    assert recall.get(gathered, two, one) is not first
    assert first == (one, two)


def test_a_number_is_one_object_however_large() -> None:
    assert number(int("9080")) is number(int("9080"))
    assert number(9080) == (9080,)
