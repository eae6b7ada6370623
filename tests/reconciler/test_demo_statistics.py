"""Chance is told from error, and in both directions."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.demo.statistics import DOUBT, Bounds, bounds


def outside(found: Bounds, requests: int, share: float) -> float:
    return sum(
        comb(requests, count) * share**count * (1 - share) ** (requests - count)
        for count in range(requests + 1)
        if count not in found
    )


@given(requests=st.integers(1, 300), share=st.floats(0.01, 0.99))
def test_what_lies_outside_the_bounds_is_as_improbable_as_promised(requests: int, share: float) -> None:
    assert outside(bounds(requests, share), requests, share) <= DOUBT


@given(requests=st.integers(100, 300), share=st.floats(0.1, 0.9))
def test_the_bounds_are_no_wider_than_they_need_to_be(requests: int, share: float) -> None:
    found = bounds(requests, share)
    narrower = Bounds(found.low + 1, found.high - 1)

    assert outside(narrower, requests, share) > DOUBT / 2


def test_a_demo_is_wrong_by_chance_less_than_once_in_a_million() -> None:
    assert 9 * DOUBT < 1e-6


@pytest.mark.parametrize(("right", "wrong"), [(0.9, 0.5), (0.5, 0.9), (0.1, 0.5), (0.5, 0.1)])
def test_two_hundred_requests_tell_the_steps_apart(right: float, wrong: float) -> None:
    assert round(200 * wrong) not in bounds(200, right)


def test_a_share_of_nothing_or_all_has_no_tolerance() -> None:
    assert bounds(200, 0) == Bounds(0, 0)
    assert bounds(200, 1) == Bounds(200, 200)
