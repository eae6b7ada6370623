from __future__ import annotations

from pathlib import Path
from typing import Any

from mesh.names import ObjectKey
from mesh.proxies import Interception
from mesh.services import Protocol, Resolution
from mesh.views import Cluster, Settings
from tests.support.envoys import needs_envoy, refusal, write_authority
from tests.support.views import (
    SETTINGS,
    a_cluster,
    a_port,
    a_service,
    an_endpoint,
    an_inbound_port,
    an_inbound_view,
    an_outbound_view,
)
from xds import envoy
from xds.memo import Memo
from xds.resources import Resource
from xds.translate import clusters

REVIEWS = "outbound|9080||reviews.bookinfo.svc.cluster.local"


def literal(resource: Resource) -> dict[str, Any]:
    return envoy.as_dict(resource.message)


def dns(**fields: Any) -> Cluster:
    service = a_service("api.example.com", a_port(443, Protocol.HTTP), resolution=Resolution.DNS)
    return a_cluster(service=service, dns_endpoints=(an_endpoint("api.example.com", 443),), **fields)


def test_every_cluster_of_the_view_is_there_and_two_for_everything_else() -> None:
    view = an_outbound_view(a_cluster(), a_cluster(subset="v1"), a_cluster("ratings"))
    assert [made.name for made in clusters.outbound_clusters(view, Memo())] == [
        REVIEWS,
        "outbound|9080|v1|reviews.bookinfo.svc.cluster.local",
        "outbound|9080||ratings.bookinfo.svc.cluster.local",
        "PassthroughCluster",
        "BlackHoleCluster",
    ]


def test_endpoints_of_a_service_come_over_ads_and_are_needed() -> None:
    made = clusters.outbound(a_cluster(), SETTINGS)
    assert literal(made)["type"] == "EDS"
    assert literal(made)["eds_cluster_config"] == {
        "eds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
        "service_name": REVIEWS,
    }
    assert made.needs == (REVIEWS,)


def test_names_of_a_dns_service_are_part_of_the_cluster() -> None:
    made = clusters.outbound(dns(), SETTINGS)
    assert made.needs == ()
    assert literal(made)["type"] == "STRICT_DNS"
    assert literal(made)["load_assignment"] == {
        "cluster_name": "outbound|443||api.example.com",
        "endpoints": [
            {
                "lb_endpoints": [
                    {
                        "endpoint": {
                            "address": {"socket_address": {"address": "api.example.com", "port_value": 443}}
                        },
                        "load_balancing_weight": 1,
                    }
                ],
                "load_balancing_weight": 1,
            }
        ],
    }


def test_a_passthrough_service_needs_no_endpoints() -> None:
    made = clusters.outbound(a_cluster(policy={"loadBalancer": {"simple": "PASSTHROUGH"}}), SETTINGS)
    assert literal(made)["type"] == "ORIGINAL_DST"
    assert made.needs == ()


def test_a_cluster_knows_the_objects_it_came_from() -> None:
    made = clusters.outbound(a_cluster(), SETTINGS)
    assert made.sources == (
        ObjectKey("ServiceEntry", "bookinfo", "reviews"),
        ObjectKey("DestinationRule", "bookinfo", "reviews"),
    )


def test_connections_to_undeclared_hosts_go_where_they_were_going() -> None:
    made = literal(clusters.passthrough(SETTINGS))
    assert (made["type"], made["lb_policy"]) == ("ORIGINAL_DST", "CLUSTER_PROVIDED")


def test_the_black_hole_has_no_endpoints() -> None:
    made = literal(clusters.black_hole(SETTINGS))
    assert made == {"name": "BlackHoleCluster", "type": "STATIC", "connect_timeout": "10s"}


