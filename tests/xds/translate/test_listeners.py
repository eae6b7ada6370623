"""Which outbound listeners exist, and where each of them sends what."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from mesh.names import ObjectKey
from mesh.proxies import Interception
from mesh.views import AccessLog, Forwarding, HostView, HttpListener, OutboundView, Passthrough, TcpListener
from tests.support.envoys import needs_envoy, refusal
from tests.support.views import SETTINGS, an_inbound_view, an_outbound_view
from xds import envoy
from xds.memo import Memo
from xds.resources import Resource
from xds.translate import listeners

MONGO = "outbound|27017||mongo.bookinfo.svc.cluster.local"


def an_http_listener(**fields: Any) -> HttpListener:
    return replace(HttpListener(address="0.0.0.0", port=9080, routes="9080", is_bound=False), **fields)


def a_tcp_listener(**fields: Any) -> TcpListener:
    """``cluster`` and what else belongs to its forwarding may be given as if it were the listener's."""
    of_to = {field.name for field in dataclasses.fields(Forwarding)} & fields.keys()
    to = replace(Forwarding(cluster=MONGO), **{name: fields.pop(name) for name in of_to})
    made = TcpListener(address="240.0.0.1", prefix_length=None, port=27017, to=to, is_bound=False)
    return replace(made, **fields)


def captured(*members: HttpListener | TcpListener, **fields: Any) -> OutboundView:
    return replace(
        an_outbound_view(), **{"interception": Interception.REDIRECT, "listeners": members, **fields}
    )


def bound(*members: HttpListener | TcpListener, **fields: Any) -> OutboundView:
    return replace(captured(*members, **fields), interception=Interception.NONE)


def made(view: OutboundView) -> dict[str, Resource]:
    return {one.name: one for one in listeners.outbound_listeners(view, Memo())}


def literals(view: OutboundView) -> dict[str, Any]:
    return {name: envoy.as_dict(one.message) for name, one in made(view).items()}


def leads_to(chain: dict[str, Any]) -> str:
    """The cluster or route table at the end of a filter chain."""
    config = chain["filters"][-1]["typed_config"]
    return str(config["cluster"] if "cluster" in config else config["rds"]["route_config_name"])


def test_capture_takes_everything_at_one_port_and_hands_it_on() -> None:
    listener = literals(captured())["virtualOutbound"]
    assert listener["address"] == {"socket_address": {"address": "0.0.0.0", "port_value": 15001}}
    assert listener["use_original_dst"] is True
    assert listener["enable_reuse_port"] is False
    assert "transparent" not in listener


def test_what_nobody_declared_goes_on_or_ends_and_the_port_itself_never_loops() -> None:
    for passthrough, cluster in (
        (Passthrough.ALLOW_ANY, "PassthroughCluster"),
        (Passthrough.REGISTRY_ONLY, "BlackHoleCluster"),
    ):
        loop, rest = literals(captured(passthrough=passthrough))["virtualOutbound"]["filter_chains"]
        assert (leads_to(loop), loop["filter_chain_match"]) == (
            "BlackHoleCluster",
            {"destination_port": 15001},
        )
        assert (leads_to(rest), "filter_chain_match" in rest) == (cluster, False)


def test_tproxy_makes_the_capturing_listener_transparent() -> None:
    assert literals(captured(interception=Interception.TPROXY))["virtualOutbound"]["transparent"] is True


def test_a_captured_http_port_is_one_unbound_listener_and_what_is_not_http_goes_on() -> None:
    listener = literals(captured(an_http_listener()))["0.0.0.0_9080"]
    (requests,) = listener["filter_chains"]
    assert listener["bind_to_port"] is False
    assert leads_to(requests) == "9080"
    assert requests["filter_chain_match"] == {
        "transport_protocol": "raw_buffer",
        "application_protocols": ["http/1.1", "h2c"],
    }
    assert leads_to(listener["default_filter_chain"]) == "PassthroughCluster"
    assert [one["name"] for one in listener["listener_filters"]] == [
        "envoy.filters.listener.tls_inspector",
        "envoy.filters.listener.http_inspector",
    ]


def test_a_client_that_waits_for_the_server_is_waited_for_as_long_as_the_mesh_says() -> None:
    settings = replace(SETTINGS, protocol_detection_timeout=timedelta(milliseconds=100))
    for view, patience in (
        (captured(an_http_listener()), "0s"),
        (captured(an_http_listener(), settings=settings), "0.100s"),
    ):
        listener = literals(view)["0.0.0.0_9080"]
        assert listener["listener_filters_timeout"] == patience
        assert listener["continue_on_listener_filters_timeout"] is True


def test_a_port_of_unknown_protocol_falls_back_to_its_own_service() -> None:
    sniffing = an_http_listener(address="240.0.0.2", is_sniffing=True, otherwise=Forwarding(cluster=MONGO))
    listener = literals(captured(sniffing))["240.0.0.2_9080"]
    assert leads_to(listener["default_filter_chain"]) == MONGO


