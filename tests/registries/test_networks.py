"""The networks of what registries know, and which of their services are gateways."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mesh.kinds.mesh import Mesh
from mesh.labels import labels
from mesh.services import (
    Locality,
    Location,
    Port,
    Protocol,
    Provider,
    Resolution,
    Service,
    ServiceKey,
    Workload,
)
from registries.answers import Answer, Instance, Offer, Said
from registries.catalogues import Catalogues
from registries.networks import Networks

HOST = "eastwest.istio-system.svc.cluster.local"
LABEL = "topology.istio.io/network"
NOTHING = Mesh()


def a_mesh(*registries: dict[str, Any], **networks: Any) -> Mesh:
    return Mesh.model_validate({"registries": registries, "meshNetworks": {"networks": networks}})


def a_workload(name: str, address: str, network: str = "") -> Workload:
    return Workload(name=name, namespace="istio-system", address=address, network=network)


def an_offer(*workloads: Workload, ports: tuple[int, ...] = (15443,), **fields: Any) -> Offer:
    """A service called ``eastwest``; each instance has its ports at 1000 above the service's."""
    service = Service(
        key=ServiceKey(fields.pop("host", HOST), "istio-system"),
        ports=tuple(Port(number=one, name="tls", protocol=Protocol.TLS, target=one) for one in ports),
        resolution=Resolution.STATIC,
        location=Location.INTERNAL,
    )
    said = labels(fields.pop("labels", {}))
    instances = [Instance(workload=one, ports=tuple((at, at + 1000) for at in ports)) for one in workloads]
    return Offer(replace(service, labels=said, **fields), tuple(sorted(instances, key=lambda one: one.place)))


def an_answer(*offers: Offer, registry: str = "dc1", provider: Provider = Provider.CONSUL) -> Answer:
    workloads = {one.workload.name: one.workload for offer in offers for one in offer.instances}
    said = Said({offer.service.host: offer for offer in offers}, workloads)
    return Answer(registry=registry, provider=provider, namespaces={"istio-system": said})


def entered(mesh: Mesh, *answers: Answer) -> list[tuple[str, str, int]]:
    return [gateway.order for gateway in Networks().gateways(answers, mesh)]


def test_an_answer_that_nobody_names_networks_of_is_itself() -> None:
    answer = an_answer(an_offer(a_workload("a", "10.0.0.1")))

    assert Networks().named(answer, NOTHING) is answer


def test_workloads_and_the_instances_behind_services_are_told_their_network() -> None:
    mesh = a_mesh({"name": "dc1", "network": "home"}, far={"endpoints": [{"fromCidr": "10.1.0.0/16"}]})
    places = a_workload("a", "10.1.0.1"), a_workload("b", "10.0.0.1"), a_workload("c", "10.1.0.2", "own")

    said = Networks().named(an_answer(an_offer(*places)), mesh).said("istio-system")

    assert {name: one.network for name, one in said.workloads.items()} == {
        "a": "far",
        "b": "home",
        "c": "own",
    }
    assert [one.place[:2] for one in said.offers[HOST].instances] == [
        ("far", "10.1.0.1"),
        ("home", "10.0.0.1"),
        ("own", "10.1.0.2"),
    ]


def test_what_did_not_change_comes_out_as_the_same_object() -> None:
    networks, mesh = Networks(), a_mesh({"name": "dc1", "network": "home"})
    stays, moves = an_offer(a_workload("a", "10.0.0.1")), an_offer(a_workload("b", "10.0.0.2"), host="other")
    first = an_answer(stays, moves)
    before = networks.named(first, mesh)
    workload = first.said("istio-system").workloads["a"]
    said = Said({HOST: stays, "other": an_offer(host="other")}, {"a": workload})

    after = networks.named(replace(first, namespaces={"istio-system": said}), mesh)

    assert networks.named(first, mesh) is not before  # only the newest answer is kept
    old, new = before.said("istio-system"), after.said("istio-system")
    assert new.offers[HOST] is old.offers[HOST]
    assert new.workloads["a"] is old.workloads["a"]
    assert new.offers["other"].instances == ()


def test_new_names_are_told_to_everybody() -> None:
    networks, answer = Networks(), an_answer(an_offer(a_workload("a", "10.0.0.1")))

    found = [
        networks.named(answer, mesh).said("istio-system").workloads["a"].network
        for mesh in (
            a_mesh({"name": "dc1", "network": "one"}),
            a_mesh({"name": "dc1", "network": "two"}),
            NOTHING,
        )
    ]

    assert found == ["one", "two", ""]


OUTSIDE = {"external_addresses": ("192.0.2.1", "192.0.2.2", "lb.example.com")}


