from __future__ import annotations

from typing import Any

import pytest

from mesh.kinds.destination_rule import ConsistentHashLB, LoadBalancerSettings, OutlierDetection
from xds import envoy
from xds.translate import balancing

CLUSTER = "envoy.config.cluster.v3.Cluster"
ACTION = "envoy.config.route.v3.RouteAction"


def balanced(said: dict[str, Any] | None) -> dict[str, Any]:
    made = envoy.parsed(CLUSTER, {"type": "EDS", "eds_cluster_config": {"service_name": "x"}})
    balancing.write(None if said is None else LoadBalancerSettings.model_validate(said), made)
    return envoy.as_dict(made)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (None, "LEAST_REQUEST"),
        ({}, "LEAST_REQUEST"),
        ({"simple": "UNSPECIFIED"}, "LEAST_REQUEST"),
        ({"simple": "LEAST_CONN"}, "LEAST_REQUEST"),
        ({"simple": "RANDOM"}, "RANDOM"),
    ],
)
def test_least_request_unless_said_otherwise(said: dict[str, Any] | None, expected: str) -> None:
    assert balanced(said)["lb_policy"] == expected


def test_round_robin_is_envoys_zero() -> None:
    assert "lb_policy" not in balanced({"simple": "ROUND_ROBIN"})


def test_passthrough_goes_to_the_original_destination_and_has_no_endpoints() -> None:
    assert balanced({"simple": "PASSTHROUGH"}) == {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}


@pytest.mark.parametrize(
    ("said", "policy", "config"),
    [
        ({}, "RING_HASH", {"ring_hash_lb_config": {"minimum_ring_size": "1024"}}),
        ({"minimumRingSize": 16}, "RING_HASH", {"ring_hash_lb_config": {"minimum_ring_size": "16"}}),
        (
            {"ringHash": {"minimumRingSize": 32}},
            "RING_HASH",
            {"ring_hash_lb_config": {"minimum_ring_size": "32"}},
        ),
        ({"maglev": {}}, "MAGLEV", {}),
        ({"maglev": {"tableSize": 101}}, "MAGLEV", {"maglev_lb_config": {"table_size": "101"}}),
    ],
)
def test_a_consistent_hash_has_a_ring_or_a_table(
    said: dict[str, Any], policy: str, config: dict[str, Any]
) -> None:
    made = balanced({"consistentHash": {"useSourceIp": True, **said}})
    assert made["lb_policy"] == policy
    assert {key: value for key, value in made.items() if key.endswith("lb_config")} == config


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"httpHeaderName": "x-user"}, [{"header": {"header_name": "x-user"}}]),
        ({"useSourceIp": True}, [{"connection_properties": {"source_ip": True}}]),
        ({"useSourceIp": False}, []),
        ({"httpQueryParameterName": "user"}, [{"query_parameter": {"name": "user"}}]),
        (
            {"httpCookie": {"name": "user", "ttl": "0s", "path": "/"}},
            [{"cookie": {"name": "user", "path": "/", "ttl": "0s"}}],
        ),
        (
            {"httpCookie": {"name": "user", "attributes": [{"name": "SameSite", "value": "Strict"}]}},
            [{"cookie": {"name": "user", "attributes": [{"name": "SameSite", "value": "Strict"}]}}],
        ),
    ],
)
def test_what_is_hashed_is_said_on_the_route(said: dict[str, Any], expected: list[Any]) -> None:
    key = ConsistentHashLB.model_validate(said)
    made = envoy.message(ACTION)()
    balancing.write_hash_keys([key, key], made)
    assert envoy.as_dict(made).get("hash_policy", []) == expected


def ejected(**said: Any) -> dict[str, Any]:
    made = envoy.message(CLUSTER)()
    balancing.write_outlier_detection(OutlierDetection.model_validate(said), made)
    return envoy.as_dict(made)


def test_nothing_is_ejected_unless_asked_for() -> None:
    made = envoy.message(CLUSTER)()
    balancing.write_outlier_detection(None, made)
    assert envoy.as_dict(made) == {}


def test_only_the_reasons_that_were_named_eject() -> None:
    made = ejected(
        consecutive5xxErrors=3,
        consecutiveGatewayErrors=0,
        interval="5s",
        baseEjectionTime="30s",
        maxEjectionPercent=50,
    )
    assert made["outlier_detection"] == {
        "consecutive_5xx": 3,
        "enforcing_consecutive_5xx": 100,
        "consecutive_gateway_failure": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "interval": "5s",
        "base_ejection_time": "30s",
        "max_ejection_percent": 50,
    }


def test_local_failures_are_counted_apart_when_split() -> None:
    made = ejected(splitExternalLocalOriginErrors=True, consecutiveLocalOriginFailures=4)
    assert made["outlier_detection"] == {
        "enforcing_success_rate": 0,
        "split_external_local_origin_errors": True,
        "enforcing_local_origin_success_rate": 0,
        "consecutive_local_origin_failure": 4,
        "enforcing_consecutive_local_origin_failure": 100,
    }


@pytest.mark.parametrize(("said", "expected"), [({}, {}), ({"minHealthPercent": 40}, {"value": 40.0})])
def test_ejected_endpoints_stay_out_down_to_the_share_that_was_named(
    said: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Without a word: down to none."""
    assert ejected(**said)["common_lb_config"] == {"healthy_panic_threshold": expected}
