from __future__ import annotations

from typing import Any

import pytest

from mesh.kinds.destination_rule import LoadBalancerSettings
from mesh.views import Route
from tests.support.views import a_destination, a_route
from xds import envoy
from xds.translate import actions

V1 = "outbound|9080|v1|reviews.bookinfo.svc.cluster.local"
V2 = "outbound|9080|v2|reviews.bookinfo.svc.cluster.local"


def translated(route: Route, *, port: int = 9080, is_tls: bool = False) -> dict[str, Any]:
    made = envoy.message("envoy.config.route.v3.Route")()
    actions.write(route, made, default_retries=None, port=port, is_tls=is_tls)
    return envoy.as_dict(made)


def forwarded(*destinations: Any, **written: Any) -> dict[str, Any]:
    """What the proxy forwards to, without the retries that everything has."""
    action = dict(translated(a_route(*(destinations or (a_destination(),)), **written))["route"])
    del action["retry_policy"]
    return action


NO_LIMIT = {"timeout": "0s", "max_grpc_timeout": "0s"}


def test_one_destination_is_the_cluster() -> None:
    assert forwarded(a_destination(subset="v1")) == {"cluster": V1, **NO_LIMIT}


def test_several_destinations_share_by_weight() -> None:
    made = forwarded(a_destination(subset="v1", weight=90), a_destination(subset="v2", weight=10))
    assert made == {
        "weighted_clusters": {"clusters": [{"name": V1, "weight": 90}, {"name": V2, "weight": 10}]},
        **NO_LIMIT,
    }


def test_a_destination_that_leads_nowhere_keeps_its_share() -> None:
    made = forwarded(a_destination(weight=1), a_destination("nowhere", weight=1, port=0))
    names = [share["name"] for share in made["weighted_clusters"]["clusters"]]
    assert names[1] == "outbound|0||nowhere.bookinfo.svc.cluster.local"


def test_a_route_without_destinations_fails_and_is_still_there() -> None:
    assert translated(a_route()) == {"direct_response": {"status": 503}}


@pytest.mark.parametrize(
    ("rewrite", "expected"),
    [
        ({"uri": "/new"}, {"prefix_rewrite": "/new"}),
        ({"authority": "other"}, {"host_rewrite_literal": "other"}),
        (
            {"uriRegexRewrite": {"match": "^/v1/(.*)$", "rewrite": r"/\1"}},
            {"regex_rewrite": {"pattern": {"regex": "^/v1/(.*)$"}, "substitution": r"/\1"}},
        ),
    ],
)
def test_paths_and_hosts_are_rewritten(rewrite: dict[str, Any], expected: dict[str, Any]) -> None:
    made = forwarded(rewrite=rewrite)
    assert {key: value for key, value in made.items() if "rewrite" in key} == expected


def test_a_timeout_also_caps_what_a_grpc_client_asks_for() -> None:
    made = forwarded(timeout="1.5s")
    assert (made["timeout"], made["max_grpc_timeout"]) == ("1.500s", "1.500s")


def test_mirrors_have_shares_and_see_the_host_as_it_was() -> None:
    made = forwarded(
        mirrors=((a_destination(subset="v2"), 250_000), (a_destination("ratings"), 0)),
    )
    assert made["request_mirror_policies"] == [
        {
            "cluster": V2,
            "runtime_fraction": {"default_value": {"numerator": 250000, "denominator": "MILLION"}},
            "trace_sampled": False,
            "disable_shadow_host_suffix_append": True,
        }
    ]


EDITS = {
    "request": {"set": {"b": "1", "a": "2"}, "add": {"c": "3"}, "remove": ["d", ":path"]},
    "response": {"set": {"e": "4"}, "remove": ["f"]},
}


def edit(key: str, value: str, *, is_added: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = {"header": {"key": key, "value": value}}
    # Appending is Envoy's zero.
    return made if is_added else {**made, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


EDITED = {
    "request_headers_to_add": [edit("a", "2"), edit("b", "1"), edit("c", "3", is_added=True)],
    "request_headers_to_remove": ["d"],
    "response_headers_to_add": [edit("e", "4")],
    "response_headers_to_remove": ["f"],
}


def edits(made: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in made.items() if "_headers_to_" in key}


def test_headers_are_edited_on_the_route() -> None:
    assert edits(translated(a_route(a_destination(), headers=EDITS))) == EDITED


def test_headers_of_a_single_destination_are_edited_on_the_route_too() -> None:
    spec = a_route(headers=EDITS).spec
    assert spec is not None
    assert edits(translated(a_route(a_destination(headers=spec.headers)))) == EDITED


def test_headers_of_a_shared_destination_are_its_own() -> None:
    spec = a_route(headers={"request": {"set": {"a": "1", "Host": "other"}}}).spec
    assert spec is not None
    made = translated(
        a_route(a_destination(weight=1, headers=spec.headers), a_destination(subset="v2", weight=1))
    )
    first, second = made["route"]["weighted_clusters"]["clusters"]
    assert edits(first) == {"request_headers_to_add": [edit("a", "1")]}
    assert first["host_rewrite_literal"] == "other"
    assert edits(second) == {}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"headers": {"request": {"set": {"host": "set"}}}}, "set"),
        ({"headers": {"request": {"add": {":authority": "add"}, "set": {"Host": "set"}}}}, "set"),
        ({"headers": {"request": {"add": {"Host": "add"}}}}, "add"),
        ({"headers": {"request": {"set": {"Host": "set"}}}, "rewrite": {"authority": "rewrite"}}, "rewrite"),
    ],
)
def test_setting_the_host_header_rewrites_the_host(written: dict[str, Any], expected: str) -> None:
    made = translated(a_route(a_destination(), **written))
    assert made["route"]["host_rewrite_literal"] == expected
    assert edits(made) == {}


