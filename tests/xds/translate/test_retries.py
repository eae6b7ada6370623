from __future__ import annotations

from typing import Any

import pytest

from mesh.kinds.virtual_service import HTTPRetry
from xds import envoy
from xds.translate import retries

NOT_TRIED = "envoy.retry_host_predicates.previous_hosts"


def retried(
    said: dict[str, Any] | None, default: dict[str, Any] | None = None, *, is_hashed: bool = False
) -> dict[str, Any]:
    made = envoy.message("envoy.config.route.v3.RouteAction")()
    written, mesh = (None if text is None else HTTPRetry.model_validate(text) for text in (said, default))
    retries.write(written, mesh, made, is_hashed=is_hashed)
    policy = envoy.as_dict(made).get("retry_policy", {})
    if "retry_host_predicate" in policy:
        policy["retry_host_predicate"] = [predicate["name"] for predicate in policy["retry_host_predicate"]]
    return dict(policy)


DEFAULT = {
    "num_retries": 2,
    "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
    "host_selection_retry_max_attempts": "5",
    "retry_host_predicate": [NOT_TRIED],
}


def test_requests_are_tried_twice_more_when_nobody_spoke_of_retries() -> None:
    assert retried(None) == DEFAULT


def test_the_mesh_may_have_another_default() -> None:
    assert retried(None, {"attempts": 5}) == {**DEFAULT, "num_retries": 5}
    assert retried(None, {"attempts": 0}) == {}


def test_attempts_of_zero_switch_retries_off() -> None:
    assert retried({"attempts": 0}) == {}
    assert retried({"attempts": 0}, {"attempts": 5}) == {}


def test_what_the_route_says_replaces_the_default() -> None:
    assert retried({"attempts": 3, "perTryTimeout": "2s", "backoff": "30ms"}, {"attempts": 5}) == {
        **DEFAULT,
        "num_retries": 3,
        "per_try_timeout": "2s",
        "retry_back_off": {"base_interval": "0.030s"},
    }


@pytest.mark.parametrize(
    ("said", "conditions", "codes"),
    [
        ("5xx,reset", "5xx,reset", None),
        ("5xx, 429 ,503", "5xx,retriable-status-codes", [429, 503]),
        ("retriable-status-codes,429", "retriable-status-codes", [429]),
        ("429", "retriable-status-codes", [429]),
    ],
)
def test_numbers_among_the_conditions_are_status_codes(
    said: str, conditions: str, codes: list[int] | None
) -> None:
    made = retried({"attempts": 1, "retryOn": said})
    assert (made["retry_on"], made.get("retriable_status_codes")) == (conditions, codes)


@pytest.mark.parametrize(
    ("said", "is_hashed", "expected"),
    [
        ({}, False, [NOT_TRIED]),
        ({}, True, None),
        ({"retryIgnorePreviousHosts": False}, False, None),
        ({"retryIgnorePreviousHosts": True}, True, [NOT_TRIED]),
    ],
)
def test_an_endpoint_already_tried_is_avoided_unless_a_hash_chooses(
    said: dict[str, Any], is_hashed: bool, expected: list[str] | None
) -> None:
    made = retried({"attempts": 1, **said}, is_hashed=is_hashed)
    assert made.get("retry_host_predicate") == expected


def test_retries_may_go_to_other_localities() -> None:
    made = retried({"attempts": 1, "retryRemoteLocalities": True})
    assert made["retry_priority"]["name"] == "envoy.retry_priorities.previous_priorities"
