"""What is found by something else than its key, and what is left behind of it."""

from __future__ import annotations

from typing import Any

import pytest

from registries.kubernetes.index import Index, SparseIndex

WEB, ADMIN = ("shop", "web-abcde"), ("shop", "admin-abcde")
POD, OTHER = ("shop", "web-1"), ("shop", "web-2")
EITHER = pytest.mark.parametrize("made", [Index, SparseIndex])


@EITHER
def test_what_moves_is_found_where_it_is_and_no_longer_where_it_was(made: Any) -> None:
    index = made()
    index.move(WEB, set(), {POD})
    index.move(ADMIN, set(), {POD, OTHER})
    index.move(WEB, {POD}, {OTHER})

    assert set(index.at(POD)) == {ADMIN}
    assert set(index.at(OTHER)) == {ADMIN, WEB}
    assert set(index.at(("shop", "nobody"))) == set()


@EITHER
def test_names_that_come_and_go_leave_nothing_behind(made: Any) -> None:
    index = made()
    for number in range(100):
        place = (f"namespace-{number}", "web")
        index.move(WEB, set(), {place})
        index.move(WEB, {place}, set())
    index.move(WEB, {POD}, set())

    assert not index._keys


def test_the_pods_of_one_slice_share_what_is_kept_of_it() -> None:
    """A set for each of a hundred thousand Pods took 25 MB."""
    index = SparseIndex()
    index.move(WEB, set(), {POD, OTHER})

    assert index.at(POD) is index.at(OTHER)
