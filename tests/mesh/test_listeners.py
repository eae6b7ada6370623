from __future__ import annotations

from typing import Any

import pytest

from mesh.interning import Recall
from mesh.listeners import Listeners, listeners
from mesh.services import Port, Protocol, Service
from mesh.views import Forwarding, HttpListener, OutboundListener, TcpListener
from tests.support.views import a_port, a_service

HTTP, TCP, SNIFFED = Protocol.HTTP, Protocol.TCP, Protocol.UNKNOWN


def bound(*services: Service, is_explicit: bool = False) -> list[tuple[Any, ...]]:
    """Kind, address, port and what is behind each listener."""
    return [said(listener) for listener in of(services, is_explicit)]


def of(services: tuple[Service, ...], is_explicit: bool) -> Listeners:
    """Where nobody wrote a DestinationRule."""
    return listeners(services, {service.host: None for service in services}, is_explicit, Recall())


def said(listener: OutboundListener) -> tuple[Any, ...]:
    match listener:
        case HttpListener(otherwise=Forwarding() as otherwise):
            return "sniffed", listener.address, listener.port, listener.routes, otherwise.cluster
        case HttpListener():
            return "http", listener.address, listener.port, listener.routes
        case TcpListener():
            return "tcp", listener.address, listener.prefix_length, listener.port, listener.to.cluster


def a(name: str, protocol: Protocol, *addresses: str, port: int = 9080) -> Service:
    return a_service(name, a_port(port, protocol), addresses=addresses)


def cluster(name: str, port: int = 9080) -> str:
    return f"outbound|{port}||{name}.bookinfo.svc.cluster.local"


def test_all_http_of_one_port_shares_a_listener_whatever_its_addresses() -> None:
    found = bound(a("a", HTTP), a("b", HTTP, "240.0.0.1"), a("c", HTTP, port=80))

    assert found == [("http", "0.0.0.0", 80, "80"), ("http", "0.0.0.0", 9080, "9080")]


def test_tcp_is_told_by_address_and_blocks_by_their_length() -> None:
    found = bound(a("a", TCP, "240.0.0.1"), a("b", TCP, "10.0.0.0/8"), a("c", TCP, "10.0.0.0/16"))

    assert found == [
        ("tcp", "10.0.0.0", 8, 9080, cluster("b")),
        ("tcp", "10.0.0.0", 16, 9080, cluster("c")),
        ("tcp", "240.0.0.1", None, 9080, cluster("a")),
    ]


def test_of_two_without_an_address_the_first_keeps_the_port() -> None:
    assert bound(a("a", TCP), a("b", TCP)) == [("tcp", "0.0.0.0", None, 9080, cluster("a"))]


@pytest.mark.parametrize("is_http_first", [True, False])
def test_where_http_and_bytes_meet_on_a_wildcard_the_listener_looks(is_http_first: bool) -> None:
    both = [a("a", HTTP), a("b", TCP)]
    found = bound(*(both if is_http_first else reversed(both)))

    assert found == [("sniffed", "0.0.0.0", 9080, "9080", cluster("b"))]


def test_bytes_with_an_address_of_their_own_do_not_disturb_http() -> None:
    found = bound(a("a", HTTP), a("b", TCP, "240.0.0.1"))

    assert [one[0] for one in found] == ["http", "tcp"]


def test_an_unknown_protocol_is_looked_at_by_address_if_there_is_one() -> None:
    found = bound(a("a", SNIFFED, "240.0.0.1"), a("b", SNIFFED, port=80))

    assert found == [
        ("sniffed", "0.0.0.0", 80, "80", cluster("b", 80)),
        ("sniffed", "240.0.0.1", 9080, "a.bookinfo.svc.cluster.local:9080", cluster("a")),
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_a_listener_that_must_look_for_one_service_looks_for_all(order: int) -> None:
    assert bound(*[a("a", HTTP), a("b", SNIFFED)][::order]) == [
        ("sniffed", "0.0.0.0", 9080, "9080", cluster("b"))
    ]


def test_without_capture_only_loopback_addresses_are_bound() -> None:
    services = (a("a", HTTP, "127.0.0.9"), a("b", TCP, "::1"), a("c", TCP, "240.0.0.1"), a("d", HTTP))

    assert bound(*services, is_explicit=True) == [
        ("http", "127.0.0.9", 9080, "9080"),
        ("tcp", "::1", None, 9080, cluster("b")),
    ]
    assert all(listener.is_bound for listener in of(services, True))
    assert not any(listener.is_bound for listener in of(services, False))


def test_without_capture_too_a_port_of_unknown_protocol_is_looked_at() -> None:
    (listener,) = of((a("a", SNIFFED, "127.0.0.9"),), True)

    assert said(listener) == ("sniffed", "127.0.0.9", 9080, "a.bookinfo.svc.cluster.local:9080", cluster("a"))
    assert listener.is_bound


def test_udp_is_passed_over() -> None:
    udp = Port(number=53, name="dns", protocol=Protocol.UDP, target=53)

    for is_explicit in (True, False):
        assert of((a_service("dns", udp, addresses=("127.0.0.9",)),), is_explicit) == ()


@pytest.mark.parametrize("port", [15001, 15006, 15090])
def test_no_service_takes_a_port_of_the_proxy_itself(port: int) -> None:
    """Envoy would refuse its own listener beside it: a proxy that starts would take no connection in."""
    found = bound(a("a", TCP, port=port), a("b", HTTP, port=port), a("c", TCP, "240.0.0.1", port=port))

    assert found == [("tcp", "240.0.0.1", None, port, cluster("c", port))]
