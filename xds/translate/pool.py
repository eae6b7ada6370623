"""How the connections of a cluster look: their number, their life, and what is spoken on them.

A field of 0 means "not said" in Istio's API here, so it leaves the default in force: Istio's are the
largest numbers there are, because Envoy's own (1024) surprise people under load.
"""

from __future__ import annotations

import functools
from datetime import timedelta
from enum import Enum, auto
from typing import Any

from mesh.kinds.destination_rule import ConnectionPoolSettings, HTTPSettings, TCPSettings
from mesh.services import Port
from mesh.views import Settings
from xds import envoy
from xds.translate.templates import fresh

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_UNLIMITED = 2**32 - 1
_NO_TCP = TCPSettings()
_NO_HTTP = HTTPSettings()


class Speaks(Enum):
    """What a cluster speaks to its endpoints."""

    HTTP1 = auto()
    HTTP2 = auto()
    AS_CLIENT = auto()
    """Whatever the client spoke to the proxy."""
    BYTES = auto()


def speaks(port: Port, pool: ConnectionPoolSettings | None) -> Speaks:
    """What is spoken on this port. The client's protocol wins over an upgrade, both over the port's own."""
    http = (pool and pool.http) or _NO_HTTP
    if http.use_client_protocol:
        return Speaks.AS_CLIENT
    if http.h2_upgrade_policy == "UPGRADE":
        return Speaks.HTTP2
    return inbound_speaks(port)


def inbound_speaks(port: Port) -> Speaks:
    """The same towards the application itself, which never upgrades."""
    if port.protocol.is_http2:
        return Speaks.HTTP2
    if port.protocol.is_http:
        return Speaks.HTTP1
    return Speaks.BYTES if port.protocol else Speaks.AS_CLIENT


def write(pool: ConnectionPoolSettings | None, settings: Settings, cluster: Any) -> None:
    """Set limits, connect timeout and keepalive of the Envoy cluster."""
    tcp = (pool and pool.tcp) or _NO_TCP
    http = (pool and pool.http) or _NO_HTTP
    envoy.write_duration(cluster.connect_timeout, tcp.connect_timeout or settings.connect_timeout)
    limits = fresh(_limits())
    for field, limit in (
        ("max_connections", tcp.max_connections),
        ("max_pending_requests", http.http1_max_pending_requests),
        ("max_requests", http.http2_max_requests),
        ("max_retries", http.max_retries),
    ):
        if limit > 0:
            getattr(limits, field).value = limit
    cluster.circuit_breakers.thresholds.append(limits)
    _write_keepalive(tcp, settings, cluster)


def write_protocol(
    spoken: Speaks,
    pool: ConnectionPoolSettings | None,
    cluster: Any,
    *,
    error_codes: tuple[int, ...] = (),
    is_name_automatic: bool = False,
    is_name_checked: bool = False,
) -> None:
    """Set what the Envoy cluster speaks. HTTP/1.1 without further wishes is Envoy's default.

    ``error_codes`` are the statuses that count for outlier detection, if not those from 500.
    """
    options = fresh(_spoken(spoken))
    common = options.common_http_protocol_options
    tcp = (pool and pool.tcp) or _NO_TCP
    http = (pool and pool.http) or _NO_HTTP
    _write_span(http.idle_timeout or tcp.idle_timeout, common, "idle_timeout")
    _write_span(tcp.max_connection_duration, common, "max_connection_duration")
    if http.max_requests_per_connection > 0:
        common.max_requests_per_connection.value = http.max_requests_per_connection
    if spoken is Speaks.HTTP2:
        _write_http2(http, options.explicit_http_config.http2_protocol_options)
    if is_name_automatic:
        options.upstream_http_protocol_options.auto_sni = True
        options.upstream_http_protocol_options.auto_san_validation = is_name_checked
    if error_codes:
        options.outlier_detection.error_matcher.CopyFrom(_any_status(error_codes))
    if options != _spoken(Speaks.HTTP1):
        cluster.typed_extension_protocol_options[_OPTIONS].CopyFrom(envoy.packed(options))


def _write_http2(http: HTTPSettings, http2: Any) -> None:
    if http.max_concurrent_streams > 0:
        http2.max_concurrent_streams.value = http.max_concurrent_streams
    ping = http.http2_keep_alive
    # Istio demands both, and Envoy refuses one without the other.
    if ping is not None and ping.interval is not None and ping.timeout is not None:
        envoy.write_duration(http2.connection_keepalive.interval, ping.interval)
        envoy.write_duration(http2.connection_keepalive.timeout, ping.timeout)


def _write_keepalive(tcp: TCPSettings, settings: Settings, cluster: Any) -> None:
    """The destination's own settings replace the mesh's, field by field. Istio, ``applyTCPKeepalive``."""
    if tcp.tcp_keepalive is None and settings.tcp_keepalive is None:
        return
    probes, time, interval = settings.tcp_keepalive or (0, None, None)
    if own := tcp.tcp_keepalive:
        probes, time, interval = own.probes or probes, own.time or time, own.interval or interval
    keepalive = cluster.upstream_connection_options.tcp_keepalive
    keepalive.SetInParent()
    if probes:
        keepalive.keepalive_probes.value = probes
    if time:
        keepalive.keepalive_time.value = int(time.total_seconds())
    if interval:
        keepalive.keepalive_interval.value = int(interval.total_seconds())


def _write_span(span: timedelta | None, message: Any, field: str) -> None:
    if span is not None:
        envoy.write_duration(getattr(message, field), span)


def _any_status(codes: tuple[int, ...]) -> Any:
    rules = [
        {
            "http_response_headers_match": {
                "headers": [{"name": ":status", "string_match": {"exact": str(code)}}]
            }
        }
        for code in codes
    ]
    # Envoy wants at least two for an "or".
    literal = {"or_match": {"rules": rules}} if len(rules) > 1 else rules[0]
    return envoy.parsed("envoy.config.common.matcher.v3.MatchPredicate", literal)


@functools.cache
def _limits() -> Any:
    return envoy.parsed(
        "envoy.config.cluster.v3.CircuitBreakers.Thresholds",
        {
            "max_connections": _UNLIMITED,
            "max_pending_requests": _UNLIMITED,
            "max_requests": _UNLIMITED,
            "max_retries": _UNLIMITED,
            "track_remaining": True,
        },
    )


@functools.cache
def _spoken(spoken: Speaks) -> Any:
    match spoken:
        case Speaks.HTTP1 | Speaks.BYTES:
            literal: dict[str, Any] = {"explicit_http_config": {"http_protocol_options": {}}}
        case Speaks.HTTP2:
            literal = {"explicit_http_config": {"http2_protocol_options": {}}}
        case Speaks.AS_CLIENT:
            literal = {
                "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}}
            }
    return envoy.parsed(_OPTIONS, literal)
