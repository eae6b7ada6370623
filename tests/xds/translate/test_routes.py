from __future__ import annotations

from typing import Any

import pytest

from mesh.names import ObjectKey
from mesh.views import Passthrough, RouteTable
from tests.support.views import (
    SETTINGS,
    a_destination,
    a_route,
    a_table,
    a_virtual_host,
    spelled_anew,
)
from xds import envoy
from xds.memo import Broken, Memo
from xds.resources import Resource
from xds.translate import routes


def made(table: RouteTable) -> Resource:
    (resource,) = routes.route_tables((table,), SETTINGS, Memo())
    return resource


def literal(table: RouteTable) -> dict[str, Any]:
    return envoy.as_dict(made(table).message)


def last_host(table: RouteTable) -> dict[str, Any]:
    return dict(literal(table)["virtual_hosts"][-1])


def test_a_table_holds_its_virtual_hosts_in_order_and_then_everything_else() -> None:
    table = literal(a_table(a_virtual_host("reviews"), a_virtual_host("ratings")))
    assert [(host["name"], host["domains"]) for host in table["virtual_hosts"]] == [
        ("reviews.bookinfo.svc.cluster.local:9080", ["reviews.bookinfo.svc.cluster.local", "reviews"]),
        ("ratings.bookinfo.svc.cluster.local:9080", ["ratings.bookinfo.svc.cluster.local", "ratings"]),
        ("allow_any", ["*"]),
    ]


def test_a_table_is_taken_also_when_a_route_leads_nowhere() -> None:
    table = literal(a_table())
    del table["virtual_hosts"]
    assert table == {
        "name": "9080",
        "validate_clusters": False,
        "max_direct_response_body_size_bytes": 1048576,
        "ignore_port_in_host_matching": True,
    }


def test_the_http_proxy_tells_names_apart_by_port() -> None:
    assert "ignore_port_in_host_matching" not in literal(a_table(name="http_proxy"))


@pytest.mark.parametrize(
    ("table", "fallback", "expected"),
    [
        ("9080", Passthrough.ALLOW_ANY, {"route": "PassthroughCluster"}),
        ("9080", Passthrough.REGISTRY_ONLY, {"status": 502}),
        (
            "http_proxy",
            Passthrough.ALLOW_ANY,
            {"status": 502, "body": "this host is not known to the mesh\n"},
        ),
        (
            "http_proxy",
            Passthrough.REGISTRY_ONLY,
            {"status": 502, "body": "this host is not known to the mesh\n"},
        ),
    ],
)
def test_a_name_nobody_declared_gets_what_the_policy_says(
    table: str, fallback: Passthrough, expected: dict[str, Any]
) -> None:
    (route,) = last_host(a_table(name=table, fallback=fallback))["routes"]
    if "route" in route:
        assert {"route": route["route"]["cluster"]} == expected
    else:
        answer = dict(route["direct_response"])
        if "body" in answer:
            answer["body"] = answer["body"]["inline_string"]
        assert answer == expected


def test_a_gateway_knows_nothing_of_other_names() -> None:
    assert len(literal(a_table(fallback=None))["virtual_hosts"]) == 1


def test_a_virtual_host_for_every_name_leaves_nothing_to_fall_back_to() -> None:
    """Envoy refuses a table in which two virtual hosts claim one name."""
    assert len(literal(a_table(a_virtual_host(domains=("*",))))["virtual_hosts"]) == 1


def test_a_gateway_may_send_everyone_to_https() -> None:
    table = a_table(a_virtual_host(https_redirect=True), fallback=None)
    assert last_host(table)["require_tls"] == "ALL"


def test_a_redirect_knows_the_port_of_its_table() -> None:
    host = a_virtual_host("reviews", a_route(redirect={"derivePort": "FROM_REQUEST_PORT"}))
    ports = [
        last_host(a_table(host, name=name, fallback=None))["routes"][0]["redirect"].get("port_redirect", 0)
        for name in (
            "9080",
            "http.8080",
            "https.8443.https.gate.web",
            "https.443.https.gate.web",
            "http_proxy",
        )
    ]
    assert ports == [9080, 8080, 8443, 0, 0]


