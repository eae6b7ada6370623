"""What each port of a workload demands, as filter chains. What callers see: ``test_callers.py``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.kinds.destination_rule import ConnectionPoolSettings
from mesh.names import ObjectKey
from mesh.proxies import Interception
from mesh.services import Protocol
from mesh.views import AccessLog, Authorization, HostView, InboundPort, InboundView, MutualTls, Passthrough
from tests.support.authorization import a_policy, a_rule
from tests.support.envoys import needs_envoy, refusal
from tests.support.views import SETTINGS, an_inbound_port, an_inbound_view
from xds import envoy
from xds.memo import Memo
from xds.resources import Resource
from xds.translate.inbound import bound_listeners, inbound_listeners

ISTIO_HTTP = ["istio-http/1.0", "istio-http/1.1", "istio-h2"]
ISTIO = ["istio-peer-exchange", "istio", *ISTIO_HTTP]
PLAIN = ["http/1.1", "h2c"]


def captured(*ports: InboundPort, **fields: Any) -> InboundView:
    return replace(an_inbound_view(*ports), **{"interception": Interception.REDIRECT, **fields})


def virtual_inbound(view: InboundView) -> Resource:
    (listener,) = inbound_listeners(view, Memo())
    return listener


def bound(*ports: InboundPort, **fields: Any) -> list[Resource]:
    view = HostView(
        inbound=an_inbound_view(*ports, **fields),
        address="10.0.0.7",
        http_proxy_port=0,
        passthrough=Passthrough.ALLOW_ANY,
    )
    return list(bound_listeners(view, Memo()))


def literal(resource: Resource) -> dict[str, Any]:
    return envoy.as_dict(resource.message)


def shape(chain: dict[str, Any]) -> tuple[str, list[str], str, bool]:
    """What a chain takes, how it reads it, and whether it ends mutual TLS."""
    match = chain.get("filter_chain_match", {})
    reads = chain["filters"][-1]["name"].rpartition(".")[2]
    return (
        match.get("transport_protocol", ""),
        match.get("application_protocols", []),
        {"http_connection_manager": "http", "tcp_proxy": "tcp"}[reads],
        "transport_socket" in chain,
    )


@pytest.mark.parametrize(
    ("mode", "protocol", "shapes"),
    [
        (MutualTls.STRICT, Protocol.HTTP, [("tls", [], "http", True)]),
        (MutualTls.STRICT, Protocol.GRPC, [("tls", [], "http", True)]),
        (MutualTls.STRICT, Protocol.TCP, [("tls", [], "tcp", True)]),
        (MutualTls.STRICT, Protocol.UNKNOWN, [("tls", ISTIO_HTTP, "http", True), ("tls", [], "tcp", True)]),
        (
            MutualTls.PERMISSIVE,
            Protocol.HTTP,
            [("tls", ISTIO, "http", True), ("raw_buffer", [], "http", False)],
        ),
        (MutualTls.PERMISSIVE, Protocol.HTTPS, [("tls", ISTIO, "tcp", True), ("", [], "tcp", False)]),
        (
            MutualTls.PERMISSIVE,
            Protocol.UNKNOWN,
            [
                ("tls", ISTIO_HTTP, "http", True),
                ("raw_buffer", PLAIN, "http", False),
                ("tls", ["istio-peer-exchange", "istio"], "tcp", True),
                ("raw_buffer", [], "tcp", False),
                ("tls", [], "tcp", False),
            ],
        ),
        (MutualTls.DISABLE, Protocol.HTTP, [("", [], "http", False)]),
        (MutualTls.DISABLE, Protocol.TCP, [("", [], "tcp", False)]),
        (
            MutualTls.DISABLE,
            Protocol.UNKNOWN,
            [("raw_buffer", PLAIN, "http", False), ("", [], "tcp", False)],
        ),
    ],
)
def test_a_port_takes_what_its_mode_and_protocol_say(
    mode: MutualTls, protocol: Protocol, shapes: list[tuple[str, list[str], str, bool]]
) -> None:
    (listener,) = bound(an_inbound_port(9080, protocol, mutual_tls=mode))
    assert [shape(chain) for chain in literal(listener)["filter_chains"]] == shapes


@pytest.mark.parametrize(
    ("mode", "protocol", "looks"),
    [
        (MutualTls.DISABLE, Protocol.TCP, []),
        (MutualTls.STRICT, Protocol.TCP, ["tls_inspector"]),
        (MutualTls.STRICT, Protocol.UNKNOWN, ["tls_inspector"]),
        (MutualTls.DISABLE, Protocol.UNKNOWN, ["tls_inspector", "http_inspector"]),
    ],
)
def test_first_bytes_are_waited_for_only_where_something_depends_on_them(
    mode: MutualTls, protocol: Protocol, looks: list[str]
) -> None:
    (listener,) = bound(an_inbound_port(9080, protocol, mutual_tls=mode))
    found = [one["name"].rpartition(".")[2] for one in literal(listener).get("listener_filters", [])]
    assert found == looks


def test_without_capture_each_port_is_bound_at_the_machines_address() -> None:
    listeners = bound(an_inbound_port(9080), an_inbound_port(9090), an_inbound_port(53, Protocol.UDP))
    assert [one.name for one in listeners] == ["10.0.0.7_9080", "10.0.0.7_9090"]
    for listener in listeners:
        assert literal(listener)["enable_reuse_port"] is False
    assert list(inbound_listeners(an_inbound_view(), Memo())) == []


def test_under_capture_all_ports_are_chains_of_one_listener_without_any_address() -> None:
    view = captured(an_inbound_port(9080), an_inbound_port(9090))
    listener = literal(virtual_inbound(view))
    ports = [chain["filter_chain_match"].get("destination_port") for chain in listener["filter_chains"]]
    assert listener["address"] == {"socket_address": {"address": "0.0.0.0", "port_value": 15006}}
    assert [port for port in ports if port] == [15006, 9080, 9090]
    assert [one["name"].rpartition(".")[2] for one in listener["listener_filters"]] == [
        "original_dst",
        "tls_inspector",
        "http_inspector",
    ]
    host = HostView(inbound=view, address="10.0.0.7", http_proxy_port=0, passthrough=Passthrough.ALLOW_ANY)
    assert list(bound_listeners(host, Memo())) == []


def test_undeclared_ports_pass_under_the_workloads_own_mode() -> None:
    view = captured(an_inbound_port(), mutual_tls=MutualTls.PERMISSIVE)
    chains = [
        chain
        for chain in literal(virtual_inbound(view))["filter_chains"]
        if chain["name"].startswith("virtual")
    ]
    assert [shape(chain)[2:] for chain in chains] == [
        ("tcp", False),
        ("http", True),
        ("http", False),
        ("tcp", True),
        ("tcp", False),
        ("tcp", False),
    ]
    assert chains[0]["filters"][0]["typed_config"]["cluster"] == "BlackHoleCluster"
    assert chains[-1]["filters"][0]["typed_config"]["cluster"] == "InboundPassthroughCluster"


def test_under_capture_ports_that_need_no_look_are_left_alone() -> None:
    view = captured(
        an_inbound_port(25, Protocol.TCP, mutual_tls=MutualTls.DISABLE),
        an_inbound_port(80, Protocol.TCP, mutual_tls=MutualTls.PERMISSIVE),
    )
    _, tls, http = literal(virtual_inbound(view))["listener_filters"]
    assert tls["filter_disabled"] == {"destination_port_range": {"start": 25, "end": 26}}
    assert http["filter_disabled"] == {
        "or_match": {
            "rules": [
                {"destination_port_range": {"start": 25, "end": 26}},
                {"destination_port_range": {"start": 80, "end": 81}},
            ]
        }
    }


def test_tproxy_keeps_the_callers_address() -> None:
    listener = literal(virtual_inbound(captured(interception=Interception.TPROXY)))
    assert listener["transparent"] is True
    assert listener["listener_filters"][1]["typed_config"]["mark"] == 1337


def test_requests_go_to_the_ports_own_cluster_by_one_route_inline() -> None:
    (listener,) = bound(an_inbound_port(8080, port=replace(an_inbound_port(80).port, target=8080)))
    manager = literal(listener)["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    (route,) = host["routes"]
    assert (listener.needs, manager["route_config"]["name"]) == ((), "inbound|8080||")
    assert (host["name"], route["name"], route["route"]["cluster"]) == (
        "inbound|http|80",
        "default",
        "inbound|8080||",
    )
    assert route["route"]["timeout"] == "0s"
    assert manager["forward_client_cert_details"] == "APPEND_FORWARD"


def test_mutual_tls_takes_certificates_of_this_trust_domain_under_all_its_names() -> None:
    settings = replace(SETTINGS, trust_domain="new", trust_domain_aliases=("old", "new"))
    (listener,) = bound(settings=settings)
    context = literal(listener)["filter_chains"][0]["transport_socket"]["typed_config"]
    common = context["common_tls_context"]
    validation = common["combined_validation_context"]
    assert context["require_client_certificate"] is True
    assert [
        (one["san_type"], one["matcher"])
        for one in validation["default_validation_context"]["match_typed_subject_alt_names"]
    ] == [("URI", {"prefix": "spiffe://new/"}), ("URI", {"prefix": "spiffe://old/"})]
    assert validation["validation_context_sds_secret_config"]["name"] == "ROOTCA"
    assert common["tls_certificate_sds_secret_configs"][0]["name"] == "default"
    assert common["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_2"
    assert common["alpn_protocols"] == ["h2", "http/1.1"]


def test_idle_connections_end_when_the_destination_rule_says_so() -> None:
    pool = ConnectionPoolSettings.model_validate(
        {"http": {"idleTimeout": "9s"}, "tcp": {"idleTimeout": "5s"}}
    )
    http, tcp = (
        literal(one)["filter_chains"][0]["filters"][0]["typed_config"]
        for one in bound(an_inbound_port(80, pool=pool), an_inbound_port(90, Protocol.TCP, pool=pool))
    )
    assert http["common_http_protocol_options"] == {"idle_timeout": "9s"}
    assert tcp["idle_timeout"] == "5s"


def test_policies_stand_before_everything_and_are_named_as_sources() -> None:
    deny = a_policy(a_rule(paths=["/admin"]), name="no")
    of_port = ObjectKey("ServiceEntry", "bookinfo", "reviews")
    ports = (an_inbound_port(80, sources=(of_port,)), an_inbound_port(90, Protocol.TCP))
    http, tcp = bound(*ports, authorization=Authorization(deny=(deny,)))
    manager = literal(http)["filter_chains"][0]["filters"][0]["typed_config"]
    assert [one["name"] for one in manager["http_filters"]] == [
        "envoy.filters.http.rbac",
        "envoy.filters.http.router",
    ]
    assert [one["name"] for one in literal(tcp)["filter_chains"][0]["filters"]] == [
        "envoy.filters.network.rbac",
        "envoy.filters.network.tcp_proxy",
    ]
    assert http.sources == (of_port, deny.key)


def test_a_port_is_made_again_only_when_it_changed() -> None:
    memo, kept, view = Memo(), an_inbound_port(80), an_inbound_view()
    for changing in (an_inbound_port(90), an_inbound_port(91)):
        host = HostView(
            inbound=replace(view, ports=(kept, changing)),
            address="10.0.0.7",
            http_proxy_port=0,
            passthrough=Passthrough.ALLOW_ANY,
        )
        list(bound_listeners(host, memo))
        memo.end_generation()
    assert memo.made == {"bound_listener": 3}


@needs_envoy
@pytest.mark.parametrize("interception", [Interception.REDIRECT, Interception.TPROXY])
def test_envoy_takes_every_mode_and_protocol_under_capture(
    tmp_path: Path, interception: Interception
) -> None:
    protocols = (Protocol.HTTP, Protocol.TCP, Protocol.UNKNOWN)
    ports = tuple(
        an_inbound_port(8000 + 10 * row + column, protocol, mutual_tls=mode)
        for row, mode in enumerate(MutualTls)
        for column, protocol in enumerate(protocols)
    )
    policies = Authorization(
        deny=(a_policy(a_rule(paths=["/a/{*}"], notHosts=["*.x"])),),
        allow=(a_policy(name="nobody"), a_policy(a_rule(ipBlocks=["10.0.0.0/8"], serviceAccounts=["b"]))),
    )
    view = captured(
        *ports,
        interception=interception,
        authorization=policies,
        settings=replace(SETTINGS, access_log=AccessLog(path="/dev/null", json=True)),
    )
    for mode in MutualTls:
        assert refusal([virtual_inbound(replace(view, mutual_tls=mode))], tmp_path) == ""


@needs_envoy
def test_a_port_that_no_service_declares_is_held_to_what_is_demanded_of_it(tmp_path: Path) -> None:
    listener = virtual_inbound(
        captured(mutual_tls=MutualTls.PERMISSIVE, undeclared=((9999, MutualTls.STRICT),))
    )
    chains = [
        chain
        for chain in literal(listener)["filter_chains"]
        if chain.get("filter_chain_match", {}).get("destination_port") == 9999
    ]

    assert [shape(chain) for chain in chains] == [("tls", ISTIO_HTTP, "http", True), ("tls", [], "tcp", True)]
    assert refusal([listener], tmp_path) == ""