def redirected(written: dict[str, Any], *, port: int = 9080, is_tls: bool = False) -> dict[str, Any]:
    return dict(translated(a_route(redirect=written), port=port, is_tls=is_tls)["redirect"])


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"uri": "/new"}, {"path_redirect": "/new"}),
        ({"prefixRewrite": "/new"}, {"prefix_rewrite": "/new"}),
        ({"authority": "a.b", "scheme": "https"}, {"host_redirect": "a.b", "scheme_redirect": "https"}),
        ({"redirectCode": 302}, {"response_code": "FOUND"}),
        ({"redirectCode": 308}, {"response_code": "PERMANENT_REDIRECT"}),
        ({"port": 8443}, {"port_redirect": 8443}),
        ({"port": 80}, {}),
        ({"port": 443}, {"port_redirect": 443}),
        ({"port": 443, "scheme": "https"}, {"scheme_redirect": "https"}),
        ({"derivePort": "FROM_REQUEST_PORT"}, {"port_redirect": 9080}),
        ({"derivePort": "FROM_PROTOCOL_DEFAULT"}, {}),
    ],
)
def test_a_redirect_says_what_was_written(written: dict[str, Any], expected: dict[str, Any]) -> None:
    made = {key: value for key, value in redirected(written).items() if value != ""}
    assert made == expected


def test_behind_tls_the_port_of_https_is_the_one_not_spelled_out() -> None:
    assert "port_redirect" not in redirected({"derivePort": "FROM_REQUEST_PORT"}, port=443, is_tls=True)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"string": "gone"}, {"body": {"inline_string": "gone"}}),
        ({"bytes": "Z29uZQ=="}, {"body": {"inline_bytes": "Z29uZQ=="}}),
        (None, {}),
    ],
)
def test_a_direct_response_needs_no_destination(body: Any, expected: dict[str, Any]) -> None:
    written = {"status": 410, **({} if body is None else {"body": body})}
    assert translated(a_route(directResponse=written)) == {"direct_response": {"status": 410, **expected}}


def faulty(**fault: Any) -> dict[str, Any]:
    made = translated(a_route(a_destination(), fault=fault))
    config = dict(made["typed_per_filter_config"]["envoy.filters.http.fault"])
    assert config.pop("@type").endswith("HTTPFault")
    return config


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (
            {"delay": {"fixedDelay": "7s", "percentage": {"value": 0.1}}},
            {"delay": {"fixed_delay": "7s", "percentage": {"numerator": 1000, "denominator": "MILLION"}}},
        ),
        (
            {"delay": {"fixedDelay": "7s", "percent": 10}},
            {"delay": {"fixed_delay": "7s", "percentage": {"numerator": 100000, "denominator": "MILLION"}}},
        ),
        (
            {"abort": {"httpStatus": 500, "percentage": {"value": 100}}},
            {"abort": {"http_status": 500, "percentage": {"numerator": 1000000, "denominator": "MILLION"}}},
        ),
        (
            {"abort": {"grpcStatus": "UNAVAILABLE"}},
            {"abort": {"grpc_status": 14, "percentage": {"denominator": "MILLION"}}},
        ),
    ],
    ids=["delay", "old percent", "abort", "share not said"],
)
def test_faults_are_said_on_the_route(fault: dict[str, Any], expected: dict[str, Any]) -> None:
    assert faulty(**fault) == expected


def test_an_abort_that_does_not_say_with_what_is_none() -> None:
    made = translated(a_route(a_destination(), fault={"abort": {"percentage": {"value": 100}}}))
    assert "typed_per_filter_config" not in made


def test_a_hash_key_of_a_destination_stands_on_the_route() -> None:
    by_user = LoadBalancerSettings.model_validate({"consistentHash": {"httpHeaderName": "x-user"}})
    made = forwarded(a_destination(weight=1, hash_by=by_user), a_destination(weight=1, hash_by=by_user))
    assert made["hash_policy"] == [{"header": {"header_name": "x-user"}}]
