from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from mesh.kinds.destination_rule import ConnectionPoolSettings
from mesh.services import Protocol
from mesh.views import Settings
from tests.support.views import SETTINGS, a_port
from xds import envoy
from xds.translate import pool
from xds.translate.pool import Speaks

OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
UNLIMITED = 4294967295


def a_pool(**said: Any) -> ConnectionPoolSettings:
    return ConnectionPoolSettings.model_validate(said)


def pooled(said: ConnectionPoolSettings | None, settings: Settings = SETTINGS) -> dict[str, Any]:
    made = envoy.message("envoy.config.cluster.v3.Cluster")()
    pool.write(said, settings, made)
    return envoy.as_dict(made)


def spoken(kind: Speaks, said: ConnectionPoolSettings | None = None, **fields: Any) -> dict[str, Any]:
    made = envoy.message("envoy.config.cluster.v3.Cluster")()
    pool.write_protocol(kind, said, made, **fields)
    options = envoy.as_dict(made).get("typed_extension_protocol_options", {}).get(OPTIONS, {})
    options.pop("@type", None)
    return options


@pytest.mark.parametrize(
    ("protocol", "http", "expected"),
    [
        (Protocol.HTTP, {}, Speaks.HTTP1),
        (Protocol.HTTP2, {}, Speaks.HTTP2),
        (Protocol.GRPC, {}, Speaks.HTTP2),
        (Protocol.UNKNOWN, {}, Speaks.AS_CLIENT),
        (Protocol.TCP, {}, Speaks.BYTES),
        (Protocol.HTTPS, {}, Speaks.BYTES),
        (Protocol.HTTP, {"h2UpgradePolicy": "UPGRADE"}, Speaks.HTTP2),
        (Protocol.HTTP, {"h2UpgradePolicy": "DO_NOT_UPGRADE"}, Speaks.HTTP1),
        (Protocol.HTTP, {"useClientProtocol": True}, Speaks.AS_CLIENT),
        (Protocol.HTTP, {"useClientProtocol": True, "h2UpgradePolicy": "UPGRADE"}, Speaks.AS_CLIENT),
    ],
)
def test_the_port_decides_what_is_spoken_unless_the_pool_does(
    protocol: Protocol, http: dict[str, Any], expected: Speaks
) -> None:
    assert pool.speaks(a_port(9080, protocol), a_pool(http=http)) is expected


def test_nothing_is_limited_by_default() -> None:
    assert pooled(None) == {
        "connect_timeout": "10s",
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": UNLIMITED,
                    "max_pending_requests": UNLIMITED,
                    "max_requests": UNLIMITED,
                    "max_retries": UNLIMITED,
                    "track_remaining": True,
                }
            ]
        },
    }


def test_limits_and_the_connect_timeout_are_taken_from_the_pool() -> None:
    made = pooled(
        a_pool(
            tcp={"maxConnections": 1, "connectTimeout": "30ms"},
            http={"http1MaxPendingRequests": 2, "http2MaxRequests": 3, "maxRetries": 4},
        )
    )
    assert made["connect_timeout"] == "0.030s"
    assert made["circuit_breakers"]["thresholds"] == [
        {
            "max_connections": 1,
            "max_pending_requests": 2,
            "max_requests": 3,
            "max_retries": 4,
            "track_remaining": True,
        }
    ]


def test_keepalive_of_the_mesh_is_overridden_field_by_field() -> None:
    settings = Settings(tcp_keepalive=(3, timedelta(seconds=60), timedelta(seconds=10)))
    made = pooled(a_pool(tcp={"tcpKeepalive": {"time": "7200s"}}), settings)
    assert made["upstream_connection_options"] == {
        "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 7200, "keepalive_interval": 10}
    }


def test_plain_http_without_wishes_says_nothing() -> None:
    assert spoken(Speaks.HTTP1) == {}
    assert spoken(Speaks.BYTES) == {}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Speaks.HTTP2, {"explicit_http_config": {"http2_protocol_options": {}}}),
        (
            Speaks.AS_CLIENT,
            {"use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}}},
        ),
    ],
)
def test_what_is_spoken_is_explicit_otherwise(kind: Speaks, expected: dict[str, Any]) -> None:
    assert spoken(kind) == expected


def test_lifetimes_of_connections_are_common_to_both_protocols() -> None:
    said = a_pool(
        tcp={"maxConnectionDuration": "60s", "idleTimeout": "1h"},
        http={"maxRequestsPerConnection": 10, "idleTimeout": "5s"},
    )
    assert spoken(Speaks.HTTP1, said) == {
        "common_http_protocol_options": {
            "idle_timeout": "5s",
            "max_connection_duration": "60s",
            "max_requests_per_connection": 10,
        },
        "explicit_http_config": {"http_protocol_options": {}},
    }


def test_streams_and_pings_are_http2s() -> None:
    said = a_pool(http={"maxConcurrentStreams": 100, "http2KeepAlive": {"interval": "30s", "timeout": "5s"}})
    assert spoken(Speaks.HTTP1, said) == {}
    assert spoken(Speaks.HTTP2, said) == {
        "explicit_http_config": {
            "http2_protocol_options": {
                "max_concurrent_streams": 100,
                "connection_keepalive": {"interval": "30s", "timeout": "5s"},
            }
        }
    }


def test_the_server_name_may_follow_the_request() -> None:
    made = spoken(Speaks.HTTP1, is_name_automatic=True, is_name_checked=True)
    assert made["upstream_http_protocol_options"] == {"auto_sni": True, "auto_san_validation": True}


def test_other_statuses_may_count_as_errors() -> None:
    def status(code: str) -> dict[str, Any]:
        header = {"name": ":status", "string_match": {"exact": code}}
        return {"http_response_headers_match": {"headers": [header]}}

    one, two = spoken(Speaks.HTTP1, error_codes=(429,)), spoken(Speaks.HTTP1, error_codes=(429, 503))
    assert one["outlier_detection"] == {"error_matcher": status("429")}
    assert two["outlier_detection"] == {
        "error_matcher": {"or_match": {"rules": [status("429"), status("503")]}}
    }
