"""CDS: which clusters exist for this proxy.

Outbound: one per service port and one more per subset of it, and the two that stand for "wherever it was
going" and "nowhere". Inbound: one per port of the workload, and one for ports nobody declared.

Endpoints are not in here (``endpoints.py``), so that a change of one renews no cluster; only the few
names of a DNS service are, because Envoy resolves them itself.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from mesh.proxies import Interception
from mesh.services import Endpoint, Resolution
from mesh.views import Cluster, InboundPort, InboundView, OutboundView, Settings
from xds import envoy
from xds.memo import Memo
from xds.names import (
    BLACK_HOLE_CLUSTER,
    INBOUND_PASSTHROUGH_CLUSTER,
    PASSTHROUGH_CLUSTER,
    inbound_cluster,
)
from xds.resources import Resource
from xds.translate import balancing, pool, transport
from xds.translate.endpoints import write_endpoints
from xds.translate.templates import fresh

_CLUSTER = "envoy.config.cluster.v3.Cluster"

# Where connections to undeclared ports seem to come from, so that the capture rules know them from the
# application's own. Istio, ``InboundPassthroughBindIpv4``.
_PASSTHROUGH_SOURCE = "127.0.0.6"


def outbound_clusters(view: OutboundView, memo: Memo) -> Iterator[Resource]:
    """One cluster per service port, one more per subset of it, and the two for everything else."""
    for cluster in view.clusters:
        yield from memo.resource(cluster.name, outbound, cluster, view.settings)
    yield from memo.resource(PASSTHROUGH_CLUSTER, passthrough, view.settings)
    yield from memo.resource(BLACK_HOLE_CLUSTER, black_hole, view.settings)


def inbound_clusters(view: InboundView, memo: Memo) -> Iterator[Resource]:
    """One cluster per port the workload answers on; under capture, one for all others."""
    for port in view.ports:
        yield from memo.resource(inbound_cluster(port.target), inbound, port, view.settings)
    if view.interception is not Interception.NONE:
        yield from memo.resource(INBOUND_PASSTHROUGH_CLUSTER, inbound_passthrough, view.settings)


def outbound(cluster: Cluster, settings: Settings) -> Resource:
    """The cluster of one service port, or of one subset of it."""
    name, policy = cluster.name, cluster.policy
    if cluster.service.resolution is Resolution.DNS:
        made = fresh(_dns())
        write_endpoints(cluster.dns_endpoints, made.load_assignment)
        made.load_assignment.cluster_name = name
    else:
        made = fresh(_eds())
        made.eds_cluster_config.service_name = name
    made.name = name
    pool.write(policy.connection_pool, settings, made)
    balancing.write(policy.load_balancer, made)
    outlier = policy.outlier_detection
    balancing.write_outlier_detection(outlier, made)
    if not cluster.is_passed_on:  # else it is the caller who speaks TLS, and what is inside cannot be read
        _write_spoken(cluster, made)
    needs = (name,) if made.type == made.EDS else ()
    return Resource.of(name, made, sources=cluster.sources, needs=needs)


def _write_spoken(cluster: Cluster, made: Any) -> None:
    """What is said on its connections, and how they are secured."""
    policy = cluster.policy
    outlier = policy.outlier_detection
    transport.write(cluster, made)
    is_automatic, is_checked = transport.needs_automatic_names(policy.tls)
    pool.write_protocol(
        pool.speaks(cluster.port, policy.connection_pool),
        policy.connection_pool,
        made,
        error_codes=outlier.outlier_detection_http_error_codes if outlier else (),
        is_name_automatic=is_automatic,
        is_name_checked=is_checked,
    )


def inbound(port: InboundPort, settings: Settings) -> Resource:
    """The application itself, on one of its ports."""
    name = inbound_cluster(port.target)
    made = fresh(_application())
    made.name = made.load_assignment.cluster_name = name
    write_endpoints((_application_endpoint(port.target),), made.load_assignment)
    pool.write(port.pool, settings, made)
    pool.write_protocol(pool.inbound_speaks(port.port), port.pool, made)
    return Resource.of(name, made, sources=port.sources)


def passthrough(settings: Settings) -> Resource:
    """Traffic for names nobody declared goes where the application meant it to."""
    return _original(PASSTHROUGH_CLUSTER, settings, fresh(_wherever()))


def inbound_passthrough(settings: Settings) -> Resource:
    """Traffic for ports nobody declared goes to the application, from an address that tells it apart."""
    made = fresh(_wherever())
    made.upstream_bind_config.source_address.address = _PASSTHROUGH_SOURCE
    made.upstream_bind_config.source_address.port_value = 0
    return _original(INBOUND_PASSTHROUGH_CLUSTER, settings, made)


def black_hole(settings: Settings) -> Resource:
    """Connections for names nobody declared end here when only declared ones are allowed."""
    made = fresh(_nowhere())
    envoy.write_duration(made.connect_timeout, settings.connect_timeout)
    return Resource.of(BLACK_HOLE_CLUSTER, made)


def _original(name: str, settings: Settings, made: Any) -> Resource:
    made.name = name
    pool.write(None, settings, made)
    return Resource.of(name, made)


def _application_endpoint(target: int) -> Endpoint:
    return Endpoint(address="127.0.0.1", port=target)


@functools.cache
def _eds() -> Any:
    # Without a time limit: a changed cluster waits for its endpoints while the old one serves, instead of
    # going into force empty after 15 s.
    source = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    return envoy.parsed(
        _CLUSTER,
        {
            "type": "EDS",
            "eds_cluster_config": {"eds_config": source},
            # Envoy's own default would send requests to draining endpoints as soon as half of them drain.
            "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        },
    )


@functools.cache
def _dns() -> Any:
    # IPv4 first and IPv6 where a name has nothing else: machines without IPv6 still answer AAAA.
    return envoy.parsed(
        _CLUSTER,
        {
            "type": "STRICT_DNS",
            "dns_lookup_family": "V4_PREFERRED",
            "dns_refresh_rate": "60s",
            "respect_dns_ttl": True,
        },
    )


@functools.cache
def _application() -> Any:
    return envoy.parsed(_CLUSTER, {"type": "STATIC", "lb_policy": "ROUND_ROBIN"})


@functools.cache
def _wherever() -> Any:
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": "300s"},
        "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
    }
    return envoy.parsed(
        _CLUSTER,
        {
            "type": "ORIGINAL_DST",
            "lb_policy": "CLUSTER_PROVIDED",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
            },
        },
    )


@functools.cache
def _nowhere() -> Any:
    return envoy.parsed(_CLUSTER, {"name": BLACK_HOLE_CLUSTER, "type": "STATIC", "lb_policy": "ROUND_ROBIN"})
