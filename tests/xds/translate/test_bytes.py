"""Connections of which no request is read: where they go, how long they last, what they say of themselves."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mesh.proxies import Interception
from mesh.services import Protocol
from mesh.views import (
    Forwarding,
    HostView,
    HttpListener,
    MutualTls,
    OutboundListener,
    Passthrough,
    TcpListener,
)
from tests.support.byte_servers import BANNER, a_greeter, an_echo
from tests.support.envoys import needs_envoy, running
from tests.support.served import Callers, free_port, served
from tests.support.views import (
    SETTINGS,
    a_cluster,
    a_port,
    a_service,
    a_table,
    an_endpoint,
    an_endpoints_view,
    an_inbound_port,
    an_inbound_view,
    an_outbound_view,
)
from xds import envoy, translate
from xds.memo import Memo
from xds.resources import Resource
from xds.translate import Resources, listeners
from xds.translate.inbound import bound_listeners, inbound_listeners

CLUSTER = "outbound|9080||reviews.bookinfo.svc.cluster.local"
CALLED, ANSWERS = "127.0.7.8", "127.0.7.9"
TO = Forwarding(cluster=CLUSTER)


def a_tcp_listener(port: int = 9080, to: Forwarding = TO) -> TcpListener:
    return TcpListener(address=CALLED, prefix_length=None, port=port, to=to, is_bound=True)


def a_sniffing_listener(port: int = 9080, to: Forwarding | None = TO, address: str = CALLED) -> HttpListener:
    return HttpListener(
        address=address, port=port, routes="9080", is_bound=True, is_sniffing=True, otherwise=to
    )


def literal(*members: OutboundListener) -> dict[str, Any]:
    (made,) = listeners.outbound_listeners(an_outbound_view(listeners=members), Memo())
    return envoy.as_dict(made.message)


def filters(chain: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"].rpartition(".")[2]: one["typed_config"] for one in chain["filters"]}


def test_how_long_a_connection_lasts_is_its_traffic_policys() -> None:
    to = replace(TO, idle_timeout=timedelta(minutes=5), max_duration=timedelta(hours=2), by_source=True)
    proxy = filters(literal(a_tcp_listener(to=to))["filter_chains"][0])["tcp_proxy"]
    assert (proxy["idle_timeout"], proxy["max_downstream_connection_duration"]) == ("300s", "7200s")
    assert proxy["hash_policy"] == [{"source_ip": {}}]
    assert filters(literal(a_sniffing_listener(to=to))["default_filter_chain"])["tcp_proxy"] == proxy


def test_what_nobody_said_is_left_to_envoy() -> None:
    (found,) = filters(literal(a_tcp_listener())["filter_chains"][0]).values()
    assert found.keys() == {"@type", "stat_prefix", "cluster"}


def test_bytes_on_a_port_of_unknown_protocol_say_what_they_are() -> None:
    """Before they are forwarded, and for their own connection to the server alone."""
    found = filters(literal(a_tcp_listener(to=replace(TO, says_bytes=True)))["filter_chains"][0])
    assert list(found) == ["set_filter_state", "tcp_proxy"]
    assert found["set_filter_state"]["on_new_connection"] == [
        {
            "object_key": "envoy.network.application_protocols",
            "format_string": {"text_format_source": {"inline_string": "istio"}},
            "shared_with_upstream": "ONCE",
        }
    ]


@contextlib.contextmanager
def a_mesh(
    folder: Path, listener: OutboundListener, target: int, mode: MutualTls = MutualTls.STRICT
) -> Iterator[None]:
    """A caller's proxy with ``listener``, and the proxy of a port of unknown protocol."""
    callers, memo = Callers(folder), Memo()
    (client := folder / "client").mkdir()
    (server := folder / "server").mkdir()
    workload = an_inbound_view(an_inbound_port(target, Protocol.UNKNOWN, mutual_tls=mode))
    host = HostView(inbound=workload, address=ANSWERS, http_proxy_port=0, passthrough=Passthrough.ALLOW_ANY)
    trust = translate.trust_resources(callers.roots, memo)
    undeclared = a_service("reviews", a_port(9080, Protocol.UNKNOWN))
    called = an_outbound_view(
        a_cluster(service=undeclared, auto_mutual_tls=True), tables=(a_table(),), listeners=(listener,)
    )
    reached = an_endpoint(ANSWERS, target, mutual_tls=True)
    of_client = (
        translate.outbound_resources(called, memo),
        translate.endpoint_resources(an_endpoints_view(**{CLUSTER: (reached,)}), memo),
        trust,
    )
    of_server = translate.inbound_resources(workload, memo), translate.host_resources(host, memo), trust
    with (
        running(served(_all(of_server), server, callers.pair("reviews")), server),
        running(served(_all(of_client), client, callers.pair("productpage")), client),
    ):
        yield


