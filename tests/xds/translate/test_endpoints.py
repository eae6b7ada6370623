from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from mesh.services import Endpoint, Locality
from mesh.views import EndpointsView
from tests.support.envoys import needs_envoy, refusal
from tests.support.views import an_endpoint, an_endpoints_view, spelled_anew
from xds import envoy
from xds.memo import Memo
from xds.translate.endpoints import assignment, assignments

REVIEWS = "outbound|9080||reviews.bookinfo.svc.cluster.local"
MARKED = {"filter_metadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}}}


def assigned(*endpoints: Endpoint) -> dict[str, Any]:
    return envoy.as_dict(assignment(REVIEWS, endpoints).message)


def an_lb_endpoint(address: str, port: int = 9080, weight: int = 1, **fields: Any) -> dict[str, Any]:
    socket = {"socket_address": {"address": address, "port_value": port}}
    return {"endpoint": {"address": socket}, "load_balancing_weight": weight, **fields}


def test_a_service_without_endpoints_has_an_empty_assignment() -> None:
    """Envoy must hear that there is none, or it waits."""
    assert assigned() == {"cluster_name": REVIEWS}


def test_endpoints_of_the_mesh_are_marked_for_mutual_tls() -> None:
    assert assigned(an_endpoint("10.0.0.1", mutual_tls=True), an_endpoint("10.0.0.2")) == {
        "cluster_name": REVIEWS,
        "endpoints": [
            {
                "lb_endpoints": [
                    an_lb_endpoint("10.0.0.1", metadata=MARKED),
                    an_lb_endpoint("10.0.0.2"),
                ],
                "load_balancing_weight": 2,
            }
        ],
    }


def test_endpoints_are_grouped_by_locality_and_a_group_weighs_what_they_weigh() -> None:
    near, far = Locality("eu", "a", "1"), Locality("us")
    made = assigned(
        an_endpoint("10.0.0.3", locality=far, weight=5),
        an_endpoint("10.0.0.2", locality=near, weight=2),
        an_endpoint("10.0.0.1", locality=near, weight=1),
    )
    assert made["endpoints"] == [
        {
            "locality": {"region": "eu", "zone": "a", "sub_zone": "1"},
            "lb_endpoints": [an_lb_endpoint("10.0.0.1"), an_lb_endpoint("10.0.0.2", weight=2)],
            "load_balancing_weight": 3,
        },
        {
            "locality": {"region": "us"},
            "lb_endpoints": [an_lb_endpoint("10.0.0.3", weight=5)],
            "load_balancing_weight": 5,
        },
    ]


def test_an_endpoint_that_drains_is_there_and_gets_nothing_new() -> None:
    made = assigned(an_endpoint("10.0.0.1", is_draining=True), an_endpoint("10.0.0.2"))

    assert made["endpoints"][0]["lb_endpoints"] == [
        an_lb_endpoint("10.0.0.1", health_status="DRAINING"),
        an_lb_endpoint("10.0.0.2"),
    ]


def test_a_weight_of_zero_is_one() -> None:
    assert assigned(an_endpoint(weight=0))["endpoints"][0]["load_balancing_weight"] == 1


ENDPOINTS = some.lists(
    some.builds(
        Endpoint,
        address=some.ip_addresses().map(str),
        port=some.integers(1, 65535),
        weight=some.integers(0, 100),
        mutual_tls=some.booleans(),
        locality=some.builds(Locality, some.sampled_from(["", "eu", "us"]), some.sampled_from(["", "a"])),
    ),
    max_size=8,
)


@given(ENDPOINTS, some.randoms())
def test_the_order_of_a_registrys_answer_is_no_change(endpoints: list[Endpoint], chance: Any) -> None:
    shuffled = list(endpoints)
    chance.shuffle(shuffled)
    assert assignment(REVIEWS, tuple(endpoints)).body == assignment(REVIEWS, tuple(shuffled)).body


@given(ENDPOINTS)
def test_joined_bytes_are_a_message_that_says_the_same(endpoints: list[Endpoint]) -> None:
    made = assigned(*endpoints)
    found = {
        (
            one["endpoint"]["address"]["socket_address"]["address"],
            one["endpoint"]["address"]["socket_address"]["port_value"],
            one["load_balancing_weight"],
            "metadata" in one,
        )
        for group in made.get("endpoints", [])
        for one in group["lb_endpoints"]
    }
    assert found == {(one.address, one.port, max(1, one.weight), one.mutual_tls) for one in endpoints}


def test_only_the_assignment_of_a_changed_service_is_made_again() -> None:
    memo = Memo()
    stays, goes = (an_endpoint("10.0.0.1"),), (an_endpoint("10.0.0.2"),)
    list(assignments(EndpointsView(by_cluster={"reviews": stays, "ratings": goes}), memo))
    memo.end_generation()
    changed = {spelled_anew("reviews"): stays, spelled_anew("ratings"): (*goes, *stays)}
    list(assignments(EndpointsView(by_cluster=changed), memo))
    assert memo.made["assignment"] == 3


@needs_envoy
def test_envoy_takes_every_assignment_we_can_make(tmp_path: Path) -> None:
    made = [
        assignment("empty", ()),
        assignment("plain", (an_endpoint("10.0.0.1"), an_endpoint("2001:db8::1", weight=0))),
        assignment(
            "grouped",
            tuple(
                an_endpoint(f"10.0.0.{at}", mutual_tls=True, weight=at, locality=Locality("eu", f"{at % 3}"))
                for at in range(9)
            ),
        ),
    ]
    assert refusal(made, tmp_path) == ""


def test_an_endpoint_that_envoy_would_refuse_keeps_its_cluster_at_what_it_had() -> None:
    memo, clusters = Memo(), {"sound": (an_endpoint(),), "broken": (an_endpoint(),)}
    list(assignments(an_endpoints_view(**clusters), memo))
    clusters["broken"] = (an_endpoint(port=70000),)
    made = {one.name: one for one in assignments(an_endpoints_view(**clusters), memo)}
    assert (
        made["broken"].message.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value == 9080
    )
    (broken,) = memo.broken
    assert broken.reason == (
        "ConstraintError: Envoy would refuse LbEndpoint: "
        "endpoint.address.socket_address.port_value: must be at most 65535"
    )