def test_a_service_nobody_spoke_of_gets_one_route() -> None:
    host = literal(a_table(fallback=None))["virtual_hosts"][0]
    (route,) = host["routes"]
    assert (route["name"], route["match"]) == ("default", {"prefix": "/"})
    assert route["route"]["cluster"] == "outbound|9080||reviews.bookinfo.svc.cluster.local"


def test_routes_keep_the_order_in_which_they_were_written() -> None:
    host = a_virtual_host(
        "reviews",
        a_route(
            a_destination(subset="v2"), name="jason", match={"headers": {"end-user": {"exact": "jason"}}}
        ),
        a_route(a_destination(subset="v1"), name="others"),
    )
    made_host = literal(a_table(host))["virtual_hosts"][0]
    assert [route["name"] for route in made_host["routes"]] == ["jason", "others"]


def test_a_table_knows_the_objects_it_came_from() -> None:
    host = a_virtual_host("reviews", a_route(a_destination()), a_route(a_destination()))
    assert made(a_table(host)).sources == (ObjectKey("VirtualService", "bookinfo", "reviews"),)


def test_a_changed_virtual_service_encodes_one_virtual_host() -> None:
    memo = Memo()
    reviews, ratings = a_virtual_host("reviews"), a_virtual_host("ratings")
    list(routes.route_tables((a_table(reviews, ratings),), SETTINGS, memo))
    memo.end_generation()
    changed = a_virtual_host("ratings", a_route(a_destination("ratings"), timeout="1s"))
    list(routes.route_tables((a_table(reviews, changed),), SETTINGS, memo))
    assert (memo.made["virtual_host"], memo.made["route_table"]) == (3, 2)


def test_an_unchanged_table_is_not_joined_again() -> None:
    memo = Memo()
    table = a_table()
    (first,) = routes.route_tables((table,), SETTINGS, memo)
    memo.end_generation()
    (second,) = routes.route_tables((table,), SETTINGS, memo)
    assert first is second


def test_a_table_that_was_not_joined_for_a_while_still_knows_its_virtual_hosts() -> None:
    """Also when a new view spells the table's name anew."""
    memo = Memo()
    table = a_table(a_virtual_host("reviews"), name=spelled_anew("9080"))
    for _ in range(3):
        list(routes.route_tables((table,), SETTINGS, memo))
        memo.end_generation()
    longer = (*table.virtual_hosts, a_virtual_host("ratings"))
    list(routes.route_tables((a_table(*longer, name=spelled_anew("9080")),), SETTINGS, memo))
    assert memo.made["virtual_host"] == 2


def test_one_virtual_host_that_cannot_be_made_leaves_the_others_alone() -> None:
    """A bug of ours with one VirtualService must not hold a whole port's table."""
    memo = Memo()
    broken = a_virtual_host("ratings", a_route(redirect={"redirectCode": 999}))
    (table,) = routes.route_tables((a_table(a_virtual_host("reviews"), broken),), SETTINGS, memo)
    names = [host.name for host in table.message.virtual_hosts]
    assert names == ["reviews.bookinfo.svc.cluster.local:9080", "allow_any"]
    assert [broken.resource for broken in memo.broken] == ["9080/ratings.bookinfo.svc.cluster.local:9080"]


def test_a_virtual_host_that_envoy_would_refuse_is_not_sent_and_said_to_be_broken() -> None:
    """Else Envoy refuses the whole response, and everybody's new routes with it."""
    memo = Memo()
    sound = a_virtual_host("ratings", a_route(redirect={"uri": "/new"}))
    broken = a_virtual_host("ratings", a_route(redirect={"uri": "/new\nline"}))
    for host in (sound, broken):
        (table,) = routes.route_tables((a_table(a_virtual_host("reviews"), host),), SETTINGS, memo)
        ratings = table.message.virtual_hosts[1]
        assert (ratings.name, ratings.routes[0].redirect.path_redirect) == (sound.name, "/new")
    assert memo.broken == (
        Broken(
            "9080/ratings.bookinfo.svc.cluster.local:9080",
            "virtual_host",
            "ConstraintError: Envoy would refuse VirtualHost: "
            "routes[0].redirect.path_redirect: must be a header value",
            (ObjectKey("VirtualService", "bookinfo", "reviews"),),
        ),
    )
