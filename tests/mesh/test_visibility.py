from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mesh.labels import labels
from mesh.services import Provider
from mesh.visibility import (
    bound_to_mesh,
    host_index,
    imports,
    routed_hosts,
    selection_keys,
    sidecar_for,
    visible,
)
from mesh.world import World
from tests.support.config import (
    ROOT,
    a_config,
    a_service,
    a_virtual_service,
    a_world,
    document,
)


def a_sidecar(*hosts: str, name: str = "default", namespace: str = "bookinfo", **spec: Any) -> str:
    egress = {"egress": [{"hosts": list(hosts)}]} if hosts else {}
    return document("Sidecar", name, namespace, **{**egress, **spec})


def of_app(app: str) -> dict[str, Any]:
    return {"workloadSelector": {"labels": {"app": app}}}


def seen(world: World, namespace: str = "bookinfo", app: str = "reviews") -> list[str]:
    """The hosts that a workload sees, without the ending that all have."""
    config = world.config
    wanted = imports(sidecar_for(config, namespace, labels({"app": app})), namespace)
    virtual = bound_to_mesh(config.of("VirtualService"), ("*",), namespace, wanted)
    found = visible(world.services.services, namespace, wanted, routed_hosts(virtual, wanted))
    return [service.host.removesuffix(".svc.cluster.local") for service in found.services]


EVERYWHERE = a_sidecar("*/*", name="all", namespace=ROOT)
OWN = a_sidecar("./*", name="own")
LATE = a_sidecar("./*", name="aaa", created="2024-02-01T00:00:00Z", **of_app("reviews"))
EARLY = a_sidecar("./*", name="zzz", created="2024-01-01T00:00:00Z", **of_app("reviews"))


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([], None),
        ([EVERYWHERE], "all"),
        ([EVERYWHERE, OWN], "own"),
        ([EVERYWHERE, OWN, LATE], "aaa"),
        ([OWN, LATE, EARLY], "zzz"),
        ([OWN, a_sidecar("./*", name="theirs", **of_app("ratings"))], "own"),
        ([a_sidecar("./*", name="far", namespace="web")], None),
        ([a_sidecar("./*", name="scoped", namespace=ROOT, **of_app("reviews"))], None),
    ],
)
def test_labels_come_before_the_namespace_before_the_root(documents: list[str], expected: str | None) -> None:
    found = sidecar_for(a_config(*documents), "bookinfo", labels({"app": "reviews"}))

    assert (found.key.name if found else None) == expected


SERVICES = (
    a_service("reviews"),
    a_service("ratings"),
    a_service("shop", "web"),
    a_service("cart", "web"),
    a_service("secret", "web", exportTo=["."]),
    a_service("given", "web", exportTo=["bookinfo"]),
    a_service("nobodys", "web", exportTo=["~"]),
)


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ([], "given.web ratings.bookinfo reviews.bookinfo shop.web cart.web"),
        (["*/*"], "given.web ratings.bookinfo reviews.bookinfo shop.web cart.web"),
        (["./*"], "ratings.bookinfo reviews.bookinfo"),
        (["web/*"], "cart.web given.web shop.web"),
        (["~/*"], ""),
        (["./*", "web/shop.web.svc.cluster.local"], "ratings.bookinfo reviews.bookinfo shop.web"),
        (["*/*.web.svc.cluster.local"], "cart.web given.web shop.web"),
        (["*/*", "~web/*"], "ratings.bookinfo reviews.bookinfo"),
        (["*/*", "~web/cart.web.svc.cluster.local"], "given.web ratings.bookinfo reviews.bookinfo shop.web"),
        (["./*", "~/ratings.bookinfo.svc.cluster.local"], "reviews.bookinfo"),
        (["./*", "~./ratings.bookinfo.svc.cluster.local"], "reviews.bookinfo"),
        (["bookinfo/shop.web.svc.cluster.local"], ""),
    ],
)
def test_a_sidecar_imports_what_its_hosts_name(hosts: list[str], expected: str) -> None:
    sidecar = (a_sidecar(*hosts),) if hosts else ()

    assert seen(a_world(*SERVICES, *sidecar)) == sorted(expected.split())


