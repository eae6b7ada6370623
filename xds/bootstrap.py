"""Envoy's bootstrap for one proxy: who it is, where its control plane is, and nothing that may change.

Labels, locality and policy are looked up by the control plane (DESIGN 3.4), so changing them restarts no
proxy. Here stand the node id, how traffic is captured, the control plane's addresses and the one
identity it must prove, the files of the workload's certificate, and ports. There are no static
secrets: Envoy would never read them again.

Why the readiness port asks ``/ready``: that answer alone would lie, because after its fetch time-outs an
Envoy that never met its control plane calls itself LIVE with no listeners. So the two root
subscriptions have no time-out: LIVE then means that clusters and listeners have arrived. A
health-check filter would answer before that, and counts nothing but drains.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from mesh.names import is_ip
from mesh.proxies import Interception, NodeId
from xds import names
from xds import probes as kubelet
from xds.probes import PORT as PROBED_PORT
from xds.probes import Probe
from xds.statistics import stats_config

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_CONTROL_PLANE = "xds-grpc"
_ADMIN = "prometheus_stats"


@dataclass(frozen=True, slots=True)
class Socket:
    """An address and a port."""

    address: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """One proxy as it is installed. Paths may be relative to Envoy's working directory.

    ``certificate`` and ``roots`` are SDS files (``default`` and ``ROOTCA``), replaced by rename in folders
    that are watched for it. ``admin`` is a loopback socket or the path of a unix socket.
    """

    node: NodeId
    interception: Interception
    control_plane: tuple[Socket, ...]
    control_plane_id: str
    """The SPIFFE URI its certificate must bear: a workload of the mesh cannot stand in for it."""
    certificate: str = "sds/cert.yaml"
    roots: str = "sds/root.yaml"
    http_proxy_port: int = 0
    group: str = ""
    """The WorkloadGroup in which it enrols itself, if nothing declares it by name."""
    admin: Socket | str = Socket("127.0.0.1", 15000)
    metrics: Socket = Socket("0.0.0.0", 15090)  # noqa: S104  Prometheus comes from elsewhere
    readiness: Socket = Socket("0.0.0.0", 15021)  # noqa: S104  so do load balancers
    probes: tuple[Probe, ...] = ()
    """The kubelet's questions, in a Pod."""
    probed: Socket = Socket("0.0.0.0", PROBED_PORT)  # noqa: S104  the kubelet asks from its own address


def bootstrap(installation: Installation) -> dict[str, Any]:
    """The bootstrap in Envoy's JSON form."""
    return {
        "node": _node(installation),
        "admin": {"address": _address(installation.admin)},
        "dynamic_resources": _dynamic_resources(),
        "static_resources": {
            "clusters": [
                _control_plane(installation),
                _admin_cluster(installation.admin),
                *kubelet.clusters(installation.probes),
            ],
            "listeners": [
                _window("metrics", installation.metrics, {"path": "/stats/prometheus"}),
                _window("readiness", installation.readiness, {"path": "/healthz/ready"}, rewrite="/ready"),
                *_probed(installation),
            ],
        },
        "stats_config": stats_config(_CONTROL_PLANE),
        "layered_runtime": _runtime(),
        "overload_manager": _overload(),
    }


def bootstrap_text(installation: Installation) -> str:
    """The same as a file: JSON, which is YAML too."""
    return json.dumps(bootstrap(installation), indent=2) + "\n"


def _node(installation: Installation) -> dict[str, Any]:
    # Istio's keys and its types: numbers are text there (``BootstrapNodeMetadata``).
    metadata = {"INTERCEPTION_MODE": str(installation.interception)}
    if installation.http_proxy_port:
        metadata["HTTP_PROXY_PORT"] = str(installation.http_proxy_port)
    if installation.group:
        metadata["AUTO_REGISTER_GROUP"] = installation.group
    node = installation.node
    return {"id": str(node), "cluster": f"{node.name}.{node.namespace}", "metadata": metadata}


def _dynamic_resources() -> dict[str, Any]:
    source = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    return {
        "lds_config": source,
        "cds_config": source,
        "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            # A node is 61 kB of extension names.
            "set_node_on_first_message_only": True,
            "grpc_services": [
                {
                    "envoy_grpc": {
                        "cluster_name": _CONTROL_PLANE,
                        # Envoy doubles its pauses up to 30 s and begins anew only after a *response*. Who
                        # comes back and lacks nothing gets none, so pauses would grow from one restart of
                        # the control plane to the next.
                        "retry_policy": {"retry_back_off": {"base_interval": "0.5s", "max_interval": "5s"}},
                    }
                }
            ],
        },
    }


