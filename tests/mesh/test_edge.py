from __future__ import annotations

from typing import Any

import pytest

from mesh.edge import servers
from mesh.proxies import Proxy, Role
from mesh.scope import GatewayKey, Scope
from mesh.views import GatewayView, OutboundView
from tests.support.config import a_config, a_proxy, a_service, a_virtual_service, a_world, document

EDGE: dict[str, Any] = {"role": Role.GATEWAY, "labels": {"app": "edge"}}
TLS = {"mode": "SIMPLE", "credentialName": "site"}


def a_server(
    *hosts: str, port: int = 80, protocol: str = "HTTP", name: str = "", **fields: Any
) -> dict[str, Any]:
    listed = {"number": port, "protocol": protocol, "name": name or f"{protocol.lower()}-{port}"}
    return {"port": listed, "hosts": list(hosts), **fields}


def secure(*hosts: str, name: str = "https", port: int = 443) -> dict[str, Any]:
    return a_server(*hosts, port=port, protocol="HTTPS", name=name, tls=TLS)


def a_gateway(*offered: dict[str, Any], name: str = "edge", namespace: str = "bookinfo") -> str:
    return document("Gateway", name, namespace, selector={"app": "edge"}, servers=list(offered))


def views(*documents: str, **proxy: Any) -> tuple[GatewayView, OutboundView]:
    world, scope = a_world(*documents), Scope()
    key = scope.facets(world, a_edge(**proxy)).outbound
    assert isinstance(key, GatewayKey)
    return scope.gateway(world, key)


def a_edge(**fields: Any) -> Proxy:
    return a_proxy("edge", **{**EDGE, **fields})


def tables(*documents: str, **proxy: Any) -> dict[str, dict[str, list[str]]]:
    """Per table and domain, where its routes lead, in order."""
    return {
        table.name: {
            domain: [route.destinations[0].host.partition(".")[0] for route in host.routes]
            for host in table.virtual_hosts
            for domain in host.domains
        }
        for table in views(*documents, **proxy)[0].tables
    }


def bound(host: str, to: str = "reviews", **spec: Any) -> str:
    return a_virtual_service(
        host, to, **{"name": f"{host}-{to}".replace("*", "any"), "gateways": ["edge"], **spec}
    )


SERVICES = a_service("reviews"), a_service("ratings")


@pytest.mark.parametrize(
    ("offered", "host", "domain"),
    [
        ("*", "a.example.com", "a.example.com"),
        ("*.example.com", "a.example.com", "a.example.com"),
        ("a.example.com", "*.example.com", "a.example.com"),
        ("*.example.com", "*.a.example.com", "*.a.example.com"),
        ("*.a.example.com", "*.example.com", "*.a.example.com"),
        ("bookinfo/*", "a.example.com", "a.example.com"),
        ("./*", "a.example.com", "a.example.com"),
        ("*/*", "a.example.com", "a.example.com"),
        ("web/*", "a.example.com", None),
        ("b.example.com", "a.example.com", None),
    ],
)
def test_a_virtual_service_is_bound_where_its_host_meets_a_servers(
    offered: str, host: str, domain: str | None
) -> None:
    found = tables(*SERVICES, a_gateway(a_server(offered)), bound(host))

    assert found == {"http.80": {domain: ["reviews"]} if domain else {}}


def test_a_dot_is_the_gateways_namespace_and_not_the_virtual_services() -> None:
    theirs = bound("a.example.com", gateways=["infra/edge"])

    assert tables(*SERVICES, a_gateway(a_server("./*"), namespace="infra"), theirs) == {"http.80": {}}


@pytest.mark.parametrize("name", ["edge", "./edge", "bookinfo/edge", "edge.bookinfo.svc.cluster.local"])
def test_a_gateway_is_found_by_each_of_its_names(name: str) -> None:
    found = tables(*SERVICES, a_gateway(a_server("*")), bound("a.example.com", gateways=[name]))

    assert found == {"http.80": {"a.example.com": ["reviews"]}}


def test_a_virtual_service_of_the_mesh_alone_is_not_offered() -> None:
    assert tables(*SERVICES, a_gateway(a_server("*")), bound("a.example.com", gateways=["mesh"])) == {
        "http.80": {}
    }