def test_a_tcp_service_has_a_listener_at_its_own_address_and_its_object_as_source() -> None:
    source = ObjectKey("ServiceEntry", "bookinfo", "mongo")
    listener = made(captured(a_tcp_listener(sources=(source,))))["240.0.0.1_27017"]
    (chain,) = envoy.as_dict(listener.message)["filter_chains"]
    assert (leads_to(chain), listener.sources) == (MONGO, (source,))


def test_blocks_of_addresses_on_one_port_share_the_wildcard_listener_with_its_requests() -> None:
    """A CIDR cannot be bound: it is matched where its connections arrive."""
    first = a_tcp_listener(address="10.0.0.0", prefix_length=8, port=9080)
    second = a_tcp_listener(address="192.168.0.0", prefix_length=16, port=9080, cluster="other")
    view = captured(first, an_http_listener(), second)
    listener = literals(view)["0.0.0.0_9080"]
    found = [
        (chain["filter_chain_match"].get("prefix_ranges"), leads_to(chain))
        for chain in listener["filter_chains"]
    ]
    assert found == [
        ([{"address_prefix": "10.0.0.0", "prefix_len": 8}], MONGO),
        (None, "9080"),
        ([{"address_prefix": "192.168.0.0", "prefix_len": 16}], "other"),
    ]


def test_a_block_alone_lets_other_addresses_of_its_port_pass() -> None:
    listener = literals(captured(a_tcp_listener(address="10.0.0.0", prefix_length=8)))["0.0.0.0_27017"]
    assert leads_to(listener["default_filter_chain"]) == "PassthroughCluster"


def test_without_capture_only_bound_listeners_exist_and_they_read_what_they_are_told() -> None:
    view = bound(an_http_listener(), an_http_listener(address="127.0.9.1", is_bound=True), a_tcp_listener())
    (name,) = made(view)
    listener = literals(view)[name]
    assert name == "127.0.9.1_9080"
    assert (listener["enable_reuse_port"], "bind_to_port" in listener) == (False, False)
    assert [("filter_chain_match" in chain, leads_to(chain)) for chain in listener["filter_chains"]] == [
        (False, "9080")
    ]
    assert "listener_filters" not in listener


def test_a_listener_names_the_table_it_needs() -> None:
    found = made(captured(an_http_listener()))
    assert found["0.0.0.0_9080"].needs == ("9080",)
    assert found["virtualOutbound"].needs == ()


def test_the_http_proxy_is_on_loopback_at_the_machines_port_or_absent() -> None:
    view = HostView(
        inbound=an_inbound_view(),
        address="10.0.0.1",
        http_proxy_port=15002,
        passthrough=Passthrough.ALLOW_ANY,
    )
    (listener,) = listeners.http_proxy_listener(view, Memo())
    literal = envoy.as_dict(listener.message)
    manager = literal["filter_chains"][0]["filters"][0]["typed_config"]
    assert (listener.name, listener.needs) == ("127.0.0.1_15002", ("http_proxy",))
    assert literal["address"] == {"socket_address": {"address": "127.0.0.1", "port_value": 15002}}
    assert manager["http_protocol_options"] == {"allow_absolute_url": True}
    assert list(listeners.http_proxy_listener(replace(view, http_proxy_port=0), Memo())) == []


def test_how_paths_are_made_one_follows_the_mesh() -> None:
    for how, fields in (
        ("BASE", {"normalize_path": True}),
        ("NONE", {"normalize_path": False}),
        ("MERGE_SLASHES", {"normalize_path": True, "merge_slashes": True}),
        (
            "DECODE_AND_MERGE_SLASHES",
            {
                "normalize_path": True,
                "merge_slashes": True,
                "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
            },
        ),
    ):
        view = bound(an_http_listener(is_bound=True), settings=replace(SETTINGS, path_normalization=how))
        manager = literals(view)["0.0.0.0_9080"]["filter_chains"][0]["filters"][0]["typed_config"]
        asked = {"normalize_path", "merge_slashes", "path_with_escaped_slashes_action"}
        assert {key: manager[key] for key in manager.keys() & asked} == fields


def test_a_listener_is_made_again_only_when_what_is_on_it_changed() -> None:
    memo, http, tcp = Memo(), an_http_listener(), a_tcp_listener()
    list(listeners.outbound_listeners(captured(http, tcp), memo))
    memo.end_generation()
    list(listeners.outbound_listeners(captured(http, a_tcp_listener(cluster="other")), memo))
    assert memo.made == {"virtual_outbound": 1, "outbound_listener": 3}


@needs_envoy
def test_envoy_takes_every_shape_of_outbound_listener(tmp_path: Path) -> None:
    settings = replace(SETTINGS, access_log=AccessLog(path="/dev/null"))
    view = captured(
        an_http_listener(),
        a_tcp_listener(),
        a_tcp_listener(address="10.0.0.0", prefix_length=8, port=9080),
        a_tcp_listener(address="10.0.0.0", prefix_length=8, port=9090),
        an_http_listener(address="240.0.0.2", is_sniffing=True, otherwise=Forwarding(cluster=MONGO)),
        settings=settings,
        interception=Interception.TPROXY,
    )
    assert refusal(made(view).values(), tmp_path) == ""
