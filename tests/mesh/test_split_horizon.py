"""What is seen of endpoints on other networks: their gateways, with all of their weight."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.kinds.tls import ClientTLSSettings
from mesh.networks import NOWHERE, Standpoint, all_gateways
from mesh.services import Endpoint, Locality, NetworkGateway
from mesh.split_horizon import Secured, secured, seen_from, within

WEIGHT_MAX = 2**32 - 1


def a_gateway(network: str, last: int, **fields: object) -> NetworkGateway:
    made = NetworkGateway(network=network, address=f"192.0.2.{last}", port=15443)
    return replace(made, **fields)  # type: ignore[arg-type]


def standing_in(network: str, *gateways: NetworkGateway) -> Standpoint:
    return all_gateways(gateways, ()).seen_from(network)


def an_endpoint(address: str, network: str = "", weight: int = 1, **fields: object) -> Endpoint:
    made = Endpoint(address=address, port=9080, network=network, weight=weight, mutual_tls=True)
    return replace(made, **fields)  # type: ignore[arg-type]


def weights(endpoints: tuple[Endpoint, ...]) -> dict[str, int]:
    return {endpoint.address: endpoint.weight for endpoint in endpoints}


HERE = standing_in("near", a_gateway("far", 1), a_gateway("far", 2), a_gateway("third", 3))


def test_endpoints_that_are_all_near_are_the_same_tuple_for_everybody() -> None:
    near = (
        an_endpoint("10.0.0.1", "near"),
        an_endpoint("10.0.0.2"),
        an_endpoint("10.0.0.3", "without-gateway"),
    )

    assert seen_from(HERE, Secured.MARKED, near) is near
    assert seen_from(NOWHERE, Secured.NONE, near) is near


def test_an_endpoint_of_another_network_is_its_gateways() -> None:
    found = seen_from(HERE, Secured.MARKED, (an_endpoint("10.0.0.1", "third"),))

    assert found == (Endpoint(address="192.0.2.3", port=15443, mutual_tls=True, network="third"),)


def test_weights_are_kept_in_proportion_in_the_smallest_numbers() -> None:
    found = seen_from(
        HERE,
        Secured.MARKED,
        (
            an_endpoint("10.0.0.1", "near", 1),
            *(an_endpoint(f"10.1.0.{at}", "far", 1) for at in range(3)),
            an_endpoint("10.2.0.1", "third", 2),
        ),
    )

    assert weights(found) == {"10.0.0.1": 2, "192.0.2.1": 3, "192.0.2.2": 3, "192.0.2.3": 4}
    assert weights(seen_from(HERE, Secured.MARKED, (an_endpoint("10.1.0.1", "far", 6),))) == {
        "192.0.2.1": 1,
        "192.0.2.2": 1,
    }


@given(
    near=st.lists(st.integers(0, 2**32 - 1), max_size=5),
    far=st.dictionaries(
        st.sampled_from("abcd"),
        st.tuples(st.integers(1, 5), st.lists(st.integers(0, 1000), min_size=1, max_size=5)),
    ),
)
def test_every_network_keeps_its_share(near: list[int], far: dict[str, tuple[int, list[int]]]) -> None:
    gateways = [
        a_gateway(name, at + 50 * "abcd".index(name)) for name, (n, _) in far.items() for at in range(n)
    ]
    endpoints = [an_endpoint(f"10.0.0.{at}", "near", weight) for at, weight in enumerate(near)]
    for name, (_, each) in far.items():
        endpoints += [an_endpoint(f"{name}-{at}", name, weight) for at, weight in enumerate(each)]
    given_ = Counter[str]()
    for one in endpoints:
        given_[one.network] += max(1, one.weight)

    found = seen_from(standing_in("near", *gateways), Secured.MARKED, tuple(endpoints))

    if not far:
        return
    assert sum(one.weight for one in found) <= WEIGHT_MAX
    assert all(one.weight >= 1 for one in found)
    shares = Counter[str]()
    for one in found:
        shares[one.network] += one.weight
    for network, weight in given_.items():
        wanted = Fraction(weight, given_.total())
        # Exact, unless the numbers had to be made smaller than they are.
        off = abs(Fraction(shares[network], shares.total()) - wanted)
        assert off <= Fraction(len(found) + len(gateways), 2**28)


def test_what_is_not_spoken_to_with_mutual_tls_cannot_be_told_apart_by_a_gateway() -> None:
    endpoints = (
        an_endpoint("10.0.0.1", "near", mutual_tls=False),
        an_endpoint("10.1.0.1", "far", mutual_tls=False),
        an_endpoint("10.1.0.2", "far"),
    )

    assert weights(seen_from(HERE, Secured.MARKED, endpoints)) == {
        "10.0.0.1": 2,
        "192.0.2.1": 1,
        "192.0.2.2": 1,
    }
    assert weights(seen_from(HERE, Secured.ALL, endpoints)) == {"10.0.0.1": 1, "192.0.2.1": 1, "192.0.2.2": 1}
    assert weights(seen_from(HERE, Secured.NONE, endpoints)) == {"10.0.0.1": 1}


def test_an_endpoint_that_is_leaving_has_no_weight_behind_a_gateway() -> None:
    leaving = an_endpoint("10.1.0.1", "far", is_draining=True)

    assert seen_from(HERE, Secured.MARKED, (leaving,)) == ()


def test_a_workload_without_an_address_is_reached_by_gateways_alone() -> None:
    endpoints = an_endpoint("", "far"), an_endpoint("10.0.0.1", "near")

    assert weights(seen_from(HERE, Secured.MARKED, endpoints)) == {
        "10.0.0.1": 2,
        "192.0.2.1": 1,
        "192.0.2.2": 1,
    }
    assert weights(seen_from(NOWHERE, Secured.MARKED, endpoints)) == {"10.0.0.1": 1}


def test_one_place_that_is_the_gateway_of_two_networks_has_the_weight_of_both() -> None:
    """Envoy would keep one of two endpoints with the same address, and drop the weight of the other."""
    shared = standing_in("near", a_gateway("far", 1), a_gateway("third", 1))

    found = seen_from(
        shared, Secured.MARKED, (an_endpoint("10.1.0.1", "far", 2), an_endpoint("10.2.0.1", "third", 3))
    )

    assert [(one.address, one.weight) for one in found] == [("192.0.2.1", 1)]


@pytest.mark.parametrize(
    ("said", "behind", "shown"),
    [
        (None, ["eu/a/1", "eu/a/2"], "eu/a"),
        (None, ["eu/a", "eu/b"], "eu"),
        (None, ["eu/a", "us/a"], ""),
        (None, ["eu/a/1", "eu/a/1"], "eu/a/1"),
        ("eu/door", ["us/a"], "eu/door"),
    ],
)
def test_a_gateway_is_where_it_says_or_else_where_all_behind_it_are(
    said: str | None, behind: list[str], shown: str
) -> None:
    here = standing_in("near", a_gateway("far", 1, locality=Locality.parse(said) if said else None))
    endpoints = tuple(
        an_endpoint(f"10.0.0.{at}", "far", locality=Locality.parse(one)) for at, one in enumerate(behind)
    )

    (gateway,) = seen_from(here, Secured.MARKED, endpoints)

    assert str(gateway.locality) == shown


@pytest.mark.parametrize(
    ("mode", "is_automatic", "which"),
    [
        (None, True, Secured.MARKED),
        (None, False, Secured.NONE),
        ("ISTIO_MUTUAL", False, Secured.ALL),
        ("DISABLE", True, Secured.NONE),
        ("SIMPLE", True, Secured.NONE),
        ("MUTUAL", True, Secured.NONE),
    ],
)
def test_a_destination_rule_decides_about_tls_before_marks_do(
    mode: str | None, is_automatic: bool, which: Secured
) -> None:
    tls = ClientTLSSettings.model_validate({"mode": mode}) if mode else None

    assert secured(tls, auto_mutual_tls=is_automatic) is which


MIXED = (
    an_endpoint("10.0.0.1", "near"),
    an_endpoint("10.0.0.2"),
    an_endpoint("10.0.0.3", "near", mutual_tls=False),
    an_endpoint("10.1.0.1", "far"),
    an_endpoint("10.9.0.1", "without-gateway"),
    an_endpoint("", "near"),
)


@pytest.mark.parametrize(
    ("network", "passed"),
    [
        ("near", ["10.0.0.1", "10.0.0.2"]),
        ("", ["10.0.0.1", "10.0.0.2", "10.9.0.1"]),
        ("far", ["10.0.0.2", "10.1.0.1"]),
    ],
)
def test_a_gateway_passes_on_within_its_own_network_alone(network: str, passed: list[str]) -> None:
    """A gateway of no known network passes on to what has no gateway of its own."""
    standpoint = standing_in(network, a_gateway("far", 1))

    assert [one.address for one in within(standpoint, Secured.MARKED, MIXED)] == passed
