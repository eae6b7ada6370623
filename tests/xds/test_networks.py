"""Networks and facets: who shares what, and what a change on another network touches."""

from __future__ import annotations

import json
from typing import Any

from mesh.proxies import Proxy, Role
from mesh.scope import OutboundKey, Scope
from mesh.services import ServiceKey
from mesh.world import World
from tests.support.config import Meshes, a_proxy, a_service, a_workload, document
from xds import envoy
from xds.facets import Bench, OutboundFacet, Turn
from xds.memo import Memo
from xds.resources import Part
from xds.workshop import Workshop

REVIEWS = "outbound|9080||reviews.bookinfo.svc.cluster.local"
RATINGS = "outbound|9080||ratings.bookinfo.svc.cluster.local"
KEY = ServiceKey("reviews.bookinfo.svc.cluster.local", "bookinfo")


def a_mesh(**networks: list[str]) -> str:
    """The gateways of each network, by their addresses."""
    listed = {
        name: {"gateways": [{"address": address, "port": 15443} for address in addresses]}
        for name, addresses in networks.items()
    }
    return json.dumps(
        {
            "apiVersion": "meshwright.dev/v1alpha1",
            "kind": "Mesh",
            "metadata": {"name": "mesh"},
            "spec": {"meshNetworks": {"networks": listed}},
        }
    )


def reviews(*places: tuple[str, str]) -> tuple[str, ...]:
    """Reviews at these addresses of these networks."""
    return tuple(
        a_workload("reviews", address, name=f"reviews-{at}", network=network)
        for at, (address, network) in enumerate(places)
    )


SERVICES = a_service("reviews"), a_service("ratings"), a_workload("ratings", "10.0.0.5", network="near")
BOTH = reviews(("10.0.0.1", "near"), ("10.1.0.1", "far"))


def keys(world: World, scope: Scope, *networks: str, **fields: Any) -> list[OutboundKey]:
    found = []
    for network in networks:
        key = scope.facets(world, a_proxy(network=network, **fields)).outbound
        assert isinstance(key, OutboundKey)
        found.append(key)
    return found


def test_without_gateways_networks_tell_nobody_apart() -> None:
    """A mesh that names its networks and no more pays nothing for it."""
    one, other, unknown = keys(Meshes().world(*SERVICES, *BOTH), Scope(), "near", "far", "")

    assert one == other == unknown


def test_with_gateways_each_network_is_told_of_the_others_in_its_own_way() -> None:
    world, scope = Meshes().world(*SERVICES, *BOTH, a_mesh(far=["192.0.2.1"])), Scope()
    one, again, other = keys(world, scope, "near", "near", "far")

    assert one == again != other
    assert scope.outbound(world, one).clusters is scope.outbound(world, other).clusters


class Workbench:
    """The facets of two networks that follow one world."""

    def __init__(self, *documents: str) -> None:
        self.meshes = Meshes()
        self.bench = Bench(scope=Scope(), memo=Memo())
        world = self.meshes.world(*documents)
        near, far = keys(world, self.bench.scope, "near", "far")
        self.near, self.far = OutboundFacet(near), OutboundFacet(far)
        self.turn(world)

    def turn(self, world: World, moved: frozenset[ServiceKey] | None = None) -> None:
        for facet in (self.near, self.far):
            facet.follow(Turn(world=world, moved=moved), self.bench)
            facet.serve()


def addresses(part: Part, name: str = REVIEWS) -> dict[str, int]:
    groups = envoy.as_dict(part.resources[name].message).get("endpoints", [])
    return {
        one["endpoint"]["address"]["socket_address"]["address"]: one["load_balancing_weight"]
        for group in groups
        for one in group["lb_endpoints"]
    }


def test_what_both_networks_reach_alike_is_made_once() -> None:
    work = Workbench(*SERVICES, *BOTH, a_mesh(far=["192.0.2.1"], near=["192.0.2.9"]))
    near, far = (facet.parts[envoy.ENDPOINTS] for facet in (work.near, work.far))

    assert addresses(near) == {"10.0.0.1": 1, "192.0.2.1": 1}
    assert addresses(far) == {"10.1.0.1": 1, "192.0.2.9": 1}
    assert (
        work.near.parts[envoy.CLUSTER].resources[REVIEWS] is work.far.parts[envoy.CLUSTER].resources[REVIEWS]
    )


