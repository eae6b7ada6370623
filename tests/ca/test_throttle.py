"""Who keeps failing waits."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ca.throttle import FAILURES_MAX, Throttle, TooMany
from tests.support.clock import FakeClock


async def test_the_eleventh_attempt_of_a_minute_waits_for_its_end() -> None:
    clock = FakeClock()
    throttle = Throttle(clock)
    for _ in range(FAILURES_MAX):
        throttle.admit("192.0.2.1")
        throttle.failed("192.0.2.1")
    await clock.advance(timedelta(seconds=20))

    with pytest.raises(TooMany) as refusal:
        throttle.admit("192.0.2.1")
    assert str(refusal.value) == "10 failed attempts from 192.0.2.1 within 60 s"
    assert (refusal.value.hint, refusal.value.retry_after) == ("try again in 41 s", 41)

    await clock.advance(timedelta(seconds=40))
    throttle.admit("192.0.2.1")
    throttle.failed("192.0.2.1")
    throttle.admit("192.0.2.1")


def test_one_address_locks_out_no_other() -> None:
    throttle = Throttle(FakeClock())
    for _ in range(FAILURES_MAX):
        throttle.failed("192.0.2.1")

    throttle.admit("192.0.2.2")


def test_many_addresses_do_not_fill_the_memory() -> None:
    throttle = Throttle(FakeClock())
    for number in range(10_000):
        throttle.failed(f"address {number}")

    assert len(throttle._failures) <= 4096