def _all(facets: tuple[Resources, ...]) -> list[Resource]:
    return [one for facet in facets for made in facet.values() for one in made]


def said(connection: socket.socket, *, of: int = 64) -> bytes:
    """What arrives next; nothing when the connection is ended."""
    try:
        return connection.recv(of)
    except ConnectionResetError:
        return b""


@needs_envoy
@pytest.mark.parametrize("make", [a_tcp_listener, a_sniffing_listener])
def test_bytes_of_an_unknown_protocol_cross_mutual_tls_as_bytes(make: Any, tmp_path: Path) -> None:
    port, to = free_port(CALLED), replace(TO, says_bytes=True)
    with (
        an_echo() as target,
        a_mesh(tmp_path, make(port, to), target),
        socket.create_connection((CALLED, port), timeout=10) as caller,
    ):
        caller.sendall(b"\x00\x01raw")
        assert said(caller) == b"\x00\x01raw"


@needs_envoy
def test_a_connection_on_which_nothing_happens_is_ended(tmp_path: Path) -> None:
    port, to = free_port(CALLED), replace(TO, says_bytes=True, idle_timeout=timedelta(milliseconds=300))
    with (
        an_echo() as target,
        a_mesh(tmp_path, a_tcp_listener(port, to), target),
        socket.create_connection((CALLED, port), timeout=10) as caller,
    ):
        caller.sendall(b"hello")
        assert said(caller) == b"hello"
        assert said(caller) == b""


def patience(listener: Resource) -> str:
    return str(envoy.as_dict(listener.message)["listener_filters_timeout"])


@pytest.mark.parametrize(
    ("mode", "protocol", "expected"),
    [
        (MutualTls.PERMISSIVE, Protocol.UNKNOWN, "5s"),
        (MutualTls.PERMISSIVE, Protocol.TCP, "5s"),
        (MutualTls.DISABLE, Protocol.UNKNOWN, "5s"),
        (MutualTls.PERMISSIVE, Protocol.HTTP, "0s"),
        (MutualTls.STRICT, Protocol.UNKNOWN, "0s"),
    ],
)
def test_where_plain_bytes_are_welcome_a_silent_client_is_not_waited_for_for_ever(
    mode: MutualTls, protocol: Protocol, expected: str
) -> None:
    """The server may be the one that speaks first."""
    workload = an_inbound_view(an_inbound_port(9080, protocol, mutual_tls=mode), mutual_tls=MutualTls.STRICT)
    host = HostView(inbound=workload, address=ANSWERS, http_proxy_port=0, passthrough=Passthrough.ALLOW_ANY)
    captured = replace(workload, interception=Interception.REDIRECT)
    (bound,), (everything,) = bound_listeners(host, Memo()), inbound_listeners(captured, Memo())
    assert patience(bound) == patience(everything) == expected


def test_a_mesh_that_says_how_long_to_wait_is_obeyed() -> None:
    settings = replace(SETTINGS, protocol_detection_timeout=timedelta(seconds=1))
    port = an_inbound_port(9080, Protocol.UNKNOWN, mutual_tls=MutualTls.PERMISSIVE)
    captured = an_inbound_view(port, interception=Interception.REDIRECT, settings=settings)
    (listener,) = inbound_listeners(captured, Memo())
    assert patience(listener) == "1s"


def test_a_silent_caller_goes_on_only_where_requests_would_go_as_well() -> None:
    """At an address that several services share, its bytes might be a request for another."""
    own, shared = a_sniffing_listener(), a_sniffing_listener(address="0.0.0.0")
    assert [literal(one)["listener_filters_timeout"] for one in (own, shared)] == ["5s", "0s"]


@needs_envoy
def test_a_server_that_speaks_first_is_heard_on_a_port_of_unknown_protocol(tmp_path: Path) -> None:
    port, to = free_port(CALLED), replace(TO, says_bytes=True)
    with (
        a_greeter() as target,
        a_mesh(tmp_path, a_sniffing_listener(port, to), target, MutualTls.PERMISSIVE),
        socket.create_connection((CALLED, port), timeout=15) as caller,
        socket.create_connection((ANSWERS, target), timeout=15) as plain,
    ):
        assert said(caller) == said(plain) == BANNER