@pytest.mark.parametrize(
    ("offer", "provider", "places"),
    [
        (
            {"labels": {LABEL: "far"}, **OUTSIDE},
            Provider.KUBERNETES,
            [("192.0.2.1", 15443), ("192.0.2.2", 15443)],
        ),
        ({"labels": {LABEL: "far"}, **OUTSIDE}, Provider.GIT, [("192.0.2.1", 15443), ("192.0.2.2", 15443)]),
        ({"labels": {LABEL: "far"}}, Provider.KUBERNETES, []),
        ({"labels": {LABEL: "far"}}, Provider.CONSUL, [("10.0.0.9", 16443)]),
        ({"labels": {LABEL: "far"}, "ports": (80,)}, Provider.CONSUL, []),
        (
            {"labels": {LABEL: "far", "networking.istio.io/gatewayPort": "443"}, "ports": (443,)},
            Provider.CONSUL,
            [("10.0.0.9", 1443)],
        ),
        (
            {"labels": {LABEL: "far", "networking.istio.io/gatewayPort": "https"}},
            Provider.CONSUL,
            [("10.0.0.9", 16443)],
        ),
        ({}, Provider.CONSUL, []),
    ],
)
def test_a_service_with_the_label_and_the_port_is_a_gateway_of_its_network(
    offer: dict[str, Any], provider: Provider, places: list[tuple[str, int]]
) -> None:
    answer = an_answer(
        an_offer(a_workload("door", "10.0.0.9"), provider=provider, **offer), provider=provider
    )

    assert entered(NOTHING, answer) == [("far", *place) for place in places]


def test_gateways_of_one_name_in_several_clusters_all_count() -> None:
    """Every cluster calls its own so, and they are gateways of different networks."""
    answers = [
        an_answer(
            an_offer(labels={LABEL: network}, external_addresses=(address,)),
            registry=network,
            provider=Provider.KUBERNETES,
        )
        for network, address in (("east", "192.0.2.1"), ("west", "192.0.2.2"))
    ]

    assert entered(NOTHING, *answers) == [("east", "192.0.2.1", 15443), ("west", "192.0.2.2", 15443)]


@pytest.mark.parametrize(
    ("endpoints", "registries", "is_meant"),
    [
        ([{"fromRegistry": "dc1"}], [], True),
        ([{"fromRegistry": "other"}], [], False),
        ([], [{"name": "dc1", "network": "far"}], True),
        ([], [{"name": "other", "network": "far"}], False),
        ([{"fromCidr": "10.0.0.0/8"}], [], True),
    ],
)
def test_mesh_networks_can_name_a_service_of_the_registries_that_the_network_is_made_of(
    endpoints: list[dict[str, str]], registries: list[dict[str, str]], is_meant: bool
) -> None:
    gateways = [{"registryServiceName": HOST, "port": 15443, "locality": "eu/a"}]
    mesh = a_mesh(*registries, far={"endpoints": endpoints, "gateways": gateways})
    answer = an_answer(an_offer(a_workload("door", "10.0.0.9")))

    found = Networks().gateways([answer], mesh)

    assert [(one.order, one.locality) for one in found] == (
        [(("far", "10.0.0.9", 16443), Locality("eu", "a"))] if is_meant else []
    )


def test_an_instance_that_is_leaving_lets_nobody_in() -> None:
    offer = an_offer(a_workload("door", "10.0.0.9"), labels={LABEL: "far"})
    leaving = Offer(offer.service, tuple(replace(one, is_draining=True) for one in offer.instances))

    assert entered(NOTHING, an_answer(leaving)) == []


def test_the_catalogue_bears_the_gateways_and_is_the_same_as_long_as_nothing_changed() -> None:
    networks, catalogues = Networks(), Catalogues()
    door = an_answer(an_offer(a_workload("door", "10.0.0.9"), labels={LABEL: "far"}))

    first = networks.catalogue(catalogues, [door], {}, NOTHING)
    again = networks.catalogue(catalogues, [door], {}, NOTHING)
    gone = networks.catalogue(catalogues, [an_answer()], {}, NOTHING)

    assert [gateway.order for gateway in first.gateways] == [("far", "10.0.0.9", 16443)]
    assert again is first
    assert gone.gateways == ()


def test_workloads_that_say_only_their_network_are_not_taken_for_one() -> None:
    """They are reached through its gateways, and each of them counts."""
    answer = an_answer(an_offer(a_workload("a", "", "far"), a_workload("b", "", "far")))

    found = Networks().catalogue(Catalogues(), [answer], {}, NOTHING)

    assert len(found.endpoints[ServiceKey(HOST, "istio-system")].by_port[15443]) == 2
    assert found.ties == ()
