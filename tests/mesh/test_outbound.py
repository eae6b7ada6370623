from __future__ import annotations

from mesh.proxies import Interception
from mesh.scope import OutboundKey, Scope
from mesh.views import OutboundView, RouteTable
from tests.support.config import a_port, a_proxy, a_service, a_virtual_service, a_world, document


def view(*documents: str, **proxy: Interception) -> OutboundView:
    world, scope = a_world(*documents), Scope()
    key = scope.facets(world, a_proxy(**proxy)).outbound
    assert isinstance(key, OutboundKey)
    return scope.outbound(world, key)


def hosts(table: RouteTable) -> dict[str, list[str]]:
    """Where each virtual host's first route leads."""
    return {
        host.name: [f"{to.host.partition('.')[0]}:{to.port}" for to in host.routes[0].destinations]
        for host in table.virtual_hosts
    }


def tables(*documents: str, **proxy: Interception) -> dict[str, dict[str, list[str]]]:
    return {table.name: hosts(table) for table in view(*documents, **proxy).tables}


def test_under_capture_there_is_a_table_for_each_http_port() -> None:
    found = tables(
        a_service("reviews", ports=[a_port(80), a_port(9080)]),
        a_service("ratings"),
        a_service("db", ports=[a_port(3306, "TCP")]),
        a_service("odd", ports=[a_port(7000, "", name="odd")], addresses=["240.0.0.1"]),
    )

    assert found == {
        "80": {"reviews.bookinfo.svc.cluster.local:80": ["reviews:80"]},
        "9080": {
            "ratings.bookinfo.svc.cluster.local:9080": ["ratings:9080"],
            "reviews.bookinfo.svc.cluster.local:9080": ["reviews:9080"],
        },
        "odd.bookinfo.svc.cluster.local:7000": {"odd.bookinfo.svc.cluster.local:7000": ["odd:7000"]},
    }


def test_a_virtual_service_speaks_for_its_host_on_every_port() -> None:
    found = tables(
        a_service("reviews", ports=[a_port(80), a_port(9080)]),
        a_service("ratings"),
        a_virtual_service("reviews", "ratings"),
    )

    assert found["80"]["reviews.bookinfo.svc.cluster.local:80"] == ["ratings:9080"]
    assert found["9080"]["reviews.bookinfo.svc.cluster.local:9080"] == ["ratings:9080"]


def test_a_virtual_service_none_of_whose_matches_concern_the_client_leaves_the_service_alone() -> None:
    http = [{"match": [{"sourceNamespace": "web"}], "route": [{"destination": {"host": "ratings"}}]}]
    found = tables(a_service("reviews"), a_service("ratings"), a_virtual_service("reviews", http=http))

    assert found["9080"]["reviews.bookinfo.svc.cluster.local:9080"] == ["reviews:9080"]


def test_a_name_in_no_registry_is_served_on_port_80() -> None:
    found = tables(a_service("reviews"), a_virtual_service("api.example.com", "reviews"))

    assert found["80"] == {"api.example.com:80": ["reviews:9080"]}


def test_a_wildcard_that_services_match_speaks_for_those_alone() -> None:
    wide = a_virtual_service("*.bookinfo.svc.cluster.local", "reviews", name="wide")
    found = tables(a_service("reviews"), a_service("ratings"), wide)

    assert found == {
        "9080": {
            "ratings.bookinfo.svc.cluster.local:9080": ["reviews:9080"],
            "reviews.bookinfo.svc.cluster.local:9080": ["reviews:9080"],
        }
    }


def test_without_capture_the_http_proxy_knows_every_name_with_its_port() -> None:
    found = view(
        a_service("reviews", addresses=["127.0.0.9"]),
        a_service("ratings", ports=[a_port(80)]),
        a_virtual_service("api.example.com", "reviews"),
        interception=Interception.NONE,
    )
    by_name = {table.name: table for table in found.tables}

    # The bound listener needs its own table; nobody reads that of port 80.
    assert sorted(by_name) == ["9080", "http_proxy"]
    domains = [domain for host in by_name["http_proxy"].virtual_hosts for domain in host.domains]
    assert {"reviews:9080", "ratings", "ratings:80", "api.example.com", "127.0.0.9:9080"} <= set(domains)
    assert "reviews" not in domains
    assert len(domains) == len(set(domains))


def test_two_namespaces_services_do_not_fight_for_a_short_name() -> None:
    """``reviews.web`` is a host name of its own here, and a short form of a service there."""
    found = view(a_service("reviews", "web"), a_service("odd", hosts=["reviews.web"]))
    domains = [domain for host in found.tables[0].virtual_hosts for domain in host.domains]

    assert len(domains) == len(set(domains))


def test_what_happens_to_undeclared_names_is_the_sidecars_word_before_the_meshs() -> None:
    sidecar = document("Sidecar", "default", outboundTrafficPolicy={"mode": "REGISTRY_ONLY"})

    assert view(a_service("reviews")).tables[0].fallback == "ALLOW_ANY"
    assert view(a_service("reviews"), sidecar).tables[0].fallback == "REGISTRY_ONLY"
