"""The kubelet's probes of an application, answered by the Envoy beside it.

The kubelet asks from outside the mesh and in plain text, which STRICT mutual TLS refuses. So its probes are
pointed at a port of Envoy that is not captured (Istio's agent has the same port and the same paths), and the
bootstrap says what each of them means to the application:

- HTTP is passed on: one exact path to one exact path, so nothing else of the application can be seen there.
- TCP and gRPC become questions over HTTP. A proxy that accepts a connection says nothing of the program
  behind it, so Envoy checks the application by itself, on the beat of the probe, and answers with the last
  verdict.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

PORT = 15020
LOOPBACK = "127.0.0.1"

_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_PATH = re.compile(r"/app-(?:health|lifecycle)/[a-z0-9-]+/[a-z]+")


class Means(StrEnum):
    """How the application is asked."""

    HTTP = "http"
    HTTPS = "https"
    TCP = "tcp"
    GRPC = "grpc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One question: where the kubelet asks it, and what of the application is the answer."""

    path: str
    """Where it is asked: ``/app-health/<container>/livez``."""
    means: Means
    port: int
    target: str = ""
    """The path at the application, or the service of a gRPC probe."""
    timeout_s: int = 1
    period_s: int = 10

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.path):
            raise ValueError(f"not a path of a probe: {self.path!r}")

    @property
    def cluster(self) -> str:
        return f"probe|{self.path}"

    @property
    def is_passed_on(self) -> bool:
        return self.means in {Means.HTTP, Means.HTTPS}


def clusters(probes: Sequence[Probe]) -> Iterator[dict[str, Any]]:
    """What is asked: the application's ports on the loopback, where the mesh finds them too."""
    for probe in probes:
        address = {"socket_address": {"address": LOOPBACK, "port_value": probe.port}}
        yield {
            "name": probe.cluster,
            "type": "STATIC",
            "connect_timeout": f"{probe.timeout_s}s",
            "load_assignment": {
                "cluster_name": probe.cluster,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
            **_transport(probe),
        }


def _transport(probe: Probe) -> dict[str, Any]:
    match probe.means:
        case Means.HTTP:
            return {}
        case Means.HTTPS:
            # The kubelet does not verify who answers either.
            tls = {"@type": f"{_EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext"}
            return {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls}}
        case Means.TCP:
            return {"health_checks": [_beat(probe, {"tcp_health_check": {}})]}
        case Means.GRPC:
            service = {"service_name": probe.target} if probe.target else {}
            options = {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
            return {
                "typed_extension_protocol_options": {_HTTP_OPTIONS: options},
                "health_checks": [_beat(probe, {"grpc_health_check": service})],
            }


def _beat(probe: Probe, check: dict[str, Any]) -> dict[str, Any]:
    """One answer decides: it is the kubelet that counts successes and failures."""
    return {
        "timeout": f"{probe.timeout_s}s",
        "interval": f"{probe.period_s}s",
        # Nothing else goes to these clusters, and Envoy would ask once a minute then.
        "no_traffic_interval": f"{probe.period_s}s",
        "no_traffic_healthy_interval": f"{probe.period_s}s",
        # A program that has just come up shall not wait for a whole beat.
        "unhealthy_interval": "1s",
        "healthy_threshold": 1,
        "unhealthy_threshold": 1,
        **check,
    }


def listener(probes: Sequence[Probe], address: str, port: int = PORT) -> dict[str, Any]:
    """The port that the kubelet asks."""
    routes = [_route(probe) for probe in probes if probe.is_passed_on]
    manager = {
        "@type": f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "probes",
        "codec_type": "AUTO",
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "route_config": {"virtual_hosts": [{"name": "probes", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            *(_verdict(probe) for probe in probes if not probe.is_passed_on),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_EXTENSIONS}.filters.http.router.v3.Router"},
            },
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "name": "probes",
        "address": {"socket_address": {"address": address, "port_value": port}},
        "enable_reuse_port": False,
        "filter_chains": [{"filters": filters}],
    }


def _route(probe: Probe) -> dict[str, Any]:
    return {
        "match": {"path": probe.path},
        "route": {
            "cluster": probe.cluster,
            "prefix_rewrite": probe.target or "/",
            "timeout": f"{probe.timeout_s}s",
        },
    }


def _verdict(probe: Probe) -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.health_check",
        "typed_config": {
            "@type": f"{_EXTENSIONS}.filters.http.health_check.v3.HealthCheck",
            "pass_through_mode": False,
            "headers": [{"name": ":path", "string_match": {"exact": probe.path}}],
            "cluster_min_healthy_percentages": {probe.cluster: {"value": 100}},
        },
    }
