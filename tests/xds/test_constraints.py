"""The constraints of Envoy's protos, each form of rule once."""

from __future__ import annotations

from typing import Any

import pytest

from xds import envoy
from xds.constraints import ConstraintError, violations
from xds.resources import Resource

CLUSTER = "envoy.config.cluster.v3.Cluster"
ROUTES = "envoy.config.route.v3.RouteConfiguration"
LISTENER = "envoy.config.listener.v3.Listener"
ASSIGNMENT = "envoy.config.endpoint.v3.ClusterLoadAssignment"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
EXTENSION = "load_balancing_policy.policies[0].typed_extension_config.typed_config"
RING = "type.googleapis.com/envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash"


def a_policy(config: dict[str, Any]) -> dict[str, Any]:
    extension = {"name": "p", "typed_config": config}
    return {"name": "a", "load_balancing_policy": {"policies": [{"typed_extension_config": extension}]}}


TABLE = [
    (CLUSTER, {"name": "a", "connect_timeout": "1s"}, ()),
    (CLUSTER, {}, ("name: must be at least 1 characters",)),
    (CLUSTER, {"name": "a", "connect_timeout": "0s"}, ("connect_timeout: must be greater than 0s",)),
    (CLUSTER, {"name": "a", "lb_policy": 99}, ("lb_policy: must not be 99",)),
    (
        CLUSTER,
        {"name": "a", "outlier_detection": {"max_ejection_percent": 101}},
        ("outlier_detection.max_ejection_percent: must be at most 100",),
    ),
    (
        CLUSTER,
        {"name": "a", "transport_socket": {"name": "tls", "typed_config": {"@type": TLS, "sni": "x" * 256}}},
        ("transport_socket.typed_config.sni: must be at most 255 bytes",),
    ),
    (
        CLUSTER,
        {"name": "a", "ring_hash_lb_config": {"minimum_ring_size": 20, "maximum_ring_size": 10}},
        ("ring_hash_lb_config.minimum_ring_size: must be at most maximum_ring_size, 10",),
    ),
    (
        CLUSTER,
        a_policy({"@type": RING, "minimum_ring_size": 20, "maximum_ring_size": 10}),
        (f"{EXTENSION}.minimum_ring_size: must be at most maximum_ring_size, 10",),
    ),
    (
        CLUSTER,
        {"name": "a", "maglev_lb_config": {"table_size": 10}},
        ("maglev_lb_config.table_size: must be a prime number",),
    ),
    (CLUSTER, {"name": "a", "maglev_lb_config": {"table_size": 11}}, ()),
    (
        ROUTES,
        {"virtual_hosts": [{"name": "v", "routes": [{"match": {"prefix": "/"}, "redirect": {}}]}]},
        ("virtual_hosts[0].domains: must have at least 1 items",),
    ),
    (
        ROUTES,
        {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{"match": {}, "redirect": {}}]}]},
        ("virtual_hosts[0].routes[0].match.path_specifier: one of it must be set",),
    ),
    (
        ROUTES,
        {"request_headers_to_remove": ["x-\n"]},
        ("request_headers_to_remove[0]: must be a header name",),
    ),
    (
        LISTENER,
        {"name": "l", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 70000}}},
        ("address.socket_address.port_value: must be at most 65535",),
    ),
    (ASSIGNMENT, {}, ("cluster_name: must be at least 1 characters",)),
    (ASSIGNMENT, {"cluster_name": "a"}, ()),
]


@pytest.mark.parametrize(("kind", "literal", "expected"), TABLE)
def test_a_message_is_held_against_its_rules(
    kind: str, literal: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert violations(envoy.parsed(kind, literal)) == expected


def test_messages_that_the_pool_does_not_know_are_envoys_business() -> None:
    cluster = envoy.parsed(CLUSTER, {"name": "a", "transport_socket": {"name": "new"}})
    cluster.transport_socket.typed_config.type_url = "type.googleapis.com/envoy.newer.v4.Socket"
    assert violations(cluster) == ()


def test_a_resource_that_envoy_would_refuse_cannot_be_made() -> None:
    made = envoy.parsed(CLUSTER, {"connect_timeout": "0s"})
    reasons = "connect_timeout: must be greater than 0s; name: must be at least 1 characters"
    with pytest.raises(ConstraintError, match=f"^Envoy would refuse Cluster: {reasons}$"):
        Resource.of("a", made)
    made.name = "a"
    made.connect_timeout.seconds = 1
    assert Resource.of("a", made).message == made


def test_a_message_inside_another_is_looked_into_as_often_as_it_changes() -> None:
    """What is remembered of one is not said of another."""
    for sni, expected in (("x" * 256, 1), ("short", 0), ("x" * 256, 1)):
        socket = {"name": "tls", "typed_config": {"@type": TLS, "sni": sni}}
        assert len(violations(envoy.parsed(CLUSTER, {"name": "a", "transport_socket": socket}))) == expected
