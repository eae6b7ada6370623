"""How a gateway's listener looks that passes mutual TLS on unopened."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from mesh.names import ObjectKey
from mesh.views import Cluster, Forwarding, GatewayView, PassingServer
from tests.support.views import SETTINGS, a_cluster
from tests.xds.translate.test_gateways import a_server
from xds import envoy
from xds.memo import Memo
from xds.resources import Resource
from xds.translate.clusters import outbound
from xds.translate.gateways import gateway_listeners

EASTWEST = ObjectKey("Gateway", "istio-system", "eastwest")


def passed(subset: str = "", **fields: Any) -> tuple[Cluster, Forwarding]:
    cluster = replace(a_cluster(subset=subset), is_passed_on=True, auto_mutual_tls=True, accounts=())
    return cluster, replace(Forwarding(cluster=cluster.name), **fields)


def a_door(*passes: tuple[Cluster, Forwarding], **fields: Any) -> PassingServer:
    return replace(PassingServer(port=15443, bind="", source=EASTWEST, passes=passes), **fields)


def made(*doors: PassingServer, memo: Memo | None = None, **fields: Any) -> dict[str, Resource]:
    view = replace(GatewayView(settings=SETTINGS, servers=(), tables=(), passing=doors), **fields)
    return {one.name: one for one in gateway_listeners(view, memo if memo is not None else Memo())}


def test_each_cluster_is_a_chain_by_the_name_asked_for_that_ends_no_tls() -> None:
    (listener,) = made(a_door(passed(), passed("V2", idle_timeout=timedelta(seconds=7)))).values()
    literal = envoy.as_dict(listener.message)

    assert [chain["filter_chain_match"]["server_names"] for chain in literal["filter_chains"]] == [
        ["outbound_.9080_._.reviews.bookinfo.svc.cluster.local"],
        ["outbound_.9080_.v2_.reviews.bookinfo.svc.cluster.local"],
    ]
    assert [chain["filters"][0]["typed_config"]["cluster"] for chain in literal["filter_chains"]] == [
        "outbound_.9080_._.reviews.bookinfo.svc.cluster.local",
        "outbound_.9080_.V2_.reviews.bookinfo.svc.cluster.local",
    ]
    assert literal["filter_chains"][1]["filters"][0]["typed_config"]["idle_timeout"] == "7s"
    for chain in literal["filter_chains"]:
        assert "transport_socket" not in chain
        assert chain["filter_chain_match"]["application_protocols"] == [
            "istio-peer-exchange",
            "istio",
            "istio-http/1.0",
            "istio-http/1.1",
            "istio-h2",
        ]
    assert [one["name"] for one in literal["listener_filters"]] == ["envoy.filters.listener.tls_inspector"]
    assert listener.sources == (EASTWEST,)
    assert listener.needs == ()


def test_it_may_share_its_port_with_servers_that_end_tls() -> None:
    (listener,) = made(a_door(passed(), port=443), servers=(a_server(443, "HTTPS", "a.example"),)).values()
    literal = envoy.as_dict(listener.message)

    assert [chain["filter_chain_match"]["server_names"] for chain in literal["filter_chains"]] == [
        ["a.example"],
        ["outbound_.9080_._.reviews.bookinfo.svc.cluster.local"],
    ]
    assert len(listener.sources) == 2


def test_a_server_with_nothing_to_pass_on_is_no_listener() -> None:
    """Envoy refuses a listener without filter chains."""
    assert made(a_door()) == {}


def test_of_many_chains_only_a_new_one_is_made() -> None:
    memo, here, there = Memo(), passed("v1"), passed("v2")
    made(a_door(here, there), memo=memo)

    made(a_door(here, there, passed("v3")), memo=memo)

    assert memo.made["passing_chain"] == 3


def test_its_clusters_speak_no_tls_of_their_own() -> None:
    """Of the policy holds what is about connections, nothing that is about what is inside."""
    cluster, _ = passed("v1")
    policy = {
        "connectionPool": {"tcp": {"maxConnections": 5}, "http": {"maxRequestsPerConnection": 1}},
        "outlierDetection": {"consecutive5xxErrors": 3},
        "tls": {"mode": "ISTIO_MUTUAL"},
    }
    resource = outbound(replace(cluster, policy=a_cluster(policy=policy).policy), SETTINGS)
    literal = envoy.as_dict(resource.message)

    assert resource.name == resource.needs[0] == "outbound_.9080_.v1_.reviews.bookinfo.svc.cluster.local"
    assert literal["circuit_breakers"]["thresholds"][0]["max_connections"] == 5
    assert literal["outlier_detection"]["consecutive_5xx"] == 3
    assert {"transport_socket", "transport_socket_matches", "typed_extension_protocol_options"}.isdisjoint(
        literal
    )