def test_an_endpoint_that_comes_elsewhere_changes_a_weight_and_nothing_of_other_services() -> None:
    work = Workbench(*SERVICES, *BOTH, a_mesh(far=["192.0.2.1"]))
    before = work.near.parts
    ratings = before[envoy.ENDPOINTS].resources[RATINGS]
    more = reviews(("10.0.0.1", "near"), ("10.1.0.1", "far"), ("10.1.0.2", "far"))

    work.turn(work.meshes.world(*SERVICES, *more, a_mesh(far=["192.0.2.1"])), frozenset({KEY}))
    after = work.near.parts

    assert addresses(after[envoy.ENDPOINTS]) == {"10.0.0.1": 1, "192.0.2.1": 2}
    assert after[envoy.ENDPOINTS].resources[RATINGS] is ratings
    assert all(after[url] is before[url] for url in (envoy.CLUSTER, envoy.LISTENER, envoy.ROUTES))


def a_door(*instances: tuple[str, str]) -> tuple[str, ...]:
    """A service of the repository that is the gateway of the network ``far``, and its instances."""
    service = json.loads(
        document(
            "ServiceEntry",
            "door",
            "edge",
            hosts=["door.edge.svc.cluster.local"],
            location="MESH_INTERNAL",
            resolution="STATIC",
            ports=[{"number": 15443, "name": "tls", "protocol": "TLS"}],
            workloadSelector={"labels": {"app": "door"}},
        )
    )
    service["metadata"]["labels"] = {"topology.istio.io/network": "far"}
    return (
        json.dumps(service),
        *(a_workload("door", address, "edge", name=name, network="far") for name, address in instances),
    )


def test_a_gateway_that_comes_is_told_to_everybody_whose_endpoints_are_behind_it() -> None:
    """Only the gateways' own endpoints moved, not those of the services."""
    work = Workbench(*SERVICES, *BOTH, *a_door(("door-1", "192.0.2.1")))
    door = ServiceKey("door.edge.svc.cluster.local", "edge")
    assert addresses(work.near.parts[envoy.ENDPOINTS]) == {"10.0.0.1": 1, "192.0.2.1": 1}

    two = a_door(("door-1", "192.0.2.1"), ("door-2", "192.0.2.2"))
    work.turn(work.meshes.world(*SERVICES, *BOTH, *two), frozenset({door}))

    assert addresses(work.near.parts[envoy.ENDPOINTS]) == {"10.0.0.1": 2, "192.0.2.1": 1, "192.0.2.2": 1}
    assert addresses(work.far.parts[envoy.ENDPOINTS]) == {"10.0.0.1": 1, "10.1.0.1": 1}


def test_a_proxy_moves_when_its_workload_is_said_to_be_on_another_network() -> None:
    """The proxy is told so; it need not say anything, let alone restart."""
    meshes, mesh = Meshes(), a_mesh(far=["192.0.2.1"])
    before = meshes.world(*SERVICES, *BOTH, mesh, a_workload("productpage", network="near"))
    after = meshes.world(*SERVICES, *BOTH, mesh, a_workload("productpage", network="far"))
    workshop = Workshop(before)
    seat = workshop.seat(a_proxy())
    assert (seat.proxy.network, _network(seat.keys.outbound)) == ("near", "near")

    (moved,) = workshop.turn(after, [seat])

    assert (moved.proxy.network, _network(moved.keys.outbound)) == ("far", "far")
    assert moved.facets[0] is not seat.facets[0]


def _network(key: object) -> str:
    assert isinstance(key, OutboundKey)
    return key.network


def test_a_gateway_without_entrances_is_told_apart_by_its_network_only_where_that_matters() -> None:
    edge = {"role": Role.GATEWAY, "labels": {"app": "edge"}}
    proxies: list[Proxy] = [a_proxy("edge", network=network, **edge) for network in ("near", "far")]
    scope, plain = Scope(), Meshes().world(*SERVICES)
    split = Meshes().world(*SERVICES, a_mesh(far=["192.0.2.1"]))

    assert scope.facets(plain, proxies[0]).outbound == scope.facets(plain, proxies[1]).outbound
    assert scope.facets(split, proxies[0]).outbound != scope.facets(split, proxies[1]).outbound
