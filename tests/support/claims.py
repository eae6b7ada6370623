"""What several registries say of one host: short builders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mesh.labels import labels
from mesh.services import (
    Location,
    Port,
    Provider,
    Resolution,
    Service,
    ServiceKey,
    Workload,
    protocol_of,
)
from registries.answers import Answer, Instance, Offer, Said

NAMESPACE = "shop"
HOST = "web.shop.svc.cluster.local"


def a_port(number: int = 80, name: str = "http", target: int = 8080) -> Port:
    return Port(number=number, name=name, protocol=protocol_of("", name, number), target=target)


def a_service(
    host: str = HOST,
    *ports: Port,
    provider: Provider = Provider.CONSUL,
    registry: str = "",
    namespace: str = NAMESPACE,
    selector: Mapping[str, str] | None = None,
    addresses: tuple[str, ...] = (),
) -> Service:
    return Service(
        key=ServiceKey(host, namespace),
        ports=ports or (a_port(),),
        resolution=Resolution.STATIC,
        location=Location.INTERNAL,
        addresses=addresses,
        selector=labels(selector) if selector is not None else None,
        provider=provider,
        registry=registry or provider.name.lower(),
    )


def a_workload(
    address: str,
    name: str = "",
    *,
    namespace: str = NAMESPACE,
    labelled: Mapping[str, str] | None = None,
    network: str = "",
    weight: int = 1,
    is_ready: bool = True,
) -> Workload:
    return Workload(
        name=name or f"at-{address.replace('.', '-')}",
        namespace=namespace,
        address=address,
        labels=labels(labelled),
        service_account="web",
        network=network,
        weight=weight,
        is_ready=is_ready,
    )


def serving(workload: Workload, port: int = 8080, *, of: int = 80, is_draining: bool = False) -> Instance:
    """A workload that serves port ``of`` of its service at ``port``."""
    return Instance(workload=workload, ports=((of, port),), is_draining=is_draining)


def an_instance(address: str, port: int = 8080, name: str = "", *, of: int = 80) -> Instance:
    return serving(a_workload(address, name), port, of=of)


def an_offer(service: Service, *instances: Instance, unready: Iterable[Instance] = ()) -> Offer:
    return Offer(service, tuple(sorted(instances, key=lambda one: one.place)), tuple(unready))


def an_answer(
    provider: Provider, *offers: Offer, workloads: Iterable[Workload] = (), registry: str = ""
) -> Answer:
    """What a registry says; its instances are workloads as well."""
    namespaces: dict[str, tuple[dict[str, Offer], dict[str, Workload]]] = {}
    for offer in offers:
        known = namespaces.setdefault(offer.service.key.namespace, ({}, {}))
        known[0][offer.service.host] = offer
        for instance in (*offer.instances, *offer.unready):
            known[1][instance.workload.name] = instance.workload
    for workload in workloads:
        namespaces.setdefault(workload.namespace, ({}, {}))[1][workload.name] = workload
    return Answer(
        registry=registry or provider.name.lower(),
        provider=provider,
        namespaces={name: Said(*said) for name, said in namespaces.items()},
    )
