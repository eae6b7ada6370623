"""What a facet makes anew, what it keeps, and what it holds back."""

from __future__ import annotations

import pytest

from mesh.proxies import Role
from mesh.scope import GatewayKey, OutboundKey, Scope
from mesh.services import ServiceKey
from mesh.world import Credential, Trust, World
from tests.support.config import (
    Meshes,
    a_proxy,
    a_service,
    a_virtual_service,
    a_workload,
    document,
)
from xds import envoy
from xds.directory import Refusal
from xds.facets import Bench, Facet, GatewayFacet, OutboundFacet, TrustFacet, Turn
from xds.memo import Memo
from xds.quarantine import Fault
from xds.resources import Part

MESH = a_service("reviews"), a_service("ratings"), a_workload("reviews")
REVIEWS = "outbound|9080||reviews.bookinfo.svc.cluster.local"
KEY = ServiceKey("reviews.bookinfo.svc.cluster.local", "bookinfo")
NONE_MOVED: frozenset[ServiceKey] = frozenset()


class Workbench:
    """One facet that follows worlds."""

    def __init__(self) -> None:
        self.meshes = Meshes()
        self.bench = Bench(scope=Scope(), memo=Memo())

    def outbound(self, world: World) -> OutboundFacet:
        key = self.bench.scope.facets(world, a_proxy()).outbound
        assert isinstance(key, OutboundKey)
        return OutboundFacet(key)

    def turn(self, facet: Facet, world: World, moved: frozenset[ServiceKey] | None = None) -> dict[str, Part]:
        """The parts in force after the facet has followed."""
        facet.follow(Turn(world=world, moved=moved), self.bench)
        facet.serve()
        return dict(facet.parts)


def test_nothing_is_in_force_before_it_is_served() -> None:
    work = Workbench()
    world = work.meshes.world(*MESH)
    facet = work.outbound(world)
    facet.follow(Turn(world=world, moved=None), work.bench)
    assert not any(facet.parts.values())

    assert facet.serve()
    assert all(facet.parts.values())
    assert not facet.serve()


def test_a_world_without_consequences_leaves_the_parts_in_force() -> None:
    work = Workbench()
    world = work.meshes.world(*MESH)
    facet = work.outbound(world)
    before = work.turn(facet, world)

    assert work.turn(facet, work.meshes.world(*MESH), NONE_MOVED) == before
    # Also when everything is looked at again.
    assert work.turn(facet, world, None) == before


def test_when_only_endpoints_moved_only_theirs_are_made() -> None:
    work = Workbench()
    world = work.meshes.world(*MESH)
    facet = work.outbound(world)
    before = work.turn(facet, world)
    made = work.bench.memo.made.copy()
    moved = work.meshes.world(*MESH[:2], a_workload("reviews", "10.0.0.9"))
    after = work.turn(facet, moved, frozenset({KEY}))

    assert work.bench.memo.made - made == {"assignment": 1}
    assert {url for url in before if before[url] is not after[url]} == {envoy.ENDPOINTS}
    changed = after[envoy.ENDPOINTS].since(before[envoy.ENDPOINTS])
    assert ([one.name for one in changed.changed], changed.removed) == ([REVIEWS], ())


def test_endpoints_of_what_is_seen_no_more_go_with_their_cluster() -> None:
    work = Workbench()
    world = work.meshes.world(*MESH)
    facet = work.outbound(world)
    work.turn(facet, world)
    after = work.turn(facet, work.meshes.world(MESH[1]), frozenset({KEY}))

    assert REVIEWS not in after[envoy.CLUSTER].resources
    assert REVIEWS not in after[envoy.ENDPOINTS].resources


def test_a_service_that_moves_elsewhere_is_nothing_to_a_facet_that_does_not_see_it() -> None:
    work = Workbench()
    world = work.meshes.world(*MESH)
    facet = work.outbound(world)
    before = work.turn(facet, world)

    assert work.turn(facet, world, frozenset({ServiceKey("other", "web")})) == before


