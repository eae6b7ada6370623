"""Make before break: what each state permits."""

from __future__ import annotations

from datetime import timedelta

import pytest

from xds import envoy
from xds.phases import SETTLED, Lack, Pace, Phase, may_gain, may_lose, phase

GAINS, LOSSES = Lack(gains=True), Lack(losses=True)
ANSWERS = Lack(gains=True, answers=True)

# clusters, endpoints, listeners, routes
TABLE = [
    ((GAINS, SETTLED, GAINS, GAINS), Phase.CLUSTERS),
    ((SETTLED, ANSWERS, GAINS, SETTLED), Phase.CLUSTERS),
    ((SETTLED, GAINS, GAINS, SETTLED), Phase.LISTENERS),
    ((LOSSES, SETTLED, GAINS, SETTLED), Phase.LISTENERS),
    ((LOSSES, SETTLED, LOSSES, SETTLED), Phase.LISTENERS),
    ((LOSSES, SETTLED, SETTLED, GAINS), Phase.LISTENERS),
    ((LOSSES, LOSSES, SETTLED, SETTLED), Phase.REMOVALS),
    ((SETTLED, SETTLED, SETTLED, LOSSES), Phase.REMOVALS),
    ((SETTLED, LOSSES, SETTLED, SETTLED), Phase.REST),
    ((SETTLED, SETTLED, SETTLED, SETTLED), Phase.REST),
]


@pytest.mark.parametrize(("lacks", "expected"), TABLE)
def test_the_phase_is_the_first_that_is_not_finished(
    lacks: tuple[Lack, Lack, Lack, Lack], expected: Phase
) -> None:
    assert phase(*lacks) is expected


PERMITTED = {
    # what may be gained, what may be lost
    Phase.CLUSTERS: ("cds eds sds", ""),
    Phase.LISTENERS: ("cds eds lds rds sds", "lds"),
    Phase.REMOVALS: ("cds eds lds rds sds", "cds lds rds"),
    Phase.REST: ("cds eds lds rds sds", "cds eds lds rds sds"),
}


@pytest.mark.parametrize("granted", Phase)
def test_what_a_phase_permits(granted: Phase) -> None:
    gains = sorted(envoy.SHORT_NAMES[url] for url in envoy.TYPES if may_gain(url, granted))
    losses = sorted(envoy.SHORT_NAMES[url] for url in envoy.TYPES if may_lose(url, granted))
    assert (" ".join(gains), " ".join(losses)) == PERMITTED[granted]


def test_a_phase_that_does_not_end_is_passed_over() -> None:
    """One more phase with each further limit; a phase that ends starts the clock anew."""
    pace = Pace(timedelta(seconds=10), 0.0)
    pace.enter(Phase.CLUSTERS, 9.9)
    assert (pace.granted(9.9), pace.due(9.9)) == (Phase.CLUSTERS, 10.0)
    assert pace.granted(10.0) is Phase.LISTENERS
    assert pace.granted(20.0) is Phase.REMOVALS
    pace.enter(Phase.LISTENERS, 25.0)
    assert (pace.granted(25.0), pace.due(25.0)) == (Phase.LISTENERS, 35.0)
    pace.enter(Phase.CLUSTERS, 500.0)
    assert pace.granted(500.0) is Phase.CLUSTERS
    assert (pace.granted(5000.0), pace.due(5000.0)) == (Phase.REST, None)
