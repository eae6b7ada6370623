"""What a Service, its slices and their Pods say together."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.services import Locality, Location, Protocol, Provider, Resolution, ServiceKey
from registries.kubernetes.reading import Reading
from tests.support.cluster_objects import (
    a_namespace,
    a_node,
    a_pod,
    a_service,
    a_slice,
    an_endpoint,
)
from tests.support.cluster_states import ClusterState, places


def a_cluster(**reading: Any) -> ClusterState:
    """A Service with one ready Pod on a known Node."""
    state = ClusterState(Reading(registry="east", **reading))
    state.put("service", a_service())
    state.put("slice", a_slice(an_endpoint()))
    state.put("pod", a_pod())
    state.put("node", a_node())
    return state


async def test_a_service_is_called_as_in_the_cluster() -> None:
    state = a_cluster()
    offer = await state.offer()

    assert offer is not None
    assert offer.service.key == ServiceKey("reviews.shop.svc.cluster.local", "shop")
    assert offer.service.addresses == ("10.96.0.1",)
    assert offer.service.selector == (("app", "reviews"),)
    assert (offer.service.provider, offer.service.registry) == (Provider.KUBERNETES, "east")
    assert str(offer.service.created) == "2026-01-02 03:04:05+00:00"


async def test_a_pod_behind_a_service_is_an_instance_with_labels_account_and_place() -> None:
    offer = await a_cluster().offer()

    assert offer is not None
    (instance,) = offer.instances
    assert instance.ports == ((9080, 8080),)
    assert (instance.workload.name, instance.workload.namespace) == ("reviews-1", "shop")
    assert instance.workload.service_account == "reviews"
    assert instance.workload.locality == Locality("eu", "eu-1")
    assert ("app", "reviews") in instance.workload.labels
    assert offer.unready == ()


@pytest.mark.parametrize(
    ("label", "expected"), [("istio", True), ("disabled", False)], ids=["sidecar", "opted out"]
)
async def test_only_a_pod_that_says_so_is_spoken_to_with_mutual_tls(label: str, expected: bool) -> None:
    state = a_cluster()
    state.put("pod", a_pod(labels={"security.istio.io/tlsMode": label}))
    offer = await state.offer()

    assert offer is not None
    assert offer.instances[0].workload.mutual_tls is expected


async def test_an_account_alone_is_no_proof_of_a_sidecar() -> None:
    state = a_cluster()
    plain = a_pod()
    del plain["metadata"]["labels"]["security.istio.io/tlsMode"]
    state.put("pod", plain)
    offer = await state.offer()

    assert offer is not None
    assert offer.instances[0].workload.mutual_tls is False


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ({"name": "http"}, Protocol.HTTP),
        ({"name": "grpc-web-x"}, Protocol.GRPC_WEB),
        ({"name": "x", "appProtocol": "kubernetes.io/h2c"}, Protocol.HTTP2),
        ({"name": "x", "appProtocol": "kubernetes.io/ws"}, Protocol.HTTP),
        ({"name": "x", "appProtocol": "kubernetes.io/wss"}, Protocol.HTTPS),
        ({"name": "x", "appProtocol": "grpc"}, Protocol.GRPC),
        ({"name": "http", "appProtocol": "tcp"}, Protocol.TCP),
        ({"name": "http", "appProtocol": "example.com/own"}, Protocol.UNKNOWN),
        ({"name": "x"}, Protocol.UNKNOWN),
        ({"name": "x", "port": 3306}, Protocol.TCP),
        ({"name": "http", "protocol": "UDP"}, Protocol.UDP),
    ],
)
async def test_the_application_protocol_decides_then_the_name_then_the_number(
    port: dict[str, Any], expected: Protocol
) -> None:
    state = ClusterState()
    state.put("service", a_service(ports=[{"port": 9080, "protocol": "TCP", **port}]))
    offer = await state.offer()

    assert offer is not None
    assert [one.protocol for one in offer.service.ports] == [expected]


async def test_ports_of_sctp_are_left_out() -> None:
    state = ClusterState()
    state.put("service", a_service(ports=[{"port": 1, "protocol": "SCTP"}, {"port": 2, "protocol": "TCP"}]))
    offer = await state.offer()

    assert offer is not None
    assert [port.number for port in offer.service.ports] == [2]


async def test_a_headless_service_has_no_addresses_and_its_endpoints_all_the_same() -> None:
    state = a_cluster()
    state.put("service", a_service(clusterIP="None", clusterIPs=["None"]))
    offer = await state.offer()

    assert offer is not None
    assert offer.service.addresses == ()
    assert offer.service.resolution is Resolution.STATIC
    assert places(offer.instances) == ["10.1.0.1:{9080: 8080}"]


async def test_a_service_of_two_families_has_both_addresses_and_each_pod_once() -> None:
    state = a_cluster()
    state.put("service", a_service(clusterIPs=["fd00::1", "10.96.0.1"], ipFamilies=["IPv6", "IPv4"]))
    state.put("pod", a_pod(podIPs=[{"ip": "10.1.0.1"}, {"ip": "fd00::2"}]))
    state.put("slice", a_slice(an_endpoint(address="fd00:0::2"), name="reviews-six", family="IPv6"))
    offer = await state.offer()

    assert offer is not None
    assert offer.service.addresses == ("fd00::1", "10.96.0.1")
    assert places(offer.instances) == ["fd00::2:{9080: 8080}"]


async def test_another_name_for_something_outside_is_looked_up_in_dns() -> None:
    state = ClusterState()
    outside = a_service(type="ExternalName", externalName="db.example.com.", clusterIPs=[], clusterIP="")
    state.put("service", outside)
    offer = await state.offer()

    assert offer is not None
    assert (offer.service.resolution, offer.service.location) == (Resolution.DNS, Location.EXTERNAL)
    assert places(offer.instances) == ["db.example.com:{9080: 9080}"]


@pytest.mark.parametrize(
    ("service", "message", "hint"),
    [
        (
            a_service(type="ExternalName", externalName="db.example.com", ports=[]),
            "it is of type ExternalName and has no ports, so that no proxy can listen for it",
            "name its ports in spec.ports",
        ),
        (
            a_service(type="ExternalName"),
            "it is of type ExternalName and has no externalName",
            "set spec.externalName",
        ),
        (
            a_service(annotations={"networking.istio.io/exportTo": "a, B!"}),
            "annotation networking.istio.io/exportTo: not a namespace: 'B!'",
            "expected namespaces, '.', '*' or '~', separated by commas",
        ),
    ],
)
async def test_what_a_person_should_mend_is_remarked(
    service: dict[str, Any], message: str, hint: str
) -> None:
    state = ClusterState()
    state.put("service", service)
    (remark,) = (await state.answer()).remarks

    assert (remark.about, remark.message, remark.hint) == ("Service shop/reviews", message, hint)

    state.drop("service", ("shop", "reviews"))
    assert (await state.answer()).remarks == ()


@pytest.mark.parametrize(
    ("written", "expected"),
    [(".", (".",)), ("a, b", ("a", "b")), ("~", ("~",)), ("B!", (".",)), ("", ("*",))],
)
async def test_an_annotation_says_who_sees_a_service_and_a_mistake_shows_it_to_nobody_else(
    written: str, expected: tuple[str, ...]
) -> None:
    state = ClusterState()
    state.put("service", a_service(annotations={"networking.istio.io/exportTo": written}))
    offer = await state.offer()

    assert offer is not None
    assert offer.service.export_to == expected


@pytest.mark.parametrize(
    ("chosen", "expected"), [(False, ("10.96.0.1",)), (True, ("10.96.0.1", "192.0.2.1"))]
)
async def test_external_addresses_are_captured_by_choice_only(
    chosen: bool, expected: tuple[str, ...]
) -> None:
    state = ClusterState(Reading(registry="east", external_ips=chosen))
    state.put("service", a_service(externalIPs=["192.0.2.1"]))
    offer = await state.offer()

    assert offer is not None
    assert offer.service.addresses == expected


async def test_a_service_is_entered_from_outside_where_its_load_balancer_is() -> None:
    """Networks are entered there; the names of load balancers are left out, as nobody resolves them."""
    state = ClusterState(Reading(registry="east"))
    service = a_service(externalIPs=["192.0.2.9"])
    service["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example.com"}]}}
    state.put("service", service)
    offer = await state.offer()

    assert offer is not None
    assert offer.service.external_addresses == ("192.0.2.1", "192.0.2.9")


# Conditions of endpoints


READY = {"ready": True, "serving": True, "terminating": False}
LEAVING = {"ready": False, "serving": True, "terminating": True}
LEFT = {"ready": False, "serving": False, "terminating": True}
NOT_YET = {"ready": False, "serving": False, "terminating": False}


@pytest.mark.parametrize(
    ("conditions", "serving", "draining", "unready"),
    [
        ((READY, READY), ["1", "2"], [], []),
        ((READY, LEAVING), ["1", "2"], ["2"], []),
        ((LEAVING, LEAVING), ["1", "2"], [], []),
        ((LEAVING, LEFT), ["1"], [], ["2"]),
        ((READY, NOT_YET), ["1"], [], ["2"]),
        ((NOT_YET, NOT_YET), [], [], ["1", "2"]),
    ],
)
async def test_conditions_say_who_serves_who_drains_and_who_waits(
    conditions: tuple[dict[str, bool], ...], serving: list[str], draining: list[str], unready: list[str]
) -> None:
    state = ClusterState()
    state.put("service", a_service())
    for number, one in enumerate(conditions, 1):
        name, address = f"reviews-{number}", f"10.1.0.{number}"
        state.put("pod", a_pod(name, address=address))
        state.put("slice", a_slice(an_endpoint(name, address, **one), name=name))
    offer = await state.offer()

    assert offer is not None
    assert [one.workload.name[-1] for one in offer.instances] == serving
    assert [one.workload.name[-1] for one in offer.instances if one.is_draining] == draining
    assert [one.workload.name[-1] for one in offer.unready] == unready


async def test_what_is_not_said_of_an_endpoint_means_ready() -> None:
    state = a_cluster()
    silent = an_endpoint()
    del silent["conditions"]
    state.put("slice", a_slice(silent))
    offer = await state.offer()

    assert offer is not None
    assert len(offer.instances) == 1


async def test_a_service_may_publish_what_is_not_ready() -> None:
    state = a_cluster()
    state.put("service", a_service(publishNotReadyAddresses=True))
    state.put("slice", a_slice(an_endpoint(**NOT_YET)))
    offer = await state.offer()

    assert offer is not None
    assert len(offer.instances) == 1


async def test_an_endpoint_in_two_slices_is_one_instance_with_the_ports_of_both() -> None:
    state = a_cluster()
    ports = [{"name": "http", "port": 9080}, {"name": "admin", "port": 9081}]
    state.put("service", a_service(ports=ports))
    state.put("slice", a_slice(an_endpoint(), name="reviews-b", ports=[{"name": "admin", "port": 8081}]))
    offer = await state.offer()

    assert offer is not None
    assert places(offer.instances) == ["10.1.0.1:{9080: 8080, 9081: 8081}"]


async def test_slices_written_by_hand_serve_a_service_without_selector() -> None:
    state = ClusterState()
    state.put("service", a_service(selector=None))
    state.put("slice", a_slice(an_endpoint(None, "192.0.2.7", zone="eu-3", node="")))
    offer = await state.offer()

    assert offer is not None
    assert offer.service.selector is None
    (instance,) = offer.instances
    assert (instance.workload.address, instance.workload.mutual_tls) == ("192.0.2.7", False)
    assert instance.workload.locality == Locality("", "eu-3")


async def test_an_endpoint_that_is_no_pod_moves_with_its_node() -> None:
    state = ClusterState()
    state.put("service", a_service(selector=None))
    state.put("slice", a_slice(an_endpoint(None, "192.0.2.7")))
    zones = []
    for zone in ("eu-1", "eu-2"):
        state.put("node", a_node(zone=zone))
        offer = await state.offer()
        assert offer is not None
        zones.append(offer.instances[0].workload.locality.zone)

    assert zones == ["eu-1", "eu-2"]


async def test_endpoints_by_name_are_left_out_with_a_remark() -> None:
    state = a_cluster()
    state.put("slice", a_slice(an_endpoint(None, "db.example.com"), name="by-name", family="FQDN"))
    (remark,) = (await state.answer()).remarks

    assert remark.message == (
        "EndpointSlice 'by-name' has endpoints by name (addressType FQDN), which are left out"
    )
    assert remark.hint == "declare them with a ServiceEntry of resolution DNS"


# Pods


async def test_pods_that_share_the_address_of_their_host_are_told_apart_by_name() -> None:
    state = ClusterState()
    state.put("service", a_service("one"), a_service("two", ports=[{"name": "http", "port": 9090}]))
    for name, port in (("one", 8001), ("two", 8002)):
        state.put("pod", a_pod(f"{name}-1", address="192.0.2.1", account=name))
        ports = [{"name": "http", "port": port}]
        state.put("slice", a_slice(an_endpoint(f"{name}-1", "192.0.2.1"), service=name, ports=ports))
    offers = [await state.offer("one"), await state.offer("two")]

    assert [one.instances[0].workload.service_account for one in offers if one] == ["one", "two"]


async def test_a_pod_whose_address_is_known_has_its_ports_before_it_is_in_any_slice() -> None:
    """Its proxy connects before the application is ready: it must know what it answers for (istio#58125)."""
    state = ClusterState()
    ports = [
        {"name": "http", "port": 9080, "targetPort": "web"},
        {"name": "admin", "port": 81, "targetPort": 82},
    ]
    state.put("service", a_service(ports=ports))
    state.put("pod", a_pod(is_ready=False, containers=[{"ports": [{"name": "web", "containerPort": 8080}]}]))
    offer = await state.offer()

    assert offer is not None
    assert offer.instances == ()
    assert places(offer.unready) == ["10.1.0.1:{81: 82, 9080: 8080}"]


@pytest.mark.parametrize(
    "pod", [a_pod(address=""), a_pod(phase="Succeeded"), a_pod(phase="Failed")], ids=["new", "done", "failed"]
)
async def test_a_pod_without_address_or_at_its_end_is_no_workload(pod: dict[str, Any]) -> None:
    state = ClusterState()
    state.put("service", a_service())
    state.put("pod", pod)

    assert dict((await state.answer()).said("shop").workloads.items()) == {}


async def test_an_endpoint_counts_only_while_that_very_pod_is_known() -> None:
    """A StatefulSet gives the name of a Pod to its successor (istio#54539)."""
    state = a_cluster()
    state.put("pod", a_pod(uid="another", address="10.1.0.9"))
    replaced = await state.offer()
    state.drop("pod", ("shop", "reviews-1"))
    gone = await state.offer()
    state.put("pod", a_pod())
    back = await state.offer()

    assert replaced is not None
    assert gone is not None
    assert back is not None
    assert (replaced.instances, places(replaced.unready)) == ((), ["10.1.0.9:{9080: 9080}"])
    assert gone.instances == ()
    assert places(back.instances) == ["10.1.0.1:{9080: 8080}"]


async def test_an_endpoint_at_an_address_that_its_pod_does_not_have_is_left_out() -> None:
    """Whoever may write a slice could else have others spoken to in the name of a Pod."""
    state = a_cluster()
    state.put("slice", a_slice(an_endpoint(address="192.0.2.66")))
    offer = await state.offer()

    assert offer is not None
    assert offer.instances == ()


async def test_a_pod_says_its_network_else_the_cluster_else_leaves_it_to_the_mesh_document() -> None:
    state = a_cluster()
    networks = []
    for step in (
        lambda: None,
        lambda: state.put(
            "namespace",
            {"metadata": {"name": "istio-system", "labels": {"topology.istio.io/network": "of-the-cluster"}}},
        ),
        lambda: state.put("pod", a_pod(labels={"topology.istio.io/network": "its-own"})),
    ):
        step()
        offer = await state.offer()
        assert offer is not None
        networks.append(offer.instances[0].workload.network)

    assert networks == ["", "of-the-cluster", "its-own"]


async def test_workloads_of_another_trust_domain_are_called_by_their_names_and_are_no_members() -> None:
    state = a_cluster(trust_domain="west.example")
    offer = await state.offer()

    assert offer is not None
    assert offer.service.subject_alt_names == ("spiffe://west.example/ns/shop/sa/reviews",)
    assert len(offer.instances) == 1
    assert dict((await state.answer()).said("shop").workloads.items()) == {}


async def test_the_zone_of_a_slice_is_used_where_the_node_says_none() -> None:
    state = a_cluster()
    state.drop("node", ("", "node-a"))
    state.put("slice", a_slice(an_endpoint(zone="eu-9")))
    offer = await state.offer()

    assert offer is not None
    assert offer.instances[0].workload.locality == Locality("", "eu-9")


async def test_zone_hints_are_read_and_leave_every_endpoint_in_use() -> None:
    state = a_cluster()
    hinted = an_endpoint() | {"hints": {"forZones": [{"name": "eu-1"}, {"name": "eu-2"}]}}
    state.put("slice", a_slice(hinted))
    found = state.inventory.slices.get(("shop", "reviews-a"))
    offer = await state.offer()

    assert found is not None
    assert found.places[0].zone_hints == ("eu-1", "eu-2")
    assert offer is not None
    assert len(offer.instances) == 1
    assert (await state.answer()).remarks == ()


async def test_an_external_name_picks_no_workloads_by_the_selector_that_kubernetes_ignores() -> None:
    state = ClusterState()
    state.put("pod", a_pod())
    outside = {"type": "ExternalName", "externalName": "db.example.com", "selector": {"app": "reviews"}}
    state.put("service", a_service(**outside))
    offer = await state.offer()

    assert offer is not None
    assert offer.service.selector is None
    assert [one.workload.address for one in offer.instances] == ["db.example.com"]


async def test_the_domain_of_the_cluster_is_the_users_choice() -> None:
    state = ClusterState(Reading(registry="east", cluster_domain="east.example"))
    state.put("service", a_service())
    state.put("namespace", a_namespace())

    assert list((await state.answer()).said("shop").offers) == ["reviews.shop.svc.east.example"]
