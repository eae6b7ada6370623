"""How an HTTP connection manager looks: outbound, inbound, as an HTTP proxy, and at the edge.

Time is not limited here: streams and long polls are legal, and time-outs are the routes' business
(Istio sets none either).
"""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any

from mesh.views import Settings
from xds import envoy
from xds.translate import access_logs
from xds.translate.http_filters import Place, Side, chain
from xds.translate.tcp_filters import network_filter
from xds.translate.templates import fresh

_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
# Istio, ``EnvoyServerName``: how an answer shows that a proxy of the mesh stood before the application.
_SERVER_NAME = "istio-envoy"
_NO_LIMIT = "0s"


def outbound(settings: Settings, statistics: str, routes: str) -> Any:
    """Requests of the applications beside a sidecar, routed by the table ``routes``."""
    manager = _manager(_outbound(), settings, statistics, chain(Place(side=Side.OUTBOUND, settings=settings)))
    manager.rds.route_config_name = routes
    return _filter(manager)


def http_proxy(settings: Settings, statistics: str, routes: str) -> Any:
    """The same for applications that are told of a proxy (``http_proxy=…``): they ask for whole URLs."""
    manager = _manager(_outbound(), settings, statistics, chain(Place(side=Side.OUTBOUND, settings=settings)))
    manager.rds.route_config_name = routes
    manager.http_protocol_options.allow_absolute_url.value = True
    return _filter(manager)


def inbound(
    settings: Settings,
    statistics: str,
    cluster: str,
    filters: list[Any],
    *,
    virtual_host: str,
    idle_timeout: timedelta | None = None,
) -> Any:
    """Requests to the application beside a sidecar: all of them to ``cluster``.

    The one route is inline: it never changes, and a table of its own would only be one more to wait for.
    """
    manager = _manager(_inbound(), settings, statistics, filters)
    table = manager.route_config
    table.name = cluster
    host = table.virtual_hosts[0]
    host.name = virtual_host
    host.routes[0].route.cluster = cluster
    host.routes[0].decorator.operation = cluster
    if idle_timeout is not None:
        envoy.write_duration(manager.common_http_protocol_options.idle_timeout, idle_timeout)
    return _filter(manager)


def edge(place: Place, statistics: str, routes: str) -> Any:
    """Requests of the outside world: nothing they say of themselves is believed."""
    manager = _manager(_edge(), place.settings, statistics, chain(place))
    manager.rds.route_config_name = routes
    return _filter(manager)


def _manager(template: Any, settings: Settings, statistics: str, filters: list[Any]) -> Any:
    manager = fresh(template)
    manager.stat_prefix = statistics
    _normalise(settings.path_normalization, manager)
    manager.http_filters.extend(filters)
    manager.access_log.extend(access_logs.traffic(settings.access_log))
    return manager


def _normalise(how: str, manager: Any) -> None:
    """Istio, ``MeshConfig.pathNormalization``: what a path is made into before any rule looks at it."""
    manager.normalize_path.value = how != "NONE"
    manager.merge_slashes = how in ("MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES")
    if how == "DECODE_AND_MERGE_SLASHES":
        manager.path_with_escaped_slashes_action = manager.PathWithEscapedSlashesAction.Value(
            "UNESCAPE_AND_FORWARD"
        )


def _filter(manager: Any) -> Any:
    return network_filter("envoy.filters.network.http_connection_manager", manager)


def _common() -> dict[str, Any]:
    return {
        "codec_type": "AUTO",
        "stream_idle_timeout": _NO_LIMIT,
        "proxy_100_continue": True,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
    }


def _tables_over_ads() -> dict[str, Any]:
    # Without a time limit: an empty table would answer 404 in the place of the right one.
    # Istio, ``buildSidecarOutboundHTTPListenerOpts``.
    return {
        "rds": {"config_source": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}}
    }


@functools.cache
def _outbound() -> Any:
    return envoy.parsed(_MANAGER, {**_common(), **_tables_over_ads(), "use_remote_address": False})


@functools.cache
def _inbound() -> Any:
    route = {
        "name": "default",
        "match": {"prefix": "/"},
        "decorator": {"operation": ""},
        "route": {
            "cluster": "",
            "timeout": _NO_LIMIT,
            "max_stream_duration": {"max_stream_duration": _NO_LIMIT, "grpc_timeout_header_max": _NO_LIMIT},
            # The application closed a kept connection just now: no byte of the request was read.
            # Istio, ``defaultInboundHttpRetryPolicy``.
            "retry_policy": {"retry_on": "reset-before-request", "num_retries": 2},
        },
    }
    return envoy.parsed(
        _MANAGER,
        {
            **_common(),
            "server_name": _SERVER_NAME,
            "use_remote_address": False,
            # Envoy drops the header first where the connection is not mutual TLS, so it cannot be forged.
            "forward_client_cert_details": "APPEND_FORWARD",
            "set_current_client_cert_details": {"subject": True, "dns": True, "uri": True},
            "route_config": {
                "validate_clusters": False,
                "virtual_hosts": [{"domains": ["*"], "routes": [route]}],
            },
        },
    )


@functools.cache
def _edge() -> Any:
    return envoy.parsed(
        _MANAGER,
        {
            **_common(),
            **_tables_over_ads(),
            "server_name": _SERVER_NAME,
            "use_remote_address": True,
            "forward_client_cert_details": "SANITIZE_SET",
            "set_current_client_cert_details": {"subject": True, "cert": True, "dns": True, "uri": True},
            # Envoy, "Configuring Envoy as an edge proxy": what one client can make the gateway keep.
            "http2_protocol_options": {
                "max_concurrent_streams": 100,
                "initial_stream_window_size": 65536,
                "initial_connection_window_size": 1048576,
            },
        },
    )
