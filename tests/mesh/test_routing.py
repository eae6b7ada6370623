from __future__ import annotations

from typing import Any

import pytest

from mesh.config import ConfigObject
from mesh.interning import Recall, number
from mesh.labels import labels
from mesh.routing import (
    Client,
    default_route,
    distinct,
    gateway_name,
    known,
    routes,
    service_host,
    tells_clients_apart,
    unknown_host,
)
from mesh.services import Protocol
from mesh.traffic import rule_for
from mesh.views import Route, VirtualHost
from tests.support.config import a_port, a_service, a_virtual_service, a_world, document
from tests.support.views import a_port as a_view_port
from tests.support.views import a_service as a_view_service

REVIEWS, RATINGS = "reviews.bookinfo.svc.cluster.local", "ratings.bookinfo.svc.cluster.local"


def made(
    http: list[dict[str, Any]], *documents: str, port: int = 9080, client: Client | None = None
) -> tuple[Route, ...]:
    """The routes of a VirtualService for reviews, where reviews and ratings are known."""
    written = a_virtual_service("reviews", http=http)
    world = a_world(a_service("reviews"), a_service("ratings"), written, *documents)
    recall = Recall()
    (virtual,) = world.config.of("VirtualService")
    services = {service.host: service for service in world.services.services.values()}
    rules = {host: rule_for(world.config, "bookinfo", one, recall) for host, one in services.items()}
    facts = known(virtual, services, rules, recall)
    return routes(virtual, client or Client("bookinfo"), number(port), *facts)


def to(host: str = "reviews", weight: int = 0, **destination: Any) -> dict[str, Any]:
    return {"destination": {"host": host, **destination}, **({"weight": weight} if weight else {})}


def to_all(*targets: dict[str, Any], **route: Any) -> dict[str, Any]:
    return {"route": list(targets or [to()]), **route}


def when(**match: Any) -> dict[str, Any]:
    return to_all(match=[match])


def test_each_match_is_a_route_in_the_order_of_the_document() -> None:
    first = to_all(name="a", match=[{"name": "x", "uri": {"prefix": "/x"}}, {"uri": {"exact": "/y"}}])
    second = to_all(to("ratings"))

    assert [(route.name, route.match is not None) for route in made([first, second])] == [
        ("a.x", True),
        ("a", True),
        ("", False),
    ]


@pytest.mark.parametrize(
    "match", [{}, {"uri": {"prefix": "/"}}, {"uri": {"regex": ".*"}}, {"ignoreUriCase": True}]
)
def test_what_comes_after_a_route_for_everything_is_left_out(match: dict[str, Any]) -> None:
    assert len(made([to_all(match=[match]) if match else to_all(), when(uri={"exact": "/never"})])) == 1


@pytest.mark.parametrize(
    "match",
    [
        {"uri": {"prefix": "/a"}},
        {"headers": {"x": {"exact": "1"}}},
        {"withoutHeaders": {"x": {"exact": "1"}}},
        {"method": {"exact": "GET"}},
        {"authority": {"exact": "a"}},
        {"scheme": {"exact": "https"}},
        {"queryParams": {"a": {"exact": "1"}}},
        {"uri": {"prefix": "/"}, "method": {"exact": "GET"}},
    ],
)
def test_a_condition_leaves_something_for_the_next_route(match: dict[str, Any]) -> None:
    assert len(made([when(**match), to_all()])) == 2


@pytest.mark.parametrize(
    ("match", "holds"),
    [
        ({"port": 9080}, True),
        ({"port": 80}, False),
        ({"sourceLabels": {"app": "web"}}, True),
        ({"sourceLabels": {"app": "web", "tier": "1"}}, False),
        ({"sourceNamespace": "bookinfo"}, True),
        ({"sourceNamespace": "web"}, False),
        ({"gateways": ["mesh"]}, True),
        ({"gateways": ["edge"]}, False),
        ({"gateways": ["edge", "mesh"]}, True),
    ],
)
def test_ports_labels_namespaces_and_gateways_are_decided_before_envoy_asks(
    match: dict[str, Any], holds: bool
) -> None:
    client = Client("bookinfo", labels({"app": "web"}))
    found = made([to_all(to("ratings"), match=[match]), to_all()], client=client)

    # A match that holds here and says nothing to Envoy is for everything, so it ends the list.
    assert [route.destinations[0].host for route in found] == [RATINGS if holds else REVIEWS]


def test_a_gateway_takes_what_names_it() -> None:
    gateway = Client("web", (), "bookinfo/edge")
    http = [to_all(to("ratings"), match=[{"gateways": ["edge"]}]), to_all(match=[{"gateways": ["mesh"]}])]

    assert [route.destinations[0].host for route in made(http, client=gateway)] == [RATINGS]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mesh", "mesh"),
        ("edge", "bookinfo/edge"),
        ("./edge", "bookinfo/edge"),
        ("web/edge", "web/edge"),
        ("edge.web", "web/edge"),
        ("edge.web.svc.cluster.local", "web/edge"),
    ],
)
def test_a_gateway_may_be_named_in_every_way_of_istio(name: str, expected: str) -> None:
    assert gateway_name(name, "bookinfo") == expected


def test_weights_stay_as_written_and_a_share_of_nothing_is_left_out_beside_others() -> None:
    (route,) = made([to_all(to(weight=90), to("ratings", weight=10), to(subset="v3"))])

    assert [(target.host, target.weight) for target in route.destinations] == [(REVIEWS, 90), (RATINGS, 10)]


