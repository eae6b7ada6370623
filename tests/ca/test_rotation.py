"""When a key is replaced."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ca.rotation import half_life, wait_until
from tests.support.certificates import NOW

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("life", "due"),
    [(24 * HOUR, 12 * HOUR), (timedelta(minutes=1), timedelta(seconds=30)), (timedelta(0), timedelta(0))],
)
def test_half_of_the_life_is_the_time_to_renew(life: timedelta, due: timedelta) -> None:
    assert half_life(NOW, NOW + life) == NOW + due


@pytest.mark.parametrize(
    ("moment", "wait"),
    [(-HOUR, timedelta(0)), (HOUR / 2, HOUR / 2), (5 * HOUR, HOUR)],
)
def test_a_wait_is_never_negative_and_never_longer_than_an_hour(moment: timedelta, wait: timedelta) -> None:
    assert wait_until(NOW + moment, NOW) == wait
