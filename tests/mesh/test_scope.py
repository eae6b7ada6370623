from __future__ import annotations

from mesh.proxies import Interception, Role
from mesh.scope import OutboundKey, Scope
from mesh.views import HostView, OutboundView
from mesh.world import World
from tests.support.config import (
    Meshes,
    a_mesh,
    a_proxy,
    a_service,
    a_virtual_service,
    a_workload,
    a_world,
    document,
)

REVIEWS = a_service("reviews"), a_workload("reviews", "10.0.0.1")
RATINGS = a_service("ratings"), a_workload("ratings", "10.0.0.2")
TWO = *REVIEWS, *RATINGS


def outbound(scope: Scope, world: World, app: str = "reviews", namespace: str = "bookinfo") -> OutboundView:
    key = scope.facets(world, a_proxy(app, namespace)).outbound
    assert isinstance(key, OutboundKey)
    return scope.outbound(world, key)


def test_proxies_of_one_namespace_share_what_they_can_call() -> None:
    scope, world = Scope(), a_world(*TWO)

    assert (
        scope.facets(world, a_proxy("reviews")).outbound == scope.facets(world, a_proxy("ratings")).outbound
    )
    assert outbound(scope, world, "reviews") is outbound(scope, world, "ratings")


def test_proxies_are_told_apart_by_labels_that_some_virtual_service_asks_for() -> None:
    http = [
        {"match": [{"sourceLabels": {"app": "ratings"}}], "route": [{"destination": {"host": "ratings"}}]}
    ]
    scope, world = Scope(), a_world(*TWO, a_virtual_service("reviews", http=http))

    reviews, ratings = (scope.facets(world, a_proxy(app)).outbound for app in ("reviews", "ratings"))
    assert reviews != ratings
    assert isinstance(reviews, OutboundKey)
    assert reviews.labels == (("app", "reviews"),)


def test_a_sidecar_that_selects_one_workload_gives_it_a_facet_of_its_own() -> None:
    own = document(
        "Sidecar", "own", egress=[{"hosts": ["~/*"]}], workloadSelector={"labels": {"app": "ratings"}}
    )
    scope, world = Scope(), a_world(*TWO, own)

    assert len(outbound(scope, world, "reviews").clusters) == 2
    assert outbound(scope, world, "ratings").clusters == ()


def test_the_address_of_a_machine_is_in_the_host_view_alone() -> None:
    """So that under capture proxies of one workload's kind share all they are told."""
    scope, world = Scope(), a_world(*TWO)
    here, there = (
        scope.facets(world, a_proxy("reviews", address=address)) for address in ("10.0.0.1", "10.9.9.9")
    )

    assert (here.outbound, here.inbound) == (there.outbound, there.inbound)
    assert here.inbound is there.inbound
    assert here.host is None


def test_without_capture_the_host_is_told_its_address_and_proxy_port() -> None:
    scope, world = Scope(), a_world(*TWO, a_mesh(proxyHttpPort=15002))
    proxy = a_proxy("reviews", interception=Interception.NONE, address="10.0.0.7")
    host = scope.facets(world, proxy).host

    assert isinstance(host, HostView)
    assert (host.address, host.http_proxy_port) == ("10.0.0.7", 15002)
    asked = a_proxy("reviews", interception=Interception.NONE, http_proxy_port=3128)
    assert scope.facets(world, asked).host.http_proxy_port == 3128  # type: ignore[union-attr]


def test_a_gateway_has_neither_inbound_nor_host() -> None:
    facets = Scope().facets(a_world(*TWO), a_proxy("edge", role=Role.GATEWAY))

    assert facets.inbound is facets.host is None


def test_a_change_elsewhere_leaves_a_view_the_very_same_object() -> None:
    meshes, scope = Meshes(), Scope()
    web = a_service("web", "web", exportTo=["."])
    mine = document("DestinationRule", "mine", "web", host="web.web.svc.cluster.local", exportTo=["."])
    first = meshes.world(*TWO)
    before, facets = outbound(scope, first), scope.facets(first, a_proxy("reviews"))

    for later in (
        meshes.world(*TWO, document("Sidecar", "default", "web", egress=[{"hosts": ["./*"]}])),
        meshes.world(*TWO, document("PeerAuthentication", "p", "web", mtls={"mode": "STRICT"})),
        meshes.world(*TWO, web),
        meshes.world(*TWO, web, mine),
        meshes.world(*TWO, a_workload("ratings", "10.0.0.9", name="second")),
        meshes.world(*TWO),
    ):
        after = outbound(scope, later)
        assert after.clusters is before.clusters
        assert after.tables is before.tables
        assert after is before
        assert scope.facets(later, a_proxy("reviews")).inbound is facets.inbound


def test_a_change_to_one_service_leaves_the_parts_of_the_others() -> None:
    meshes, scope = Meshes(), Scope()
    before = outbound(scope, meshes.world(*TWO))
    rule = document(
        "DestinationRule", "ratings", host="ratings", trafficPolicy={"loadBalancer": {"simple": "RANDOM"}}
    )
    after = outbound(scope, meshes.world(*TWO, rule))

    same = {
        one.service.host: one is other for one, other in zip(before.clusters, after.clusters, strict=True)
    }
    assert same == {
        "ratings.bookinfo.svc.cluster.local": False,
        "reviews.bookinfo.svc.cluster.local": True,
    }
    assert before.tables[0].virtual_hosts[1] is after.tables[0].virtual_hosts[1]


def test_nothing_in_force_is_made_anew_after_a_generation_ended() -> None:
    meshes, scope = Meshes(), Scope()
    world = meshes.world(*TWO)
    proxy = a_proxy("reviews")
    view, facets = outbound(scope, world), scope.facets(world, proxy)
    for _ in range(2):
        scope.begin_generation()
        assert outbound(scope, world) is view
        assert scope.facets(world, proxy) is facets
        scope.end_generation()


def test_what_was_in_force_and_is_not_is_forgotten() -> None:
    """Views of old worlds must not pile up."""
    meshes, scope = Meshes(), Scope()

    proxy = a_proxy("reviews")

    def visit(number: int) -> int:
        mode = ("STRICT", "PERMISSIVE")[number % 2]
        policy = document("PeerAuthentication", "p", mtls={"mode": mode}, selector=_of(number))
        world = meshes.world(*TWO, policy)
        scope.begin_generation()
        outbound(scope, world)
        scope.facets(world, proxy)
        scope.end_generation()
        return len(scope.recall) + len(scope._intern)

    def _of(number: int) -> dict[str, object]:
        return {"matchLabels": {"app": "reviews", "never": str(number)}}

    sizes = {visit(number) for number in range(6)}
    assert max(sizes) == min(sizes)


def test_an_equal_facet_key_is_found_again_after_its_values_were_forgotten() -> None:
    meshes, scope = Meshes(), Scope()
    first = scope.facets(meshes.world(*TWO), a_proxy("reviews"))
    for _ in range(3):
        scope.begin_generation()
        scope.end_generation()
    again = scope.facets(meshes.world(*TWO), a_proxy("reviews"))

    assert again == first
    assert hash(again.inbound) == hash(first.inbound)
