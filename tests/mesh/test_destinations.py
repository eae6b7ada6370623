from __future__ import annotations

from typing import Any

import pytest

from mesh.destinations import by_service
from mesh.scope import OutboundKey, Scope
from mesh.views import Cluster, OutboundView
from mesh.world import World
from tests.support.config import (
    ROOT,
    Meshes,
    a_mesh,
    a_port,
    a_proxy,
    a_service,
    a_workload,
    document,
)

REVIEWS = "outbound|9080||reviews.bookinfo.svc.cluster.local"


def view_of(world: World, scope: Scope) -> OutboundView:
    key = scope.facets(world, a_proxy()).outbound
    assert isinstance(key, OutboundKey)
    return scope.outbound(world, key)


def clusters(*documents: str) -> dict[str, Cluster]:
    return {one.name: one for one in view_of(Meshes().world(*documents), Scope()).clusters}


def endpoints(*documents: str) -> dict[str, list[tuple[str, bool]]]:
    """Addresses and whether they are spoken to with mutual TLS, per cluster."""
    world, scope = Meshes().world(*documents), Scope()
    view = view_of(world, scope)
    found = scope.endpoints(world, view, world.services.services)
    return {name: [(one.address, one.mutual_tls) for one in some] for name, some in found.by_cluster.items()}


def peers(mode: str, namespace: str = "bookinfo", **spec: Any) -> str:
    return document("PeerAuthentication", "p", namespace, **{"mtls": {"mode": mode}, **spec})


SUBSETS = document(
    "DestinationRule",
    "reviews",
    host="reviews",
    subsets=[{"name": name, "labels": {"version": name}} for name in ("v2", "v1")],
)


def test_there_is_a_cluster_for_each_port_and_subset_in_order() -> None:
    service = a_service("reviews", ports=[a_port(9080), a_port(80)])

    assert list(clusters(service, SUBSETS)) == [
        f"outbound|{port}|{subset}|reviews.bookinfo.svc.cluster.local"
        for port in (80, 9080)
        for subset in ("", "v1", "v2")
    ]


def test_a_subset_has_the_endpoints_its_labels_pick() -> None:
    found = endpoints(
        a_service("reviews"),
        SUBSETS,
        a_workload("reviews", "10.0.0.1", name="a", labels={"app": "reviews", "version": "v1"}),
        a_workload("reviews", "10.0.0.2", name="b", labels={"app": "reviews", "version": "v3"}),
    )

    assert {name.split("|")[2]: [one[0] for one in some] for name, some in found.items()} == {
        "": ["10.0.0.1", "10.0.0.2"],
        "v1": ["10.0.0.1"],
        "v2": [],
    }


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([], True),
        ([peers("DISABLE")], False),
        ([peers("DISABLE", ROOT)], False),
        ([peers("STRICT"), peers("DISABLE", ROOT)], True),
        ([peers("DISABLE", "web")], True),
        ([a_mesh(enableAutoMtls=False)], False),
        # Of what workloads say for themselves a cluster cannot know: that is the endpoints' stage.
        ([peers("DISABLE", selector={"matchLabels": {"app": "reviews"}})], True),
    ],
)
def test_a_cluster_speaks_mutual_tls_unless_mesh_or_namespace_forbid_it(
    documents: list[str], expected: bool
) -> None:
    assert clusters(a_service("reviews"), *documents)[REVIEWS].auto_mutual_tls is expected


def test_services_outside_the_mesh_are_never_spoken_to_with_our_certificates() -> None:
    outside = a_service("reviews", location="MESH_EXTERNAL"), a_workload("reviews")

    assert not clusters(*outside)[REVIEWS].auto_mutual_tls
    assert endpoints(*outside)[REVIEWS] == [("10.0.0.1", False)]


WORKLOADS = (
    a_workload("reviews", "10.0.0.1", name="a", labels={"app": "reviews", "old": "no"}),
    a_workload("reviews", "10.0.0.2", name="b", labels={"app": "reviews", "old": "yes"}),
    a_workload("reviews", "10.0.0.3", name="c", serviceAccount=""),
)
OLD = {"selector": {"matchLabels": {"old": "yes"}}}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (peers("STRICT"), [True, True, False]),
        (peers("DISABLE", **OLD), [True, False, False]),
        (peers("STRICT", portLevelMtls={9080: {"mode": "DISABLE"}}, **OLD), [True, False, False]),
        (peers("STRICT", portLevelMtls={9081: {"mode": "DISABLE"}}, **OLD), [True, True, False]),
    ],
)
def test_each_endpoint_is_asked_what_its_own_policy_says(policy: str, expected: list[bool]) -> None:
    found = endpoints(a_service("reviews"), *WORKLOADS, policy)[REVIEWS]

    assert [mutual_tls for _, mutual_tls in found] == expected


def test_the_accounts_behind_a_service_may_answer_for_it_in_every_trust_domain() -> None:
    found = clusters(
        a_mesh(trustDomain="new.example", trustDomainAliases=["old.example"]),
        a_service("reviews", subjectAltNames=["spiffe://elsewhere/x"]),
        a_workload("reviews", "10.0.0.1", name="a"),
        a_workload("reviews", "10.0.0.2", name="b", serviceAccount="other"),
    )

    assert found[REVIEWS].accounts == (
        "spiffe://new.example/ns/bookinfo/sa/other",
        "spiffe://new.example/ns/bookinfo/sa/reviews",
        "spiffe://old.example/ns/bookinfo/sa/other",
        "spiffe://old.example/ns/bookinfo/sa/reviews",
        "spiffe://elsewhere/x",
    )


def test_the_names_of_a_dns_service_are_part_of_its_cluster_and_not_of_the_endpoints() -> None:
    texts = a_service("reviews", resolution="DNS", endpoints=[{"address": "db.example.com"}])
    (cluster,) = clusters(texts).values()

    assert [one.address for one in cluster.dns_endpoints] == ["db.example.com"]
    assert by_service(cluster) == {}
    assert endpoints(texts) == {}


def test_an_endpoint_that_comes_makes_no_cluster_anew() -> None:
    meshes, scope = Meshes(), Scope()
    texts = a_service("reviews"), SUBSETS, a_workload("reviews", name="a")
    before = view_of(meshes.world(*texts), scope)
    after = view_of(meshes.world(*texts, a_workload("reviews", "10.0.0.2", name="b")), scope)

    assert after is before


def test_a_new_account_behind_a_service_makes_its_clusters_and_no_others_anew() -> None:
    meshes, scope = Meshes(), Scope()
    texts = a_service("reviews"), a_service("ratings"), a_workload("reviews", name="a")
    before = view_of(meshes.world(*texts), scope)
    stranger = a_workload("reviews", "10.0.0.2", name="b", serviceAccount="stranger")
    after = view_of(meshes.world(*texts, stranger), scope)

    same = {one.name: one is other for one, other in zip(before.clusters, after.clusters, strict=True)}
    assert same == {REVIEWS: False, REVIEWS.replace("reviews", "ratings"): True}
    assert after.tables is before.tables
