"""How load balancing and outlier detection look.

A consistent hash has two halves in Envoy: the ring or table belongs to the cluster, the key that falls
on it to every route that leads there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mesh.kinds.destination_rule import (
    ConsistentHashLB,
    HTTPCookie,
    LoadBalancerSettings,
    OutlierDetection,
)
from xds import envoy

RING_SIZE_MIN = 1024

_SIMPLE = {
    "UNSPECIFIED": "LEAST_REQUEST",
    "LEAST_CONN": "LEAST_REQUEST",
    "LEAST_REQUEST": "LEAST_REQUEST",
    "ROUND_ROBIN": "ROUND_ROBIN",
    "RANDOM": "RANDOM",
}


def is_passthrough(balancer: LoadBalancerSettings | None) -> bool:
    """Whether connections go where the application meant them to, past all endpoints we know."""
    return balancer is not None and balancer.simple == "PASSTHROUGH"


def write(balancer: LoadBalancerSettings | None, cluster: Any) -> None:
    """Set how the Envoy cluster picks an endpoint. Istio, ``applyLoadBalancer``: least request by default."""
    if balancer is not None and balancer.consistent_hash is not None:
        _write_hash(balancer.consistent_hash, cluster)
        return
    said = (balancer and balancer.simple) or "UNSPECIFIED"
    if said == "PASSTHROUGH":
        cluster.type = cluster.ORIGINAL_DST
        cluster.lb_policy = cluster.CLUSTER_PROVIDED
        cluster.ClearField("eds_cluster_config")
        cluster.ClearField("load_assignment")
        return
    cluster.lb_policy = cluster.LbPolicy.Value(_SIMPLE[said])


def write_hash_keys(keys: Iterable[ConsistentHashLB], action: Any) -> None:
    """Say on the Envoy ``RouteAction`` what is hashed. Keys said by several destinations count once."""
    for key in dict.fromkeys(keys):
        if key.http_header_name is not None:
            action.hash_policy.add().header.header_name = key.http_header_name
        elif key.http_cookie is not None:
            _write_cookie(key.http_cookie, action.hash_policy.add().cookie)
        elif key.use_source_ip:
            action.hash_policy.add().connection_properties.source_ip = True
        elif key.http_query_parameter_name is not None:
            action.hash_policy.add().query_parameter.name = key.http_query_parameter_name


def write_outlier_detection(said: OutlierDetection | None, cluster: Any) -> None:
    """Set when an endpoint is left out for a while. Istio, ``applyOutlierDetection``."""
    if said is None:
        return
    found = cluster.outlier_detection
    # What nobody asked for must not eject: success rates are compared by Envoy's default.
    found.enforcing_success_rate.value = 0
    if said.consecutive_5xx_errors is not None:
        found.consecutive_5xx.value = said.consecutive_5xx_errors
        found.enforcing_consecutive_5xx.value = _enforced(said.consecutive_5xx_errors)
    if said.consecutive_gateway_errors is not None:
        found.consecutive_gateway_failure.value = said.consecutive_gateway_errors
        found.enforcing_consecutive_gateway_failure.value = _enforced(said.consecutive_gateway_errors)
    if said.split_external_local_origin_errors:
        found.split_external_local_origin_errors = True
        found.enforcing_local_origin_success_rate.value = 0
        if said.consecutive_local_origin_failures:
            found.consecutive_local_origin_failure.value = said.consecutive_local_origin_failures
            found.enforcing_consecutive_local_origin_failure.value = 100
    if said.interval is not None:
        envoy.write_duration(found.interval, said.interval)
    if said.base_ejection_time is not None:
        envoy.write_duration(found.base_ejection_time, said.base_ejection_time)
    if said.max_ejection_percent > 0:
        found.max_ejection_percent.value = said.max_ejection_percent
    # Said even when 0: Envoy's own default would use ejected endpoints as soon as half are out.
    cluster.common_lb_config.healthy_panic_threshold.value = said.min_health_percent


def _enforced(errors: int) -> int:
    """A threshold of 0 switches that reason off."""
    return 100 if errors else 0


def _write_cookie(said: HTTPCookie, cookie: Any) -> None:
    cookie.name = said.name
    cookie.path = said.path
    # A time to live, even 0 (a session's), lets Envoy make the cookie when the client brings none.
    if said.ttl is not None:
        envoy.write_duration(cookie.ttl, said.ttl)
    for attribute in said.attributes:
        cookie.attributes.add(name=attribute.name, value=attribute.value)


def _write_hash(said: ConsistentHashLB, cluster: Any) -> None:
    if said.maglev is not None:
        cluster.lb_policy = cluster.MAGLEV
        if said.maglev.table_size:
            cluster.maglev_lb_config.table_size.value = said.maglev.table_size
        return
    cluster.lb_policy = cluster.RING_HASH
    size = said.ring_hash.minimum_ring_size if said.ring_hash is not None else said.minimum_ring_size
    cluster.ring_hash_lb_config.minimum_ring_size.value = size or RING_SIZE_MIN