def test_an_inbound_cluster_is_the_application_on_the_loopback() -> None:
    (made,) = clusters.inbound_clusters(an_inbound_view(an_inbound_port(8080)), Memo())
    assert made.name == "inbound|8080||"
    endpoint = literal(made)["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint == {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}}}


def test_an_inbound_cluster_never_upgrades() -> None:
    """An application that speaks HTTP/1.1 must not be spoken to in HTTP/2 because its callers are."""
    upgrading = a_cluster(policy={"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}}})
    port = an_inbound_port(pool=upgrading.policy.connection_pool)
    assert "typed_extension_protocol_options" not in literal(clusters.inbound(port, SETTINGS))


def test_undeclared_ports_reach_the_application_under_capture_only() -> None:
    def names(interception: Interception) -> list[str]:
        view = an_inbound_view(interception=interception)
        return [made.name for made in clusters.inbound_clusters(view, Memo())]

    assert names(Interception.NONE) == ["inbound|9080||"]
    assert names(Interception.REDIRECT) == ["inbound|9080||", "InboundPassthroughCluster"]


def test_what_reaches_undeclared_ports_can_be_told_from_the_applications_own() -> None:
    made = literal(clusters.inbound_passthrough(SETTINGS))
    assert made["upstream_bind_config"] == {"source_address": {"address": "127.0.0.6", "port_value": 0}}


def test_equal_inputs_give_equal_bytes() -> None:
    assert clusters.outbound(a_cluster(), Settings()).body == clusters.outbound(a_cluster(), SETTINGS).body


def test_a_cluster_is_made_once_as_long_as_nothing_it_depends_on_changes() -> None:
    memo = Memo()
    reviews, ratings = a_cluster(), a_cluster("ratings")
    first = list(clusters.outbound_clusters(an_outbound_view(reviews, ratings), memo))
    memo.end_generation()
    changed = a_cluster("ratings", auto_mutual_tls=True)
    second = list(clusters.outbound_clusters(an_outbound_view(reviews, changed), memo))
    assert memo.made["outbound"] == 3
    assert [old is new for old, new in zip(first, second, strict=True)] == [True, False, True, True]


PING = {"interval": "30s", "timeout": "5s"}
BALANCERS: list[dict[str, Any]] = [
    {"simple": name} for name in ("RANDOM", "ROUND_ROBIN", "LEAST_REQUEST", "PASSTHROUGH")
] + [
    {"consistentHash": {"httpHeaderName": "x", **said}}
    for said in ({}, {"maglev": {"tableSize": 101}}, {"ringHash": {"minimumRingSize": 16}})
]
POOLS: list[dict[str, Any]] = [
    {"tcp": {"maxConnections": 1, "connectTimeout": "1s", "tcpKeepalive": {"time": "60s"}}},
    {"tcp": {"maxConnectionDuration": "60s", "idleTimeout": "60s"}, "http": {"maxRequestsPerConnection": 1}},
    {"http": {"h2UpgradePolicy": "UPGRADE", "maxConcurrentStreams": 5, "http2KeepAlive": PING}},
    {"http": {"useClientProtocol": True, "idleTimeout": "5s"}},
]
EJECTIONS: list[dict[str, Any]] = [
    {"outlierDetectionHttpErrorCodes": [429]},
    {"outlierDetectionHttpErrorCodes": [429, 503]},
    {"consecutive5xxErrors": 3, "interval": "1s", "minHealthPercent": 10, "maxEjectionPercent": 100},
    {
        "splitExternalLocalOriginErrors": True,
        "consecutiveLocalOriginFailures": 2,
        "consecutiveGatewayErrors": 0,
    },
]
SECURITY: list[dict[str, Any]] = [
    {"mode": "DISABLE"},
    {"mode": "ISTIO_MUTUAL", "sni": "x"},
    {"mode": "SIMPLE", "insecureSkipVerify": True},
    {"mode": "SIMPLE", "caCertificates": "ca.pem", "subjectAltNames": ["a.b", "10.0.0.1", "spiffe://x/y"]},
]


@needs_envoy
def test_envoy_takes_every_cluster_we_can_make(tmp_path: Path) -> None:
    write_authority(tmp_path / "ca.pem")
    protocols = [
        a_cluster(f"p{at}", service=a_service(f"p{at}", a_port(9080, protocol)), auto_mutual_tls=True)
        for at, protocol in enumerate(Protocol)
        if protocol is not Protocol.UDP
    ]
    blocks = (
        ("loadBalancer", BALANCERS),
        ("connectionPool", POOLS),
        ("outlierDetection", EJECTIONS),
        ("tls", SECURITY),
    )
    written = [
        a_cluster(f"{word.lower()}{at}", policy={word: said}, auto_mutual_tls=True)
        for word, all_said in blocks
        for at, said in enumerate(all_said)
    ]
    outbound = an_outbound_view(*protocols, *written, dns(auto_mutual_tls=True))
    inbound = an_inbound_view(
        *(an_inbound_port(9000 + at, protocol) for at, protocol in enumerate(Protocol)),
        interception=Interception.REDIRECT,
    )
    made = [*clusters.outbound_clusters(outbound, Memo()), *clusters.inbound_clusters(inbound, Memo())]
    assert refusal(made, tmp_path) == ""