def _control_plane(installation: Installation) -> dict[str, Any]:
    sockets = installation.control_plane
    has_names = not all(is_ip(socket.address) for socket in sockets)
    tls: dict[str, Any] = {"@type": _TLS, "common_tls_context": _tls_context(installation)}
    if not is_ip(sockets[0].address):
        tls["sni"] = sockets[0].address
    return {
        "name": _CONTROL_PLANE,
        "type": "STRICT_DNS" if has_names else "STATIC",
        **({"dns_refresh_rate": "30s", "respect_dns_ttl": True} if has_names else {}),
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": _CONTROL_PLANE,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": _address(socket)}} for socket in sockets]}
            ],
        },
        # A whole world may be on its way: streams of one proxy must not queue behind Envoy's default limits.
        "circuit_breakers": {
            "thresholds": [
                {
                    "priority": priority,
                    "max_connections": 100000,
                    "max_pending_requests": 100000,
                    "max_requests": 100000,
                }
                for priority in ("DEFAULT", "HIGH")
            ]
        },
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 300}},
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                # A dead control plane is noticed, so that the next address is tried.
                "explicit_http_config": {
                    "http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "10s"}}
                },
            }
        },
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
    }


def _tls_context(installation: Installation) -> dict[str, Any]:
    peer = {"san_type": "URI", "matcher": {"exact": installation.control_plane_id}}
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": ["h2"],
        "tls_certificate_sds_secret_configs": [_file(names.WORKLOAD_CERTIFICATE, installation.certificate)],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": [peer]},
            # From a file and not over ADS: it is what the stream itself is trusted by.
            "validation_context_sds_secret_config": _file(names.TRUST_BUNDLE, installation.roots),
        },
    }


def _file(name: str, path: str) -> dict[str, Any]:
    folder = str(PurePosixPath(path).parent)
    return {
        "name": name,
        "sds_config": {
            "path_config_source": {"path": path, "watched_directory": {"path": folder}},
            "resource_api_version": "V3",
        },
    }


def _admin_cluster(admin: Socket | str) -> dict[str, Any]:
    return {
        "name": _ADMIN,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": _ADMIN,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(admin)}}]}],
        },
    }


def _window(name: str, socket: Socket, match: dict[str, str], *, rewrite: str = "") -> dict[str, Any]:
    """A listener through which one path of the admin port, and no other, can be seen from outside."""
    route: dict[str, Any] = {"cluster": _ADMIN}
    if rewrite:
        route["prefix_rewrite"] = rewrite
    manager = {
        "@type": _MANAGER,
        "stat_prefix": name,
        "codec_type": "AUTO",
        "route_config": {
            "virtual_hosts": [
                {"name": name, "domains": ["*"], "routes": [{"match": match, "route": route}]},
            ]
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
    }
    connection_manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {
        "name": name,
        "address": _address(socket),
        "enable_reuse_port": False,
        "filter_chains": [{"filters": [connection_manager]}],
    }


def _probed(installation: Installation) -> list[dict[str, Any]]:
    where = installation.probed
    return [kubelet.listener(installation.probes, where.address, where.port)] if installation.probes else []


def _address(where: Socket | str) -> dict[str, Any]:
    if isinstance(where, str):
        return {"pipe": {"path": where}}
    return {"socket_address": {"address": where.address, "port_value": where.port}}


def _runtime() -> dict[str, Any]:
    """Two layers: ours, and what an operator sets by hand on the admin port."""
    ours = {
        # Envoy's limit of 100 is below what a policy over a dozen names compiles to. Istio's value.
        "re2.max_program_size.error_level": 32768,
        # A fragment is no part of a request's target (RFC 9110, 7.1): it is cut off, not refused.
        "envoy.reloadable_features.http_reject_path_with_fragment": False,
    }
    return {"layers": [{"name": "mesh", "static_layer": ours}, {"name": "admin", "admin_layer": {}}]}


def _overload() -> dict[str, Any]:
    """Said, because Envoy warns of a limit that nobody chose: the operating system's is in force."""
    limit = {
        "@type": "type.googleapis.com/"
        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": 2**31 - 1,
    }
    name = "envoy.resource_monitors.global_downstream_max_connections"
    return {"resource_monitors": [{"name": name, "typed_config": limit}]}
