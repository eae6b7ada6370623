"""Facets put together: what each holds, in which order, and what of it is made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mesh.proxies import Interception
from mesh.views import GatewayView, HostView, HttpListener, OutboundView, Passthrough
from tests.support.envoys import application, needs_envoy, running
from tests.support.served import Callers, ask, free_port, served
from tests.support.views import (
    SETTINGS,
    a_cluster,
    a_table,
    an_endpoint,
    an_endpoints_view,
    an_inbound_port,
    an_inbound_view,
    an_outbound_view,
)
from xds import envoy, translate
from xds.memo import Memo
from xds.resources import InconsistentError, Part, Resource, check_consistent
from xds.translate import Resources

REVIEWS = "outbound|9080||reviews.bookinfo.svc.cluster.local"


def a_listener(port: int = 9080, address: str = "127.0.7.5") -> HttpListener:
    return HttpListener(address=address, port=port, routes="9080", is_bound=True)


def an_outbound(**fields: object) -> OutboundView:
    made = an_outbound_view(a_cluster(), tables=(a_table(),), listeners=(a_listener(),))
    return replace(made, **fields)  # type: ignore[arg-type]


def names(made: Resources) -> dict[str, list[str]]:
    return {envoy.SHORT_NAMES[type_url]: [one.name for one in found] for type_url, found in made.items()}


def test_an_outbound_facet_has_clusters_then_listeners_then_tables() -> None:
    assert names(translate.outbound_resources(an_outbound(), Memo())) == {
        "cds": [REVIEWS, "PassthroughCluster", "BlackHoleCluster"],
        "lds": ["127.0.7.5_9080"],
        "rds": ["9080"],
    }


def test_an_inbound_facet_has_listeners_under_capture_alone() -> None:
    """Without capture they stand at the machine's address, so they are the host's."""
    port, memo = an_inbound_port(), Memo()
    bound, captured = (
        an_inbound_view(port, interception=how) for how in (Interception.NONE, Interception.REDIRECT)
    )
    assert names(translate.inbound_resources(captured, memo)) == {
        "cds": ["inbound|9080||", "InboundPassthroughCluster"],
        "lds": ["virtualInbound"],
    }
    assert names(translate.inbound_resources(bound, memo)) == {"cds": ["inbound|9080||"], "lds": []}
    host = HostView(
        inbound=bound, address="10.0.0.7", http_proxy_port=15002, passthrough=Passthrough.ALLOW_ANY
    )
    assert names(translate.host_resources(host, memo)) == {"lds": ["10.0.0.7_9080", "127.0.0.1_15002"]}


def test_trust_is_one_secret_and_endpoints_are_assignments() -> None:
    assert names(translate.trust_resources(("root",), Memo())) == {"sds": ["ROOTCA"]}
    view = an_endpoints_view(**{REVIEWS: (an_endpoint(),)})
    assert names(translate.endpoint_resources(view, Memo())) == {"eds": [REVIEWS]}


def test_a_listener_without_its_table_is_a_bug_and_is_not_served() -> None:
    with pytest.raises(
        InconsistentError, match=r"^'127\.0\.7\.5_9080' points at '9080', which does not exist$"
    ):
        translate.outbound_resources(an_outbound(tables=()), Memo())


def test_the_facets_of_one_sidecar_are_whole_together() -> None:
    """Every cluster has its assignment and every listener its table; no name stands twice."""
    memo = Memo()
    inbound = an_inbound_view()
    host = HostView(
        inbound=inbound, address="10.0.0.7", http_proxy_port=15002, passthrough=Passthrough.ALLOW_ANY
    )
    tables = (a_table(), a_table(name="http_proxy"))
    facets = (
        translate.outbound_resources(an_outbound(tables=tables), memo),
        translate.endpoint_resources(an_endpoints_view(**{REVIEWS: (an_endpoint(),)}), memo),
        translate.inbound_resources(inbound, memo),
        translate.host_resources(host, memo),
        translate.trust_resources(("root",), memo),
    )
    by_type = {
        type_url: tuple(Part.of(type_url, facet.get(type_url, ())) for facet in facets)
        for type_url in envoy.TYPES
    }
    check_consistent(by_type)
    for parts in by_type.values():
        found = [name for part in parts for name in part.resources]
        assert len(found) == len(set(found))


def test_the_same_view_makes_the_same_bytes() -> None:
    first, second = (translate.outbound_resources(an_outbound(), Memo()) for _ in range(2))
    for type_url, resources in first.items():
        assert [one.version for one in resources] == [one.version for one in second[type_url]]


def test_one_changed_listener_is_all_that_is_made_again() -> None:
    memo, view = Memo(), an_outbound()
    translate.outbound_resources(view, memo)
    before = memo.made.copy()
    memo.end_generation()
    translate.outbound_resources(replace(view, listeners=(*view.listeners, a_listener(9090))), memo)
    assert memo.made - before == {"outbound_listener": 1}


def test_a_gateway_has_no_listener_without_servers() -> None:
    view = GatewayView(settings=SETTINGS, servers=(), tables=(a_table(name="http.80", fallback=None),))
    assert names(translate.gateway_resources(view, Memo())) == {"lds": [], "rds": ["http.80"], "sds": []}


@needs_envoy
def test_two_sidecars_carry_a_request_over_mutual_tls(tmp_path: Path) -> None:
    """Productpage calls a loopback name of reviews; its proxy calls the proxy of reviews."""
    callers, memo = Callers(tmp_path), Memo()
    (client := tmp_path / "client").mkdir()
    (server := tmp_path / "server").mkdir()
    port = free_port("127.0.7.5")
    with application("reviews") as app:
        workload = an_inbound_view(an_inbound_port(app.port))
        host = HostView(
            inbound=workload, address="127.0.7.6", http_proxy_port=0, passthrough=Passthrough.ALLOW_ANY
        )
        trust = translate.trust_resources(callers.roots, memo)
        of_server = (translate.inbound_resources(workload, memo), translate.host_resources(host, memo), trust)
        reached = an_endpoint("127.0.7.6", app.port, mutual_tls=True)
        of_client = (
            translate.outbound_resources(
                an_outbound_view(
                    a_cluster(auto_mutual_tls=True),
                    tables=(a_table(),),
                    listeners=(replace(a_listener(port), routes="9080"),),
                ),
                memo,
            ),
            translate.endpoint_resources(an_endpoints_view(**{REVIEWS: (reached,)}), memo),
            trust,
        )
        with (
            running(served(_all(of_server), server, callers.pair("reviews")), server),
            running(served(_all(of_client), client, callers.pair("productpage")), client),
        ):
            answer = ask(("127.0.7.5", port), "/shelf")
    assert answer.status == 200
    assert answer.json["headers"]["x-forwarded-client-cert"].endswith("/sa/productpage")


def _all(facets: tuple[Resources, ...]) -> list[Resource]:
    return [one for facet in facets for made in facet.values() for one in made]
