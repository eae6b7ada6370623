"""A demo finds room where others are already."""

from __future__ import annotations

import fcntl
import socket
from errno import EADDRNOTAVAIL
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from mesh.errors import Misconfigured, Unavailable
from reconciler.demo import places, workloads
from reconciler.demo.repository import files

EXAMPLE = files(Path(__file__).parents[2] / "examples" / "bookinfo")


def test_two_demos_at_once_get_different_places() -> None:
    with places.find(EXAMPLE, workloads.read) as one, places.find(EXAMPLE, workloads.read) as two:
        assert not set(one.cast.sockets) & set(two.cast.sockets)


def test_a_place_can_be_taken_again_when_its_demo_is_over() -> None:
    with places.find(EXAMPLE, workloads.read) as place:
        taken = place.cast
    with places.find(EXAMPLE, workloads.read) as place:
        assert place.cast == taken


def test_a_place_is_passed_over_when_someone_listens_there() -> None:
    with places.find(EXAMPLE, workloads.read) as place:
        first = place.cast
    with socket.create_server(first.workloads[1].sockets[-1]), places.find(EXAMPLE, workloads.read) as place:
        assert place.cast != first


def test_a_place_is_found_beside_proxies_of_another_mesh() -> None:
    """Those listen for Prometheus and load balancers on every address."""
    with places.find(EXAMPLE, workloads.read) as place:
        taken = place.cast.workloads[0].proxy_ports.metrics
    with socket.create_server(("", taken)), places.find(EXAMPLE, workloads.read) as place:
        assert place.cast.workloads[0].proxy_ports.metrics != taken


def test_what_is_in_the_way_at_the_first_place_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PLACES", 3)
    monkeypatch.setattr(places, "_claim", lambda _: socket.socket())
    monkeypatch.setattr(places, "is_free", lambda _, port: port != 15090 and port < 15100)
    with pytest.raises(Unavailable) as error:
        places.find(EXAMPLE, workloads.read)

    assert str(error.value) == "none of 3 places on the loopback network is free"
    assert error.value.hint == (
        "end what listens at 127.0.0.1:18080, or on that port of all addresses: ss -ltnp 'sport = :18080'"
    )


def a_machine_with(interfaces: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def ioctl(_: object, number: int, request: bytes) -> bytes:
        text = interfaces[request.rstrip(b"\0").decode()]
        if not text:
            raise OSError(EADDRNOTAVAIL, "no address")
        return bytes(20) + IPv4Address(text).packed + bytes(232)

    monkeypatch.setattr(socket, "if_nameindex", lambda: list(enumerate(interfaces)))
    monkeypatch.setattr(fcntl, "ioctl", ioctl)


def test_an_outward_address_is_one_that_kubernetes_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    a_machine_with({"lo": "127.0.0.1", "off0": "", "eth0": "169.254.1.1", "eth1": "192.0.2.7"}, monkeypatch)

    assert places.outward_address() == "192.0.2.7"


def test_a_machine_without_an_outward_address_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    a_machine_with({"lo": "127.0.0.1"}, monkeypatch)
    with pytest.raises(Misconfigured) as error:
        places.outward_address()

    assert str(error.value) == "this machine has no IPv4 address but those of the loopback network"
    assert error.value.hint == "bring an interface up: Kubernetes takes no loopback address for an endpoint"


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
