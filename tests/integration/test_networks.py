"""Two networks and the gateways between them, as real Envoys: who is reached by which way."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import scenarios
from tests.support.envoys import needs_envoy
from tests.support.scenarios import Scenario
from tests.support.scenarios_calls import Call, Expected, wrong
from tests.support.scenarios_machines import Standing, standing
from tests.support.served import MESH_TCP, ask, becomes

FOLDER = scenarios.FOLDER / "another-network-behind-its-gateways"
GATEWAYS = ("eastwest-1", "eastwest-2")
FAR = ("far-v1", "far-v2", "far-v2-too")
HOST = "reviews.bookinfo.svc.cluster.local"


@contextlib.contextmanager
def two_networks(tmp_path: Path, **replaced: str) -> Iterator[Standing]:
    """The scenario with other words in its files."""
    folder = tmp_path / "scenario"
    shutil.copytree(FOLDER, folder)
    for file in (folder / "config").iterdir():
        text = file.read_text()
        for old, new in replaced.items():
            text = text.replace(old, new)
        file.write_text(text)
    with standing(Scenario.load(folder), tmp_path) as house:
        yield house


def a_call(path: str = "/", times: int = 1, through: str = "productpage-v1", **expect: object) -> Call:
    return Call(
        call=path,
        request=f"GET http://reviews.bookinfo:9080{path}",
        through=through,
        times=times,
        expect=Expected(**expect),  # type: ignore[arg-type]
    )


def passed(house: Standing, subset: str = "") -> list[int]:
    """How many connections each gateway has passed on for a subset."""
    name = f"outbound_.9080_.{subset}_.{HOST}"
    return [house.envoys[gateway].stat(f"cluster.{name}.upstream_cx_total") for gateway in GATEWAYS]


def is_closed(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) != 0


@needs_envoy
def test_every_request_to_the_other_network_went_through_a_gateway_and_none_that_stayed_did(
    tmp_path: Path,
) -> None:
    """A quarter of the endpoints is near, the rest behind two gateways that share it equally."""
    everybody = {name: [0, 400] for name in ("near-v1", *FAR)}
    with two_networks(tmp_path) as house:
        assert list(wrong(a_call(times=400, by=everybody), house)) == []

        asked = {name: len(house.applications[name].asked) for name in ("near-v1", *FAR)}
        far = sum(asked[name] for name in FAR)
        assert asked["near-v1"] + far == 400
        assert 0.2 <= asked["near-v1"] / 400 <= 0.3
        # Every request is a connection of its own here, so the numbers tell who came which way.
        assert sum(passed(house)) == far
        assert all(0.4 <= one / far <= 0.6 for one in passed(house))


@needs_envoy
def test_a_subset_is_asked_for_by_name_whatever_its_letters(tmp_path: Path) -> None:
    """Names in TLS have no upper and lower case, names of subsets do."""
    with two_networks(tmp_path, **{"name: v2": "name: V2", "subset: v2": "subset: V2"}) as house:
        expected = {"far-v2": [1, 39], "far-v2-too": [1, 39]}
        assert list(wrong(a_call("/v2", 40, by=expected), house)) == []

        assert sum(passed(house, "V2")) == 40
        assert passed(house) == [0, 0]


@needs_envoy
def test_a_gateway_does_not_pass_on_to_itself(tmp_path: Path) -> None:
    """Anybody who reaches it can ask for it by name, and it would ask itself, without an end."""
    host = "eastwest.edge.svc.cluster.local"
    with standing(Scenario.load(scenarios.FOLDER / "networks-by-address"), tmp_path) as house:
        context = house.callers.context("productpage", offers=MESH_TCP)
        name = f"outbound_.15443_._.{host}"
        place = house.place.network("10.0.0.33"), 15443
        with socket.create_connection(place, timeout=5) as connection, pytest.raises(ConnectionError):
            context.wrap_socket(connection, server_hostname=name)

        gateway = house.envoys["eastwest-1"]
        assert gateway.stat(f"tcp.{name}.downstream_cx_total") == 1
        assert gateway.stat(f"cluster.{name}.upstream_cx_total") == 0


@needs_envoy
def test_a_gateway_that_is_gone_costs_its_share_and_outlier_detection_gives_it_to_the_other(
    tmp_path: Path,
) -> None:
    """To its clients a gateway is an endpoint like any other."""
    ejects = "outlierDetection: {consecutive5xxErrors: 1, baseEjectionTime: 60s, maxEjectionPercent: 100}"
    with two_networks(tmp_path, **{"    connectionPool:": f"    {ejects}\n    connectionPool:"}) as house:
        door = house.envoys["eastwest-2"]
        assert ask(door.admin, "/drain_listeners", method="POST").status == 200
        assert becomes(lambda: is_closed(house.place.network("10.0.0.10"), 15443))
        expected = {"far-v2": [1, 39], "far-v2-too": [1, 39]}

        assert becomes(lambda: not list(wrong(a_call("/v2", 40, by=expected), house)))
        assert passed(house, "v2")[0] >= 40