def test_a_gateway_in_another_namespace_needs_the_virtual_service_exported_to_it() -> None:
    private = bound("a.example.com", exportTo=["."])
    proxy = a_edge(namespace="infra")

    assert tables(*SERVICES, a_gateway(a_server("*")), private, namespace=proxy.namespace) == {"http.80": {}}


def test_several_virtual_services_for_one_host_follow_each_other_with_what_takes_everything_last() -> None:
    prefix = [{"match": [{"uri": {"prefix": "/ratings"}}], "route": [{"destination": {"host": "ratings"}}]}]
    everything = bound("a.example.com", name="a")
    some = bound("a.example.com", "ratings", name="b", http=prefix)

    assert tables(*SERVICES, a_gateway(a_server("*")), everything, some) == {
        "http.80": {"a.example.com": ["ratings", "reviews"]}
    }


def test_plain_servers_of_one_port_share_a_listener_and_secure_ones_have_their_own() -> None:
    config = a_config(
        a_gateway(a_server("a.example.com"), secure("a.example.com"), name="one"),
        a_gateway(a_server("b.example.com"), secure("b.example.com"), name="two"),
    )
    found = servers(*config.of("Gateway"))

    assert [(one.port, one.routes, one.sni_hosts, one.secret) for one in found] == [
        (80, "http.80", (), ""),
        (443, "https.443.https.one.bookinfo", ("a.example.com",), "kubernetes://site"),
        (443, "https.443.https.two.bookinfo", ("b.example.com",), "kubernetes://site"),
    ]


def test_of_two_secure_servers_that_share_a_host_the_first_stays() -> None:
    """Envoy would refuse the whole listener, and with it the hosts of everybody."""
    config = a_config(
        a_gateway(secure("a.example.com", "b.example.com"), name="one"),
        a_gateway(
            secure("b.example.com", "c.example.com"), secure("d.example.com", name="other"), name="two"
        ),
    )

    assert [one.sni_hosts for one in servers(*config.of("Gateway"))] == [
        ("a.example.com", "b.example.com"),
        ("d.example.com",),
    ]


def test_a_bind_address_is_part_of_a_plain_listeners_name() -> None:
    config = a_config(a_gateway(a_server("*", bind="127.0.0.9"), a_server("*", name="other")))

    assert [(one.bind, one.routes) for one in servers(*config.of("Gateway"))] == [
        ("", "http.80"),
        ("127.0.0.9", "http.80.127.0.0.9"),
    ]


def test_each_secure_server_has_a_table_of_its_own() -> None:
    found = tables(
        *SERVICES,
        a_gateway(secure("a.example.com"), secure("b.example.com", name="other")),
        bound("*.example.com"),
    )

    assert found == {
        "https.443.https.edge.bookinfo": {"a.example.com": ["reviews"]},
        "https.443.other.edge.bookinfo": {"b.example.com": ["reviews"]},
    }


def test_a_server_that_redirects_does_so_for_hosts_nobody_routes_too() -> None:
    redirecting = a_server("*.example.com", tls={"httpsRedirect": True})
    (table,) = views(*SERVICES, a_gateway(redirecting), bound("a.example.com"))[0].tables

    assert {host.domains: (host.https_redirect, len(host.routes)) for host in table.virtual_hosts} == {
        ("*.example.com",): (True, 0),
        ("a.example.com",): (True, 1),
    }


def test_a_gateway_is_told_of_the_clusters_it_sends_to_and_of_no_others() -> None:
    subsets = document(
        "DestinationRule", "reviews", host="reviews", subsets=[{"name": "v1", "labels": {"version": "v1"}}]
    )
    _, behind = views(*SERVICES, subsets, a_gateway(a_server("*")), bound("a.example.com"))

    assert [cluster.name for cluster in behind.clusters] == [
        "outbound|9080||reviews.bookinfo.svc.cluster.local",
        "outbound|9080|v1|reviews.bookinfo.svc.cluster.local",
    ]
    assert behind.listeners == ()


def test_a_proxy_offers_the_gateways_that_select_it() -> None:
    found = tables(*SERVICES, a_gateway(a_server("*")), bound("a.example.com"), labels={"app": "other"})

    assert found == {}
