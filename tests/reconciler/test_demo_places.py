"""A demo finds room where others are already."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mesh.errors import Unavailable
from reconciler.demo import places, workloads
from reconciler.demo.repository import files

EXAMPLE = files(Path(__file__).parents[2] / "examples" / "bookinfo")


def test_two_demos_at_once_get_different_places() -> None:
    with places.find(EXAMPLE) as one, places.find(EXAMPLE) as two:
        assert not set(one.cast.sockets) & set(two.cast.sockets)


def test_a_place_can_be_taken_again_when_its_demo_is_over() -> None:
    with places.find(EXAMPLE) as place:
        taken = place.cast
    with places.find(EXAMPLE) as place:
        assert place.cast == taken


def test_a_place_is_passed_over_when_someone_listens_there() -> None:
    with places.find(EXAMPLE) as place:
        first = place.cast
    with socket.create_server(first.workloads[1].sockets[-1]), places.find(EXAMPLE) as place:
        assert place.cast != first


def test_a_place_is_found_beside_proxies_of_another_mesh() -> None:
    """Those listen for Prometheus and load balancers on every address."""
    with places.find(EXAMPLE) as place:
        taken = place.cast.workloads[0].proxy_ports.metrics
    with socket.create_server(("", taken)), places.find(EXAMPLE) as place:
        assert place.cast.workloads[0].proxy_ports.metrics != taken


def test_what_is_in_the_way_at_the_first_place_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PLACES", 3)
    monkeypatch.setattr(places, "_claim", lambda _: socket.socket())
    monkeypatch.setattr(places, "is_free", lambda _, port: port != 15090 and port < 15100)
    with pytest.raises(Unavailable) as error:
        places.find(EXAMPLE)

    assert str(error.value) == "none of 3 places on the loopback network is free"
    assert error.value.hint == (
        "end what listens at 127.0.0.1:18080, or on that port of all addresses: ss -ltnp 'sport = :18080'"
    )


def test_moving_changes_addresses_and_ports_of_the_example_and_nothing_else() -> None:
    text = "address: 127.0.80.31\nhttp: 19082\nnumber: 9080\nnumber: 18080\nbind: 127.0.0.1\n"

    assert places.move(text, 2) == (
        "address: 127.0.82.31\nhttp: 19482\nnumber: 9080\nnumber: 18480\nbind: 127.0.0.1\n"
    )


def test_a_place_of_nowhere_is_the_example_itself() -> None:
    assert {name: places.move(text, 0) for name, text in EXAMPLE.items()} == EXAMPLE


def test_no_two_listeners_of_one_place_meet() -> None:
    sockets = workloads.read(EXAMPLE, workloads.ProxyPorts()).sockets

    assert len(set(sockets)) == len(sockets)
