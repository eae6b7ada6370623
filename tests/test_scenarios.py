"""Every scenario: what proxies are told is what was looked at once, real Envoys take it and act on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mesh.kinds import KINDS
from tests.support import golden, scenarios
from tests.support.ads_server import TestAuthority
from tests.support.envoys import needs_envoy, refusal, write_authority
from tests.support.scenarios import Scenario
from tests.support.scenarios_calls import Call, Expected, all_wrong, wrong
from tests.support.scenarios_machines import standing, trust
from tests.support.scenarios_places import with_files
from tests.support.served import Callers

NAMES = scenarios.names()
CALLED = [name for name in NAMES if (scenarios.FOLDER / name / "calls.yaml").exists()]


def load(name: str) -> Scenario:
    return Scenario.load(scenarios.FOLDER / name)


@pytest.mark.parametrize("name", NAMES)
def test_reading_reports_what_the_scenario_says_and_nothing_more(name: str) -> None:
    scenario = load(name)

    assert scenarios.problems(scenario.reading) == scenario.problems


@pytest.mark.parametrize("name", NAMES)
def test_proxies_are_told_what_is_written_down(name: str) -> None:
    """With ``UPDATE_GOLDEN=1`` it is written down anew; then read the difference."""
    scenario = load(name)

    told = scenarios.assigned(scenario.world(trust(scenario, ("the root of the mesh\n",))), scenario.proxies)

    assert golden.differences(scenario.folder / "expect", scenarios.shown(told)) == ""


@needs_envoy
@pytest.mark.parametrize("name", NAMES)
def test_a_real_envoy_takes_all_that_a_proxy_is_told(name: str, tmp_path: Path) -> None:
    scenario = load(name)
    believed = trust(scenario, Callers(tmp_path).roots, TestAuthority("outside"))
    write_authority(tmp_path / "ca.pem")

    told = scenarios.assigned(scenario.world(believed), scenario.proxies)

    for proxy, resources in told.items():
        assert refusal([with_files(one, tmp_path) for one in resources], tmp_path) == "", proxy.name


@needs_envoy
@pytest.mark.parametrize("name", CALLED)
def test_calls_through_real_envoys_end_where_they_should(name: str, tmp_path: Path) -> None:
    scenario = load(name)

    with standing(scenario, tmp_path) as house:
        assert all_wrong(scenario.folder / "calls.yaml", house) == []


@needs_envoy
def test_a_call_that_ends_elsewhere_says_what_came_instead(tmp_path: Path) -> None:
    """The checks above can fail."""
    expect = Expected(
        by="details-v1", headers={"x-application": None}, seen={"path": "/", "headers": {"a": "b"}}
    )
    call = Call(
        call="a page", through="productpage-v1", request="GET http://reviews:9080/page", expect=expect
    )

    with standing(load("subset-without-endpoints"), tmp_path) as house:
        assert list(wrong(replace(call, request="GET http://reviews:9080/v1"), house)) == [
            "a page: answers by {'reviews-v1': 1}, not {'details-v1': [1, 1]}",
            "a page: header x-application: 'reviews-v1', not None",
            "a page: the application saw path '/v1', not '/'",
            "a page: the application saw a: None, not 'b'",
        ]
        assert list(wrong(replace(call, expect=Expected(seen={"path": "/"})), house)) == [
            "a page: status {503: 1}, not {200: [1, 1]}",
            "a page: no application was asked: 'no healthy upstream'",
        ]


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_is_called_or_says_why_not(name: str) -> None:
    """Output that did not change proves nothing; a call proves that it is right."""
    scenario = load(name)

    is_called = name in CALLED
    assert is_called != bool(scenario.uncalled), scenario.uncalled


def test_every_kind_is_in_a_scenario() -> None:
    shown = {key.kind for name in NAMES for key in load(name).reading.places}

    assert sorted({kind for _, kind in KINDS} - shown) == []
