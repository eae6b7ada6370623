"""The catalogue of ServiceEntries and WorkloadEntries: what is in it, and what stays the same object."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.services import Catalogue, Locality, Location, Protocol, ServiceKey
from tests.support.catalogues import catalogue
from tests.support.config import Meshes, a_config, a_mesh, a_port, a_service, a_workload

REVIEWS = ServiceKey("reviews.bookinfo.svc.cluster.local", "bookinfo")


def made(*documents: str) -> Catalogue:
    return catalogue(a_config(*documents))


def addresses(found: Catalogue, port: int = 9080, key: ServiceKey = REVIEWS) -> list[tuple[str, int]]:
    return [(one.address, one.port) for one in found.endpoints[key].by_port[port]]


def test_a_selector_picks_workloads_of_its_own_namespace() -> None:
    found = made(
        a_service("reviews"),
        a_workload("reviews", "10.0.0.2", name="b"),
        a_workload("reviews", "10.0.0.1", name="a"),
        a_workload("ratings", "10.0.0.3"),
        a_workload("reviews", "10.0.0.4", "web"),
    )

    assert addresses(found) == [("10.0.0.1", 9080), ("10.0.0.2", 9080)]


def test_labels_of_the_object_count_and_those_of_the_spec_win() -> None:
    text = a_workload("reviews", labels={"version": "v1"}).replace(
        '"name": "reviews-1"', '"name": "reviews-1", "labels": {"app": "reviews", "version": "v0"}'
    )

    (workload,) = made(text).workloads.values()
    assert workload.labels == (("app", "reviews"), ("version", "v1"))


def test_a_workload_listens_where_it_says_else_on_the_target_else_on_the_number() -> None:
    found = made(
        a_service("reviews", ports=[a_port(80, targetPort=8080), a_port(9080)]),
        a_workload("reviews", "10.0.0.1", name="a"),
        a_workload("reviews", "10.0.0.2", name="b", ports={"http-80": 81, "other": 1}),
    )

    assert addresses(found, 80) == [("10.0.0.1", 8080), ("10.0.0.2", 81)]
    assert addresses(found, 9080) == [("10.0.0.1", 9080), ("10.0.0.2", 9080)]


def test_what_an_endpoint_is_comes_from_its_workload() -> None:
    text = a_workload("reviews", weight=3, locality="eu/a/1")
    (one,) = made(a_service("reviews"), text).endpoints[REVIEWS].by_port[9080]

    assert (one.weight, one.locality, one.service_account, one.workload, one.mutual_tls) == (
        3,
        Locality("eu", "a", "1"),
        "reviews",
        "reviews-1",
        True,
    )


@pytest.mark.parametrize(
    ("spec", "speaks"),
    [
        ({}, True),
        ({"serviceAccount": ""}, False),
        ({"labels": {"security.istio.io/tlsMode": "istio"}, "serviceAccount": ""}, True),
        ({"labels": {"security.istio.io/tlsMode": "disabled"}}, False),
    ],
)
def test_a_label_says_whether_a_proxy_answers_else_the_account_does(
    spec: dict[str, Any], speaks: bool
) -> None:
    service = a_service("reviews", workloadSelector={"labels": {"app": "reviews"}})
    labelled = {**spec, "labels": {"app": "reviews", **spec.get("labels", {})}}
    found = made(service, a_workload("reviews", **labelled))

    assert [one.mutual_tls for one in found.endpoints[REVIEWS].by_port[9080]] == [speaks]
    # Whoever cannot prove an account is not counted among those who may answer.
    assert found.behind[REVIEWS].accounts == (
        (f"ns/bookinfo/sa/{spec.get('serviceAccount', 'reviews') or 'default'}",) if speaks else ()
    )


def test_listed_endpoints_are_taken_as_they_are_listed() -> None:
    found = made(
        a_service(
            "reviews",
            endpoints=[
                {"address": "10.0.0.2", "ports": {"http-9080": 1}},
                {"address": "10.0.0.1", "serviceAccount": "x"},
            ],
        )
    )

    assert addresses(found) == [("10.0.0.1", 9080), ("10.0.0.2", 1)]
    assert found.behind[REVIEWS].accounts == ("ns/bookinfo/sa/x",)


def test_a_workload_at_a_listed_address_answers_where_the_list_says() -> None:
    """Clients are sent to the listed port, so that is where its proxy must expect them."""
    listed = [{"address": "10.0.0.1", "ports": {"http-9080": 8080}}, {"address": "10.0.0.1"}]
    found = made(a_service("reviews", endpoints=listed), a_workload("reviews", ports={"http-9080": 1}))

    assert [one.target for one in found.inbound["bookinfo", "reviews-1"]] == [8080, 9080]
    assert sorted(port for _, port in addresses(found)) == [8080, 9080]


def test_a_port_that_is_listed_twice_is_answered_once() -> None:
    listed = [{"address": "10.0.0.1", "weight": 1}, {"address": "10.0.0.1", "weight": 2}]
    found = made(a_service("reviews", endpoints=listed), a_workload("reviews"))

    assert len(found.inbound["bookinfo", "reviews-1"]) == 1


def test_a_dns_service_without_endpoints_is_found_under_its_own_name() -> None:
    found = made(a_service("a", hosts=["api.example.com"], resolution="DNS", location="MESH_EXTERNAL"))
    key = ServiceKey("api.example.com", "bookinfo")

    assert addresses(found, key=key) == [("api.example.com", 9080)]
    assert found.behind[key] is found.endpoints[key]


def test_a_static_service_without_endpoints_has_none() -> None:
    assert addresses(made(a_service("reviews"))) == []


def test_of_two_entries_for_one_host_in_a_namespace_the_first_holds() -> None:
    host = ["reviews.bookinfo.svc.cluster.local"]
    late = a_service("a", hosts=host, ports=[a_port(1)], created="2024-02-01T00:00:00Z")
    early = a_service("b", hosts=host, ports=[a_port(2)], created="2024-01-01T00:00:00Z")

    assert [port.number for port in made(late, early).services[REVIEWS].ports] == [2]


def test_two_namespaces_may_claim_one_host() -> None:
    host = ["api.example.com"]
    found = made(a_service("a", hosts=host), a_service("a", "web", hosts=host))

    assert sorted(key.namespace for key in found.services) == ["bookinfo", "web"]


def test_each_host_of_an_entry_is_a_service_and_two_spellings_are_one() -> None:
    hosts = ["a.example.com", "reviews", "reviews.bookinfo.svc.cluster.local"]
    text = a_service("reviews", hosts=hosts[:2])

    assert sorted(key.host for key in made(text).services) == ["a.example.com", hosts[2]]


def test_what_an_entry_does_not_say_the_mesh_does() -> None:
    services = made(
        a_mesh(defaultServiceExportTo=["."]), a_service("a"), a_service("b", exportTo=["web"])
    ).services

    assert {key.host.partition(".")[0]: one.export_to for key, one in services.items()} == {
        "a": (".",),
        "b": ("web",),
    }


def test_ports_and_place_are_read() -> None:
    text = a_service("a", ports=[a_port(443, "HTTPS", targetPort=8443)], location="MESH_EXTERNAL")
    (service,) = made(text).services.values()

    assert service.location is Location.EXTERNAL
    (port,) = service.ports
    assert (port.number, port.protocol, port.target) == (443, Protocol.HTTPS, 8443)


APPS = ["a", "b", "c"]
NAMESPACES = ["n1", "n2"]
SERVICES = st.builds(
    lambda app, namespace, target: (
        (app, namespace, "service"),
        a_service(app, namespace, ports=[a_port(80, targetPort=target)]),
    ),
    st.sampled_from(APPS),
    st.sampled_from(NAMESPACES),
    st.sampled_from([8080, 8081]),
)
WORKLOADS = st.builds(
    lambda app, namespace, address, name: (
        (name, namespace, "workload"),
        a_workload(app, address, namespace, name=name),
    ),
    st.sampled_from(APPS),
    st.sampled_from(NAMESPACES),
    st.sampled_from(["10.0.0.1", "10.0.0.2"]),
    st.sampled_from(["w1", "w2", "w3"]),
)
EDITS = st.lists(st.tuples(st.booleans(), st.one_of(SERVICES, WORKLOADS)), max_size=12)


@settings(max_examples=40, deadline=None)
@given(EDITS, st.integers(1, 4))
def test_after_any_edits_the_catalogue_is_what_it_would_be_from_scratch(
    edits: list[tuple[bool, tuple[tuple[str, str, str], str]]], every: int
) -> None:
    """And remembering, or forgetting what is out of force, never shows."""
    meshes, documents = Meshes(), {}
    for at, (is_kept, (key, text)) in enumerate(edits):
        documents.pop(key, None)
        if is_kept:
            documents[key] = text
        is_sweep = at % every == 0
        if is_sweep:
            meshes.declared.recall.begin_generation()
        found = meshes.world(*documents.values()).services
        if is_sweep:
            meshes.declared.recall.end_generation()

        scratch = Meshes().world(*documents.values()).services
        for name in ("services", "endpoints", "workloads", "inbound", "behind"):
            assert getattr(found, name) == getattr(scratch, name), name


TEXTS = {
    "a": a_service("a", "n1"),
    "b": a_service("b", "n1"),
    "c": a_service("c", "n2"),
    "a-1": a_workload("a", "10.0.0.1", "n1", name="a-1"),
    "b-1": a_workload("b", "10.0.0.2", "n1", name="b-1"),
    "c-1": a_workload("c", "10.0.0.3", "n2", name="c-1"),
}


def key_of(app: str, namespace: str) -> ServiceKey:
    return ServiceKey(f"{app}.{namespace}.svc.cluster.local", namespace)


def after(name: str, text: str) -> tuple[Catalogue, Catalogue]:
    meshes = Meshes()
    return (
        meshes.world(*TEXTS.values()).services,
        meshes.world(*{**TEXTS, name: text}.values()).services,
    )


def test_the_same_config_is_the_same_catalogue() -> None:
    before, now = after("a", TEXTS["a"])

    assert now is before


def test_an_endpoint_that_moves_leaves_all_else_the_same_objects() -> None:
    before, now = after("a-1", a_workload("a", "10.9.9.9", "n1", name="a-1"))

    assert now.services is before.services
    assert now.behind is before.behind
    changed = {key for key in now.endpoints if now.endpoints[key] is not before.endpoints[key]}
    assert changed == {key_of("a", "n1")}
    assert all(now.inbound[key] is before.inbound[key] for key in now.inbound)
    assert now.workloads["n2", "c-1"] is before.workloads["n2", "c-1"]


def test_a_workload_of_a_known_account_that_comes_changes_no_more_than_endpoints() -> None:
    before, now = after("a-2", a_workload("a", "10.9.9.9", "n1", name="a-2"))

    assert now.services is before.services
    assert now.behind is before.behind
    assert len(now.endpoints[key_of("a", "n1")].by_port[9080]) == 2


def test_a_workload_of_a_new_account_changes_who_may_answer_for_its_service_alone() -> None:
    before, now = after("a-2", a_workload("a", "10.9.9.9", "n1", name="a-2", serviceAccount="new"))

    assert now.services is before.services
    assert {key for key in now.behind if now.behind[key] is not before.behind[key]} == {key_of("a", "n1")}


def test_a_service_that_changes_leaves_the_others_the_same_objects() -> None:
    before, now = after("a", a_service("a", "n1", ports=[a_port(81)]))

    assert {key for key in now.services if now.services[key] is not before.services[key]} == {
        key_of("a", "n1")
    }
    assert now.inbound["n1", "b-1"] is before.inbound["n1", "b-1"]
    assert now.endpoints[key_of("b", "n1")] is before.endpoints[key_of("b", "n1")]
