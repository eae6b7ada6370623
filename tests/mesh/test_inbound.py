from __future__ import annotations

from typing import Any

from mesh.scope import Scope
from mesh.services import Protocol
from mesh.views import InboundView, MutualTls
from tests.support.config import ROOT, a_port, a_proxy, a_service, a_workload, a_world, document


def view(*documents: str) -> InboundView:
    found = Scope().facets(a_world(*documents), a_proxy("reviews")).inbound
    assert found is not None
    return found


def of_app(app: str) -> dict[str, Any]:
    return {"selector": {"matchLabels": {"app": app}}}


def test_a_workload_answers_for_every_port_of_the_services_that_select_it() -> None:
    found = view(
        a_service("reviews", ports=[a_port(9080), a_port(80, targetPort=8080), a_port(5432, "TCP")]),
        a_workload("reviews", ports={"tcp-5432": 6000}),
        a_service("ratings"),
    )

    assert [(port.target, port.port.number, port.port.protocol) for port in found.ports] == [
        (6000, 5432, Protocol.TCP),
        (8080, 80, Protocol.HTTP),
        (9080, 9080, Protocol.HTTP),
    ]


def test_of_two_services_on_one_workload_port_the_first_names_it() -> None:
    second = a_service("also", workloadSelector={"labels": {"app": "reviews"}})
    (port,) = view(a_service("reviews"), second, a_workload("reviews")).ports

    assert port.host == "also.bookinfo.svc.cluster.local"


def test_mutual_tls_is_by_the_workloads_own_port() -> None:
    strict = document("PeerAuthentication", "default", ROOT, mtls={"mode": "STRICT"})
    ports = {8080: {"mode": "PERMISSIVE"}}
    own = document(
        "PeerAuthentication", "own", mtls={"mode": "UNSET"}, portLevelMtls=ports, **of_app("reviews")
    )
    found = view(
        a_service("reviews", ports=[a_port(80, targetPort=8080), a_port(9080)]),
        a_workload("reviews"),
        strict,
        own,
    )

    assert [port.mutual_tls for port in found.ports] == [MutualTls.PERMISSIVE, MutualTls.STRICT]
    assert found.mutual_tls is MutualTls.STRICT


def test_of_a_traffic_policy_the_connection_pool_alone_acts_inbound() -> None:
    policy = {"connectionPool": {"tcp": {"maxConnections": 7}}, "loadBalancer": {"simple": "RANDOM"}}
    rule = document("DestinationRule", "reviews", host="reviews", trafficPolicy=policy)
    (port,) = view(a_service("reviews"), a_workload("reviews"), rule).ports

    assert port.pool is not None
    assert port.pool.tcp is not None
    assert port.pool.tcp.max_connections == 7


def test_a_clients_rule_for_a_service_does_not_act_on_the_service() -> None:
    policy = {"connectionPool": {"tcp": {"maxConnections": 7}}}
    host = "reviews.bookinfo.svc.cluster.local"
    rule = document("DestinationRule", "reviews", "web", host=host, trafficPolicy=policy)

    assert view(a_service("reviews"), a_workload("reviews"), rule).ports[0].pool is None


def test_a_workload_of_no_service_has_no_ports() -> None:
    assert view(a_workload("reviews")).ports == ()


def test_a_demand_on_a_port_holds_whether_or_not_a_service_declares_it() -> None:
    """Else a port that is STRICT by name would take plain text, because nobody declared it."""
    ports = {9080: {"mode": "STRICT"}, 9999: {"mode": "STRICT"}, 7: {"mode": "PERMISSIVE"}}
    own = document("PeerAuthentication", "own", portLevelMtls=ports, **of_app("reviews"))

    assert view(a_service("reviews"), a_workload("reviews"), own).undeclared == ((9999, MutualTls.STRICT),)
