"""What came back is compared with what was to come back."""

from __future__ import annotations

import pytest

from reconciler.demo.requests import Page
from reconciler.demo.traffic import Traffic

STARS = {"v1": "none", "v2": "black", "v3": "red"}
HALVES = Traffic(shares={"v1": 50, "v2": 50}, ratings=STARS)
LATE = Traffic(user="jason", shares={"v2": 100}, ratings=STARS, delay_ms=1000, is_delayed=True)


def pages(version: str, number: int, *, ratings: str = "", took_ms: float = 10) -> list[Page]:
    return [Page(version=version, ratings=ratings or STARS[version], took_ms=took_ms)] * number


def test_the_right_shares_hold() -> None:
    assert HALVES.holds(pages("v1", 90) + pages("v2", 110))


def test_shares_that_chance_does_not_explain_do_not_hold() -> None:
    assert not HALVES.holds(pages("v1", 180) + pages("v2", 20))


def test_a_single_answer_of_another_version_does_not_hold() -> None:
    assert not HALVES.holds(pages("v1", 100) + pages("v2", 99) + pages("v3", 1))


def test_a_single_failure_does_not_hold() -> None:
    assert not HALVES.holds([*pages("v1", 100), *pages("v2", 100), Page(failure="status 503")])


def test_stars_of_the_wrong_colour_do_not_hold() -> None:
    assert not HALVES.holds(pages("v1", 100) + pages("v2", 99) + pages("v2", 1, ratings="red"))


def test_a_status_of_ratings_is_expected_exactly() -> None:
    denied = Traffic(shares={"v3": 100}, ratings={"v3": "403"})

    assert denied.holds(pages("v3", 5, ratings="403"))
    assert not denied.holds(pages("v3", 5, ratings="503"))
    assert not denied.holds(pages("v3", 5))


def test_a_delay_must_be_there_every_time() -> None:
    assert LATE.holds(pages("v2", 12, took_ms=1003))
    assert not LATE.holds(pages("v2", 11, took_ms=1003) + pages("v2", 1))


def test_those_who_are_not_delayed_may_be_late_now_and_then() -> None:
    on_time = Traffic(shares={"v1": 100}, ratings=STARS, delay_ms=1000)

    assert on_time.holds(pages("v1", 9) + pages("v1", 3, took_ms=1200))
    assert not on_time.holds(pages("v1", 12, took_ms=600))


@pytest.mark.parametrize(
    ("traffic", "text"),
    [
        (HALVES, "v1 50 %, v2 50 %"),
        (LATE, "jason: v2; 1000 ms late"),
        (Traffic(shares={"v3": 100}, ratings=STARS | {"v3": "403"}), "v3; v3 without ratings (403)"),
    ],
)
def test_an_expectation_reads_as_a_sentence_of_the_table(traffic: Traffic, text: str) -> None:
    assert str(traffic) == text


def test_an_observation_names_counts_and_failures() -> None:
    seen = [*pages("v1", 3), *pages("v2", 1, ratings="500"), Page(failure="status 503")]

    assert HALVES.observed(seen) == "v1 3, v2 1 of 5; v2 without ratings (500) 1 times; 1 failed: status 503"


def test_an_observation_of_a_delay_names_the_median() -> None:
    assert LATE.observed(pages("v2", 2, took_ms=1004)) == "jason: v2 2 of 2; median 1004 ms"