def test_export_to_decides_who_could_see_a_service_at_all() -> None:
    world = a_world(*SERVICES)

    assert {"secret.web", "nobodys.web"}.isdisjoint(seen(world, "bookinfo"))
    assert "secret.web" in seen(world, "web")
    assert "given.web" not in seen(world, "web")


def test_a_sidecar_of_the_root_namespace_means_each_namespaces_own() -> None:
    world = a_world(*SERVICES, a_sidecar("./*", name="all", namespace=ROOT))

    assert seen(world, "bookinfo") == ["ratings.bookinfo", "reviews.bookinfo"]


def test_the_destinations_of_imported_virtual_services_come_along() -> None:
    route = a_virtual_service("ratings", "cart.web.svc.cluster.local")

    assert seen(a_world(*SERVICES, route, a_sidecar("./*"))) == [
        "cart.web",
        "ratings.bookinfo",
        "reviews.bookinfo",
    ]


def test_the_destinations_of_others_do_not() -> None:
    route = a_virtual_service("shop.web.svc.cluster.local", "cart.web.svc.cluster.local", namespace="web")

    assert "cart.web" not in seen(a_world(*SERVICES, route, a_sidecar("./*")))


HOST = {"hosts": ["api.example.com"]}


def owner(namespace: str, *services: str) -> str:
    world = a_world(*services)
    found = visible(world.services.services, namespace, imports(None, namespace), frozenset())
    return found.by_host["api.example.com"].key.namespace


def test_of_two_that_declare_a_host_the_clients_own_namespace_is_meant() -> None:
    old = a_service("a", "first", created="2020-01-01T00:00:00Z", **HOST)

    assert owner("own", old, a_service("b", "own", **HOST)) == "own"


def test_else_the_oldest_and_stamps_are_times_and_not_texts() -> None:
    late = a_service("a", "east", created="2024-01-01T00:30:00+00:00", **HOST)
    early = a_service("b", "west", created="2024-01-01T01:00:00+02:00", **HOST)

    assert owner("own", late, early) == "west"
    assert owner("own", late, a_service("b", "anew", **HOST)) == "east"


def test_a_tenant_does_not_win_a_host_with_an_old_stamp() -> None:
    """Stamps are compared within one unit of acceptance; the mesh's own unit comes first."""
    world = a_world(
        a_service("a", "platform", **HOST), a_service("b", "tenant", created="1970-01-01T00:00:00Z", **HOST)
    )
    services = {
        key: replace(service, unit="tenants/t" if key.namespace == "tenant" else "")
        for key, service in world.services.services.items()
    }
    found = visible(services, "own", imports(None, "own"), frozenset())

    assert found.by_host["api.example.com"].key.namespace == "platform"


def test_a_registry_that_is_trusted_more_wins_a_host_whatever_the_stamps() -> None:
    """Kubernetes before Consul before Git, as where registries are combined."""
    world = a_world(
        a_service("a", "east", created="1970-01-01T00:00:00Z", **HOST), a_service("b", "west", **HOST)
    )
    services = {
        key: replace(service, provider=Provider.CONSUL if key.namespace == "west" else Provider.GIT)
        for key, service in world.services.services.items()
    }
    found = visible(services, "own", imports(None, "own"), frozenset())

    assert found.by_host["api.example.com"].key.namespace == "west"


def bound(*documents: str, namespace: str = "bookinfo", hosts: tuple[str, ...] = ()) -> list[str]:
    config = a_config(*documents, *([a_sidecar(*hosts, namespace=namespace)] if hosts else []))
    wanted = imports(sidecar_for(config, namespace, ()), namespace)
    found = bound_to_mesh(config.of("VirtualService"), ("*",), namespace, wanted)
    return [virtual.key.name for virtual in found]


