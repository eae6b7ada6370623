"""What a gateway passes on unopened: which services, to whom, and under which names."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.proxies import Role
from mesh.scope import GatewayKey, Scope
from mesh.views import PassingServer
from tests.support.config import (
    Meshes,
    a_port,
    a_proxy,
    a_service,
    a_workload,
    document,
)
from xds.names import ClusterName

EDGE: dict[str, Any] = {"role": Role.GATEWAY, "labels": {"app": "edge"}, "namespace": "istio-system"}
SUBSETS = document(
    "DestinationRule",
    "reviews",
    host="reviews",
    subsets=[{"name": name, "labels": {"version": name.lower()}} for name in ("V2", "v1")],
)


def a_server(
    *hosts: str, port: int = 15443, name: str = "tls", protocol: str = "TLS", **fields: Any
) -> dict[str, Any]:
    listed = {"number": port, "protocol": protocol, "name": name}
    return {"port": listed, "hosts": list(hosts), "tls": {"mode": "AUTO_PASSTHROUGH"}, **fields}


def a_gateway(*offered: dict[str, Any], namespace: str = "istio-system") -> str:
    return document("Gateway", "edge", namespace, selector={"app": "edge"}, servers=list(offered))


def servers(*documents: str) -> tuple[PassingServer, ...]:
    world, scope = Meshes().world(*documents), Scope()
    key = scope.facets(world, a_proxy("edge", **EDGE)).outbound
    assert isinstance(key, GatewayKey)
    view, _ = scope.gateway(world, key)
    assert view.servers == view.tables == ()
    return view.passing


def passed(*documents: str) -> list[str]:
    (server,) = servers(*documents)
    return [cluster.name for cluster, _ in server.passes]


def name(port: int = 9080, subset: str = "", app: str = "reviews", namespace: str = "bookinfo") -> str:
    return ClusterName("outbound", port, subset, f"{app}.{namespace}.svc.cluster.local").sni


def test_every_port_and_subset_is_passed_on_by_the_name_that_clients_ask_for() -> None:
    service = a_service("reviews", ports=[a_port(9080), a_port(80, "TCP")])

    assert passed(service, SUBSETS, a_gateway(a_server("*"))) == [
        name(port, subset) for port in (80, 9080) for subset in ("", "V2", "v1")
    ]


@pytest.mark.parametrize(
    ("host", "apps"),
    [
        ("*", ["ratings", "reviews"]),
        ("*.local", ["ratings", "reviews"]),
        ("*.bookinfo.svc.cluster.local", ["reviews"]),
        ("reviews.bookinfo.svc.cluster.local", ["reviews"]),
        ("*.example.com", []),
        ("bookinfo/*", ["reviews"]),
        ("./*", []),
        ("*/*.local", ["ratings", "reviews"]),
    ],
)
def test_a_service_is_passed_on_where_a_host_of_the_server_covers_it(host: str, apps: list[str]) -> None:
    mesh = a_service("reviews"), a_service("ratings", "shop"), a_gateway(a_server(host))

    assert [one.split(".")[3] for one in passed(*mesh)] == apps


@pytest.mark.parametrize(
    "service",
    [
        a_service("reviews", location="MESH_EXTERNAL"),
        a_service("reviews", resolution="DNS", endpoints=[{"address": "a.example.com"}]),
        a_service("reviews", exportTo=["."]),
        a_service("reviews", exportTo=["shop"]),
    ],
)
def test_what_is_not_of_the_mesh_or_not_for_the_gateway_is_not_passed_on(service: str) -> None:
    assert passed(service, a_gateway(a_server("*"))) == []


def test_what_is_not_called_with_mutual_tls_is_not_passed_on() -> None:
    """Whoever reaches the gateway could call it, without being anybody."""
    plain = document("DestinationRule", "reviews", host="reviews", trafficPolicy={"tls": {"mode": "DISABLE"}})
    off = document("PeerAuthentication", "off", "bookinfo", mtls={"mode": "DISABLE"})

    assert passed(a_service("reviews"), plain, a_gateway(a_server("*"))) == []
    assert passed(a_service("reviews"), off, a_gateway(a_server("*"))) == []


def test_of_two_servers_of_a_port_the_first_has_the_word() -> None:
    """Envoy refuses a listener in which two chains ask for one name, in upper or lower case."""
    rule = document(
        "DestinationRule",
        "reviews",
        host="reviews",
        subsets=[{"name": word, "labels": {"version": word}} for word in ("A", "a")],
    )
    both = a_gateway(
        a_server("*"), a_server("*.local", name="too"), a_server("*.local", name="other", port=443)
    )

    found = servers(a_service("reviews"), rule, both)

    assert [(one.port, [cluster.subset for cluster, _ in one.passes]) for one in found] == [
        (15443, ["", "A"]),
        (15443, []),
        (443, ["", "A"]),
    ]


def test_https_is_tls_too() -> None:
    assert passed(a_service("reviews"), a_gateway(a_server("*", protocol="HTTPS"))) == [name()]


def test_the_policy_of_the_destination_holds_as_far_as_bytes_go() -> None:
    """A gateway that sent connections where they were going would call itself."""
    rule = document(
        "DestinationRule",
        "reviews",
        host="reviews",
        trafficPolicy={
            "loadBalancer": {"simple": "PASSTHROUGH"},
            "connectionPool": {"tcp": {"idleTimeout": "7s", "maxConnectionDuration": "9s"}},
        },
    )

    (server,) = servers(a_service("reviews"), rule, a_gateway(a_server("*")))
    ((cluster, to),) = server.passes

    assert cluster.policy.load_balancer is None
    assert (cluster.accounts, cluster.is_passed_on) == ((), True)
    assert to.cluster == cluster.name
    assert [str(span) for span in (to.idle_timeout, to.max_duration)] == ["0:00:07", "0:00:09"]


def test_connections_are_passed_on_to_endpoints_of_the_gateways_network_alone() -> None:
    mesh = (
        a_service("reviews"),
        a_gateway(a_server("*")),
        a_workload("reviews", "10.0.0.1", name="here", network="far"),
        a_workload("reviews", "10.0.0.2", name="there", network="near"),
        a_workload("reviews", "10.0.0.3", name="anywhere"),
        a_workload("reviews", "10.0.0.4", name="plain", network="far", serviceAccount=""),
    )
    world, scope = Meshes().world(*mesh), Scope()
    key = scope.facets(world, a_proxy("edge", **EDGE, network="far")).outbound
    assert isinstance(key, GatewayKey)

    _, view = scope.gateway(world, key)
    found = scope.endpoints(world, view, world.services.services)

    assert {at: {one.address for one in some} for at, some in found.by_cluster.items()} == {
        name(): {"10.0.0.1", "10.0.0.3"}
    }


def test_no_gateway_is_passed_on_to() -> None:
    """It would ask for the same name again, and pass on to itself for ever."""
    mesh = (
        a_service("reviews", ports=[a_port(15443), a_port(443), a_port(80)]),
        a_workload("reviews", "10.0.0.1"),
        a_gateway(a_server("*"), namespace="bookinfo"),
        a_gateway(a_server("*", port=443)),
    )
    world, scope = Meshes().world(*mesh), Scope()
    key = scope.facets(world, a_proxy("edge", **EDGE)).outbound
    assert isinstance(key, GatewayKey)

    _, view = scope.gateway(world, key)
    found = scope.endpoints(world, view, world.services.services)

    assert {at: [one.port for one in some] for at, some in found.by_cluster.items()} == {
        name(80): [80],
        name(443): [],
        name(15443): [],
    }


def test_a_change_of_one_service_leaves_what_is_passed_on_of_others_the_same() -> None:
    meshes, scope = Meshes(), Scope()
    before, after = (
        meshes.world(
            a_service("reviews"), a_service("ratings", ports=[a_port(port)]), a_gateway(a_server("*"))
        )
        for port in (80, 81)
    )
    views = []
    for world in (before, after):
        key = scope.facets(world, a_proxy("edge", **EDGE)).outbound
        assert isinstance(key, GatewayKey)
        views.append(scope.gateway(world, key)[0])

    old, new = ({cluster.name: to for cluster, to in view.passing[0].passes} for view in views)

    assert old[name()] is new[name()]
    assert set(old) ^ set(new) == {name(80, app="ratings"), name(81, app="ratings")}