def test_one_resource_that_cannot_be_made_keeps_its_bytes_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = Workbench()
    world = work.meshes.world(*MESH)
    facet = work.outbound(world)
    before = work.turn(facet, world)
    real = envoy.serialised

    def serialised(message: object) -> bytes:
        if getattr(message, "name", "") == REVIEWS:
            raise RuntimeError("a bug")
        return real(message)

    monkeypatch.setattr(envoy, "serialised", serialised)
    named = a_service("reviews", subjectAltNames=["spiffe://x/y"])
    after = work.turn(facet, work.meshes.world(named, a_service("more"), *MESH[1:]), NONE_MOVED)

    kept = after[envoy.CLUSTER].resources[REVIEWS]
    assert kept is before[envoy.CLUSTER].resources[REVIEWS]
    assert REVIEWS.replace("reviews", "more") in after[envoy.CLUSTER].resources
    assert [one.resource for one in work.bench.memo.broken] == [REVIEWS]


def test_refused_bytes_are_held_back_until_they_change() -> None:
    work = Workbench()
    world = work.meshes.world(*MESH)
    facet = work.outbound(world)
    part = work.turn(facet, world)[envoy.CLUSTER]
    refusal = Refusal(
        type_url=envoy.CLUSTER, name=REVIEWS, version=part.resources[REVIEWS].version, message="no"
    )
    assert facet.refused(refusal) is Fault.BYTES
    assert facet.serve()
    assert REVIEWS not in facet.parts[envoy.CLUSTER].resources
    assert REVIEWS in facet.wanted[envoy.CLUSTER].resources

    changed = work.meshes.world(a_service("reviews", subjectAltNames=["spiffe://x/y"]), *MESH[1:])
    assert REVIEWS in work.turn(facet, changed, NONE_MOVED)[envoy.CLUSTER].resources


def test_a_refusal_of_a_type_that_is_not_the_facets_is_none_of_its_business() -> None:
    refusal = Refusal(type_url=envoy.CLUSTER, name=REVIEWS, version="v", message="no")

    assert TrustFacet().refused(refusal) is Fault.OUTDATED


def test_what_a_revision_was_adopted_with_is_kept_while_parts_go_on() -> None:
    work = Workbench()
    world = work.meshes.world(*MESH)
    facet = work.outbound(world)
    serial = work.turn(facet, world)[envoy.ENDPOINTS].serial
    facet.adopt()
    moved = work.meshes.world(*MESH[:2], a_workload("reviews", "10.0.0.9"))
    after = work.turn(facet, moved, frozenset({KEY}))

    assert facet.adopted[envoy.ENDPOINTS] == serial < after[envoy.ENDPOINTS].serial


def test_new_roots_are_a_new_bundle() -> None:
    work, facet = Workbench(), TrustFacet()
    before = work.turn(facet, World(trust=Trust(roots=("one",))))[envoy.SECRET]
    after = work.turn(facet, World(trust=Trust(roots=("one", "two"))), NONE_MOVED)[envoy.SECRET]

    assert list(before.resources) == list(after.resources) == ["ROOTCA"]
    assert after is not before


def test_a_gateways_renewed_certificate_changes_its_secret_alone() -> None:
    tls = {"mode": "SIMPLE", "credentialName": "site"}
    server = {"port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["*"], "tls": tls}
    gateway = document("Gateway", "edge", selector={"app": "edge"}, servers=[server])
    work = Workbench()
    plain = work.meshes.world(
        *MESH, gateway, a_virtual_service("a.example.com", "reviews", name="a", gateways=["edge"])
    )

    def holding(chain: bytes) -> World:
        credentials = {"bookinfo": {"site": Credential(chain, b"key")}}
        return World(config=plain.config, services=plain.services, trust=Trust(credentials=credentials))

    key = work.bench.scope.facets(plain, a_proxy("edge", role=Role.GATEWAY)).outbound
    assert isinstance(key, GatewayKey)
    facet = GatewayFacet(key)
    before = work.turn(facet, holding(b"old"))
    after = work.turn(facet, holding(b"new"), NONE_MOVED)

    assert "kubernetes://site" in before[envoy.SECRET].resources
    assert {url for url in before if before[url] is not after[url]} == {envoy.SECRET}
