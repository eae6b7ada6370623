"""Which listeners a gateway offers. Certificates as clients see them: ``test_callers.py``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.kinds.gateway import Server
from mesh.names import ObjectKey
from mesh.views import AccessLog, Authorization, GatewayServer, GatewayView
from tests.support.authorization import a_policy, a_rule
from tests.support.envoys import needs_envoy, refusal
from tests.support.views import SETTINGS
from xds import envoy
from xds.memo import Memo
from xds.resources import Resource
from xds.translate.gateways import gateway_listeners

EDGE = ObjectKey("Gateway", "istio-system", "edge")


def a_server(port: int = 80, protocol: str = "HTTP", *sni: str, **fields: Any) -> GatewayServer:
    """``tls`` may be given as written."""
    tls = fields.pop("tls", {"mode": "SIMPLE", "credentialName": "site"} if protocol == "HTTPS" else None)
    written = {"port": {"number": port, "protocol": protocol, "name": protocol.lower()}, "hosts": ["*"]}
    made = GatewayServer(
        port=port,
        bind="",
        server=Server.model_validate(written | ({"tls": tls} if tls else {})),
        routes=f"http.{port}" if protocol != "HTTPS" else f"https.{port}.https.edge.istio-system",
        sni_hosts=sni,
        source=EDGE,
        secret="kubernetes://site" if protocol == "HTTPS" else "",
    )
    return replace(made, **fields)


def made(*servers: GatewayServer, **settings: Any) -> dict[str, Resource]:
    view = GatewayView(settings=replace(SETTINGS, **settings), servers=servers, tables=())
    return {one.name: one for one in gateway_listeners(view, Memo())}


def literal(*servers: GatewayServer) -> dict[str, Any]:
    (listener,) = made(*servers).values()
    return envoy.as_dict(listener.message)


def test_each_address_and_port_is_one_listener_that_nobody_shares() -> None:
    found = made(a_server(80), a_server(80, bind="10.0.0.1"), a_server(443, "HTTPS", "a.example"))
    assert list(found) == ["0.0.0.0_80", "0.0.0.0_443", "10.0.0.1_80"]
    for listener in found.values():
        assert envoy.as_dict(listener.message)["enable_reuse_port"] is False


def test_plain_http_is_one_chain_by_the_ports_table() -> None:
    listener = literal(a_server(8080))
    (chain,) = listener["filter_chains"]
    manager = chain["filters"][0]["typed_config"]
    assert manager["rds"]["route_config_name"] == "http.8080"
    assert "filter_chain_match" not in chain
    assert "transport_socket" not in chain
    assert "listener_filters" not in listener


def test_nothing_that_a_client_says_of_itself_is_believed() -> None:
    manager = literal(a_server())["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["use_remote_address"] is True
    assert manager["forward_client_cert_details"] == "SANITIZE_SET"
    assert manager["normalize_path"] is True
    assert manager["server_name"] == "istio-envoy"
    assert manager["upgrade_configs"] == [{"upgrade_type": "websocket"}]


def test_https_servers_of_a_port_are_told_apart_by_the_name_asked_for() -> None:
    """Any name is asked for where the server says ``*``."""
    one = a_server(443, "HTTPS", "a.example", "*.a.example", routes="https.443.a.edge.istio-system")
    rest = a_server(443, "HTTPS", "*", routes="https.443.rest.edge.istio-system", secret="kubernetes://rest")
    listener = literal(one, rest)
    found = [
        (
            chain["name"],
            chain.get("filter_chain_match", {}).get("server_names"),
            secret_of(chain),
        )
        for chain in listener["filter_chains"]
    ]
    assert found == [
        ("https.443.a.edge.istio-system", ["a.example", "*.a.example"], "kubernetes://site"),
        ("https.443.rest.edge.istio-system", None, "kubernetes://rest"),
    ]
    assert [one["name"] for one in listener["listener_filters"]] == ["envoy.filters.listener.tls_inspector"]


def common_of(chain: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = chain["transport_socket"]["typed_config"]["common_tls_context"]
    return found


def secret_of(chain: dict[str, Any]) -> str:
    (asked,) = common_of(chain)["tls_certificate_sds_secret_configs"]
    assert asked["sds_config"] == {"ads": {}, "resource_api_version": "V3"}
    return str(asked["name"])


@pytest.mark.parametrize(
    ("said", "parameters"),
    [
        ({}, {"tls_minimum_protocol_version": "TLSv1_2"}),
        ({"minProtocolVersion": "TLSV1_3"}, {"tls_minimum_protocol_version": "TLSv1_3"}),
        (
            {"maxProtocolVersion": "TLSV1_2", "cipherSuites": ["ECDHE-ECDSA-AES128-GCM-SHA256"]},
            {
                "tls_minimum_protocol_version": "TLSv1_2",
                "tls_maximum_protocol_version": "TLSv1_2",
                "cipher_suites": ["ECDHE-ECDSA-AES128-GCM-SHA256"],
            },
        ),
    ],
)
def test_tls_is_at_least_1_2_unless_the_server_says_otherwise(
    said: dict[str, Any], parameters: dict[str, Any]
) -> None:
    tls = {"mode": "SIMPLE", "credentialName": "site", **said}
    (chain,) = literal(a_server(443, "HTTPS", "a.example", tls=tls))["filter_chains"]
    assert common_of(chain)["tls_params"] == parameters


def test_a_mode_that_is_not_carried_out_never_reaches_a_proxy() -> None:
    """The listener is reported as broken instead of being open to everybody."""
    memo = Memo()
    tls = {"mode": "MUTUAL", "credentialName": "site"}
    server = a_server(443, "HTTPS", "a.example", tls=tls)
    view = GatewayView(settings=SETTINGS, servers=(server,), tables=())
    assert list(gateway_listeners(view, memo)) == []
    (broken,) = memo.broken
    assert broken.reason == "ValueError: a gateway server reached translation with TLS mode MUTUAL"


def test_a_listener_names_its_tables_and_the_object_it_came_from() -> None:
    (listener,) = made(
        a_server(443, "HTTPS", "a.example"), a_server(443, "HTTPS", "b.example", routes="other")
    ).values()
    assert listener.needs == ("https.443.https.edge.istio-system", "other")
    assert listener.sources == (EDGE,)


def test_policies_stand_before_everything_else_and_are_named_as_sources() -> None:
    guarded = Authorization(deny=(a_policy(a_rule(paths=["/admin"])),))
    view = GatewayView(settings=SETTINGS, servers=(a_server(),), tables=(), authorization=guarded)
    (listener,) = gateway_listeners(view, Memo())
    (chain,) = envoy.as_dict(listener.message)["filter_chains"]
    filters = [one["name"] for one in chain["filters"][0]["typed_config"]["http_filters"]]
    assert filters == ["envoy.filters.http.rbac", "envoy.filters.http.fault", "envoy.filters.http.router"]
    assert listener.sources == (EDGE, ObjectKey("AuthorizationPolicy", "bookinfo", "viewers"))


@needs_envoy
def test_envoy_takes_every_shape_of_gateway_listener(tmp_path: Path) -> None:
    tls = {
        "mode": "SIMPLE",
        "credentialName": "site",
        "minProtocolVersion": "TLSV1_3",
        "ecdhCurves": ["P-256"],
    }
    found = made(
        a_server(80),
        a_server(8080, "GRPC"),
        a_server(443, "HTTPS", "a.example", "*.a.example"),
        a_server(443, "HTTPS", "*", tls=tls),
        access_log=AccessLog(path="/dev/null"),
    )
    assert refusal(found.values(), tmp_path) == ""