def test_a_single_destination_needs_no_weight() -> None:
    (route,) = made([to_all(to())])

    assert [target.host for target in route.destinations] == [REVIEWS]


def test_a_destination_that_nobody_knows_keeps_its_share() -> None:
    (route,) = made([to_all(to(weight=75), to("nowhere", weight=25))])

    assert [(target.host, target.port, target.weight) for target in route.destinations] == [
        (REVIEWS, 9080, 75),
        ("nowhere.bookinfo.svc.cluster.local", 0, 25),
    ]


@pytest.mark.parametrize(
    ("said", "came_for", "expected"),
    [
        ({}, 80, 80),
        ({}, 1234, 0),
        ({"port": {"number": 81}}, 80, 81),
        ({"port": {"number": 82}}, 80, 0),
    ],
)
def test_of_several_ports_one_must_be_said_or_be_the_requests(
    said: dict[str, Any], came_for: int, expected: int
) -> None:
    ports = [a_port(80), a_port(81)]
    (route,) = made([to_all(to("two", **said))], a_service("two", ports=ports), port=came_for)

    assert route.destinations[0].port == expected


def test_a_services_only_port_is_meant_whatever_port_the_request_came_for() -> None:
    (route,) = made([to_all(to())], port=80)

    assert route.destinations[0].port == 9080


def test_short_names_are_of_the_virtual_services_namespace() -> None:
    (route,) = made([to_all(to("ratings"))], client=Client("web"))

    assert route.destinations[0].host == RATINGS


def test_mirrors_come_with_their_shares() -> None:
    (route,) = made(
        [
            to_all(
                mirror={"host": "ratings"},
                mirrorPercentage={"value": 12.5},
            )
        ]
    )
    assert [(mirror.host, share) for mirror, share in route.mirrors] == [(RATINGS, 125_000)]

    (route,) = made([to_all(mirrors=[{"destination": {"host": "ratings"}}])])
    assert [(mirror.host, share) for mirror, share in route.mirrors] == [(RATINGS, 1_000_000)]


def test_consistent_hashing_of_the_destination_is_brought_along() -> None:
    by_user = {"consistentHash": {"httpHeaderName": "x-user"}}
    rule = document(
        "DestinationRule",
        "reviews",
        host="reviews",
        trafficPolicy={"loadBalancer": {"simple": "RANDOM"}},
        subsets=[{"name": "v1", "labels": {"v": "1"}, "trafficPolicy": {"loadBalancer": by_user}}],
    )
    plain, hashed = made([to_all(to(weight=1), to(subset="v1", weight=1))], rule)[0].destinations

    assert plain.hash_by is None
    assert hashed.hash_by is not None


def test_only_what_depends_on_the_client_tells_clients_apart() -> None:
    def virtual(**match: Any) -> ConfigObject[Any]:
        world = a_world(a_virtual_service("reviews", http=[when(**match)]))
        return world.config.of("VirtualService")[0]

    assert not tells_clients_apart(virtual(uri={"prefix": "/a"}, port=80))
    assert tells_clients_apart(virtual(sourceLabels={"a": "b"}))
    assert tells_clients_apart(virtual(sourceNamespace="web"))
    assert tells_clients_apart(virtual(gateways=["mesh"]))


def test_a_host_is_called_by_its_names_and_addresses() -> None:
    service = a_view_service("reviews", addresses=("240.0.0.1", "10.0.0.0/8", "2001:db8::1"))
    port = service.ports[0]

    own = service_host(service, port, None, None, "bookinfo", "cluster.local", False)
    assert own.domains == (
        REVIEWS,
        f"{REVIEWS}.",
        "reviews",
        "reviews.bookinfo",
        "reviews.bookinfo.svc",
        "240.0.0.1",
        "[2001:db8::1]",
    )
    assert "reviews" not in service_host(service, port, None, None, "", "cluster.local", False).domains


def test_at_the_http_proxy_names_carry_their_port_which_80_may_leave_out() -> None:
    def domains(port: int) -> tuple[str, ...]:
        service = a_view_service("reviews", a_view_port(port))
        return service_host(service, service.ports[0], None, None, "", "cluster.local", True).domains

    names = (REVIEWS, f"{REVIEWS}.", "reviews.bookinfo", "reviews.bookinfo.svc")
    assert domains(9080) == tuple(f"{name}:9080" for name in names)
    assert domains(80)[:2] == (REVIEWS, f"{REVIEWS}:80")


def test_a_service_without_a_virtual_service_gets_all_its_requests() -> None:
    service = a_view_service("reviews", a_view_port(80, Protocol.HTTP2))
    route = default_route(service, service.ports[0], None)
    host = service_host(service, service.ports[0], None, None, "", "cluster.local", False)

    assert host.routes == (route,)
    assert route.spec is route.match is None
    assert [(target.host, target.port) for target in route.destinations] == [(REVIEWS, 80)]


def test_a_name_that_only_a_virtual_service_knows_has_no_other_names() -> None:
    assert unknown_host("api.example.com", number(80), (), False).domains == ("api.example.com",)


def test_the_first_of_two_virtual_hosts_keeps_a_domain() -> None:
    def host(name: str, *domains: str) -> VirtualHost:
        return VirtualHost(name=name, domains=domains, routes=())

    untouched = host("c", "c")
    found = list(distinct([host("a", "x", "y"), host("b", "y", "z"), host("d", "x"), untouched]))

    assert [(one.name, one.domains) for one in found] == [("a", ("x", "y")), ("b", ("z",)), ("c", ("c",))]
    assert found[-1] is untouched
