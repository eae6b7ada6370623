"""The rule by which a unit is taken or held."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.problems import Problem, Where
from reconciler.git import File
from reconciler.units import ROOT, Choice, Ruling, Version, folders, owner, settle
from tests.support.repositories import Words, read_words


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("mesh.yaml", ROOT),
        ("teams/a/x.yaml", "teams/a"),
        ("teams/a", "teams/a"),
        ("teams/ab/x.yaml", ROOT),
        ("teams/a/inner/x.yaml", "teams/a/inner"),
        ("teams/a/innermost/x.yaml", "teams/a"),
    ],
)
def test_the_longest_folder_of_the_tenancy_owns_a_file(path: str, unit: str) -> None:
    assert owner(path, ("teams/a", "teams/a/inner")) == unit


def test_folders_are_spelt_as_git_spells_them_and_none_leads_outside() -> None:
    assert folders(["./teams//b/", "teams/a", "teams/a/", "", ".", "../etc", "/a/../b", ".meshwright"]) == (
        "teams/a",
        "teams/b",
    )


def versions(commit: str, **texts: str) -> dict[str, Version]:
    """The text stands for the tree; ``root`` for the unit around all others."""
    return {ROOT if unit == "root" else unit: Version(text, commit) for unit, text in texts.items()}


def settled(
    candidates: Choice,
    served: Choice,
    guard: Callable[
        [Words, Collection[str]], Mapping[str, tuple[Problem, ...]]
    ] = lambda _reading, _units: {},
) -> Ruling[Words]:
    def read(choice: Choice) -> Words:
        files = [
            File(path=f"{unit}/x.yaml".removeprefix("/"), blob="", data=(version.tree or "").encode())
            for unit, version in choice.items()
        ]
        return read_words(files, passed_over=(), tenancy=())

    return settle(candidates, served, read, guard)


def commits(ruling: Ruling[Words]) -> Mapping[str, str]:
    return {unit or "root": version.commit for unit, version in ruling.taken.items()}


def reasons(ruling: Ruling[Words]) -> dict[str, list[str]]:
    return {unit or "root": [str(p) for p in problems] for unit, problems in ruling.held.items()}


def test_a_broken_unit_is_held_and_the_others_go_live() -> None:
    ruling = settled(
        versions("new", root="define y", a="broken", b="define b2"),
        versions("old", root="define x", a="define a", b="define b"),
    )
    assert commits(ruling) == {"root": "new", "a": "old", "b": "new"}
    assert reasons(ruling) == {"a": ["a/x.yaml:1: error MW0001: broken"]}
    assert set(ruling.reading.objects) == {"y", "a", "b2"}


def test_a_unit_broken_from_the_first_is_absent() -> None:
    ruling = settled(versions("new", root="define x", a="broken"), {})
    assert commits(ruling) == {"root": "new"}


def test_versions_that_need_each_other_go_live_together() -> None:
    ruling = settled(
        versions("new", root="define y\nuse b2", b="define b2\nuse y"), versions("old", root="", b="")
    )
    assert commits(ruling) == {"root": "new", "b": "new"}


def test_a_unit_that_needs_a_held_one_is_held_with_it() -> None:
    ruling = settled(
        versions("new", a="define a2\nbroken", b="use a2"), versions("old", a="define a", b="use a")
    )
    assert commits(ruling) == {"a": "old", "b": "old"}
    assert reasons(ruling) == {
        "a": ["a/x.yaml:2: error MW0001: broken"],
        "b": ["b/x.yaml:1: error IST0101: there is no 'a2'"],
    }


def test_a_unit_that_failed_only_by_its_company_gets_a_second_chance() -> None:
    """B takes away what A uses, and is broken: B is held, so A has no reason left to be."""
    ruling = settled(
        versions("new", a="use b\ndefine a2", b="broken"), versions("old", a="use b", b="define b")
    )
    assert commits(ruling) == {"a": "new", "b": "old"}
    assert reasons(ruling) == {"b": ["b/x.yaml:1: error MW0001: broken"]}


def test_a_mistake_of_its_own_is_not_buried_under_those_of_the_company() -> None:
    """B takes over what A had, and is broken: beside the old A its objects are defined twice as well."""
    ruling = settled(
        versions("new", a="use c\nbroken", b="define a\nbroken"), versions("old", a="define a", b="")
    )
    assert reasons(ruling)["b"] == ["b/x.yaml:2: error MW0001: broken"]


def test_whom_the_guard_holds_is_put_back_before_the_others_are_judged() -> None:
    def guard(reading: Words, units: Collection[str]) -> dict[str, tuple[Problem, ...]]:
        gone = "a" in units and "a" not in reading.objects
        return {"a": (Problem(code="MW0019", where=Where(file="a"), message="gone"),)} if gone else {}

    ruling = settled(
        versions("new", a="", b="use a\ndefine b2", root="define r2"),
        versions("old", a="define a", b="use a", root="define r"),
        guard,
    )
    assert commits(ruling) == {"a": "old", "b": "new", "root": "new"}
    assert reasons(ruling) == {"a": ["a: error MW0019: gone"]}


def test_the_guard_is_not_asked_about_a_unit_with_an_error() -> None:
    """What a broken file hides is not gone."""
    asked: list[set[str]] = []

    def guard(_reading: Words, units: Collection[str]) -> dict[str, tuple[Problem, ...]]:
        asked.append(set(units))
        return {}

    settled(versions("new", a="broken", b="define b2"), versions("old", a="define a", b="define b"), guard)
    assert asked
    assert all(units == {"b"} for units in asked)


def test_nobody_can_forbid_an_owner_to_take_an_object_away() -> None:
    """The dangling reference is reported at who refers; its unit stays as it is."""
    ruling = settled(versions("new", a="", b="use a"), versions("old", a="define a", b="use a"))
    assert commits(ruling) == {"a": "new", "b": "new"}
    assert [str(p) for p in ruling.reading.problems] == ["b/x.yaml:1: error IST0101: there is no 'a'"]


@pytest.mark.parametrize(("holder", "newcomer"), [("a", "b"), ("b", "a")])
def test_an_object_stays_with_the_unit_that_is_served_with_it(holder: str, newcomer: str) -> None:
    ruling = settled(
        versions("new", **{holder: "define x", newcomer: "define x"}),
        versions("old", **{holder: "define x", newcomer: ""}),
    )
    assert commits(ruling) == {holder: "new", newcomer: "old"}
    assert reasons(ruling) == {newcomer: [f"{newcomer}/x.yaml:1: error MW0003: 'x' is defined twice"]}


@pytest.mark.parametrize(("holder", "newcomer"), [("a", "b"), ("b", "a")])
def test_it_stays_there_even_when_both_units_change(holder: str, newcomer: str) -> None:
    ruling = settled(
        versions("new", **{holder: "define x\n#", newcomer: "define x\n#"}),
        versions("old", **{holder: "define x", newcomer: ""}),
    )
    assert commits(ruling) == {holder: "new", newcomer: "old"}


def test_an_unchanged_unit_counts_as_being_of_the_new_commit() -> None:
    ruling = settled(versions("new", a="define a"), versions("old", a="define a"))
    assert commits(ruling) == {"a": "new"}


def test_an_emptied_unit_is_taken_as_empty() -> None:
    candidates = {"a": Version(None, "new"), ROOT: Version("define x", "new")}
    ruling = settled(candidates, versions("old", root="define x", a="define a"))
    assert ruling.taken["a"] == Version(None, "new")


LINES = st.sampled_from(["define x", "define y", "use x", "use y", "broken", "#"])
TEXTS = st.lists(LINES, max_size=3).map("\n".join)
WORLDS = st.fixed_dictionaries({"root": TEXTS, "a": TEXTS, "b": TEXTS})


@given(WORLDS, st.lists(WORLDS, max_size=4))
def test_whatever_is_pushed_each_unit_is_whole_and_nothing_new_is_broken(
    first: dict[str, str], later: list[dict[str, str]]
) -> None:
    served: Choice = {}
    for number, texts in enumerate([first, *later]):
        candidates = versions(str(number), **texts)
        ruling = settled(candidates, served)
        for unit, version in ruling.taken.items():
            assert version in (candidates[unit], served.get(unit))
        new = {u for u, v in ruling.taken.items() if u not in served or served[u].tree != v.tree}
        broken = {p.where.file.removesuffix("x.yaml").rstrip("/") for p in ruling.reading.problems}
        assert not new & broken
        assert not new & ruling.held.keys()
        assert candidates.keys() == ruling.taken.keys() | ruling.held.keys()
        served = ruling.taken