GATEWAY = document(
    "Gateway",
    "edge",
    selector={"app": "edge"},
    servers=[{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
)


def test_virtual_services_of_gateways_alone_are_not_for_sidecars() -> None:
    at_gateway = a_virtual_service("a", "x", name="a", gateways=["edge"])
    at_both = a_virtual_service("b", "x", name="b", gateways=["edge", "mesh"])

    assert bound(GATEWAY, at_gateway, at_both, a_virtual_service("c", "x", name="c")) == ["b", "c"]


def test_private_comes_before_given_before_public() -> None:
    public = a_virtual_service("a", "x", name="public", namespace="web")
    given = a_virtual_service("b", "x", name="given", namespace="web", exportTo=["bookinfo"])
    private = a_virtual_service("c", "x", name="private", exportTo=["."])
    hidden = a_virtual_service("d", "x", name="hidden", namespace="web", exportTo=["."])

    assert bound(public, given, private, hidden) == ["private", "given", "public"]


def test_a_public_one_is_public_in_its_own_namespace_too() -> None:
    """So of two public ones for a host the older wins for everybody alike."""
    own = a_virtual_service("api.example.com", "x", name="own", created="2024-02-01T00:00:00Z")
    older = a_virtual_service(
        "api.example.com", "x", name="older", namespace="web", created="2024-01-01T00:00:00Z"
    )

    assert bound(own, older) == ["older", "own"]


def test_a_sidecar_imports_virtual_services_by_their_hosts() -> None:
    mine = a_virtual_service("a", "x", name="mine")
    theirs = a_virtual_service("b", "x", name="theirs", namespace="web")
    wide = a_virtual_service("*.web.svc.cluster.local", "x", name="wide", namespace="web")

    assert bound(mine, theirs, wide, hosts=("./*",)) == ["mine"]
    assert bound(mine, theirs, wide, hosts=("web/b.web.svc.cluster.local",)) == ["theirs", "wide"]


def test_excluding_one_host_does_not_exclude_a_wildcard_that_means_it_too() -> None:
    wide = a_virtual_service("*.web.svc.cluster.local", "x", name="wide", namespace="web")

    assert bound(wide, hosts=("*/*", "~web/b.web.svc.cluster.local")) == ["wide"]
    assert bound(wide, hosts=("*/*", "~web/*.svc.cluster.local")) == []


def test_the_most_specific_claim_speaks_for_a_host() -> None:
    config = a_config(
        a_virtual_service("*.example.com", "x", name="wide"),
        a_virtual_service("*.api.example.com", "x", name="narrow"),
        a_virtual_service("v1.api.example.com", "x", name="exact"),
    )
    index = host_index(config.of("VirtualService"))

    def speaker(host: str) -> str | None:
        found = index.claiming(host)
        return found.key.name if found else None

    assert speaker("v1.api.example.com") == "exact"
    assert speaker("v2.api.example.com") == "narrow"
    assert speaker("www.example.com") == "wide"
    assert speaker("example.com") is None


def test_of_two_that_claim_one_host_the_first_speaks() -> None:
    config = a_config(
        a_virtual_service("reviews", "x", name="b"), a_virtual_service("reviews", "x", name="a")
    )
    found = host_index(config.of("VirtualService")).claiming("reviews.bookinfo.svc.cluster.local")

    assert found is not None
    assert found.key.name == "a"


def test_clients_are_told_apart_by_no_more_labels_than_virtual_services_name() -> None:
    route = {"route": [{"destination": {"host": "x"}}]}
    config = a_config(
        a_virtual_service("a", http=[{"match": [{"sourceLabels": {"app": "web", "tier": "1"}}], **route}]),
        a_virtual_service("b", http=[{"match": [{"sourceLabels": {"app": "x"}}], **route}]),
    )

    assert selection_keys(config.of("VirtualService")) == {"app", "tier"}
