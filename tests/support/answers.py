"""Registries' answers, built from a few numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mesh.services import Location, Port, Protocol, Provider, Resolution, Service, ServiceKey, Workload
from registries.answers import Answer, Instance, Offer, Remark, Said

HTTP = Port(number=80, name="http", protocol=Protocol.HTTP, target=8080)


def a_workload(number: int, *, namespace: str = "shop", name: str = "", address: str = "") -> Workload:
    return Workload(
        name=name or f"w{number}",
        namespace=namespace,
        address=address or f"10.0.{number // 256}.{number % 256}",
    )


def an_instance(number: int, *, port: int = 8080, is_draining: bool = False, **workload: str) -> Instance:
    return Instance(workload=a_workload(number, **workload), ports=((80, port),), is_draining=is_draining)


def a_service(host: str, namespace: str = "shop", provider: Provider = Provider.CONSUL) -> Service:
    return Service(
        key=ServiceKey(host, namespace),
        ports=(HTTP,),
        resolution=Resolution.STATIC,
        location=Location.INTERNAL,
        provider=provider,
        registry="vms",
    )


def an_offer(host: str, instances: Iterable[Instance | int], namespace: str = "shop") -> Offer:
    made = (one if isinstance(one, Instance) else an_instance(one, namespace=namespace) for one in instances)
    return Offer(a_service(host, namespace), tuple(sorted(made, key=lambda instance: instance.place)))


def an_answer(
    services: Mapping[str, Iterable[Instance | int]] | Iterable[Offer],
    *,
    registry: str = "vms",
    provider: Provider = Provider.CONSUL,
    workloads: Iterable[Workload] | None = None,
    remarks: tuple[Remark, ...] = (),
) -> Answer:
    """An answer of these services; their instances' workloads are its workloads unless others are named."""
    offers = (
        [an_offer(host, instances) for host, instances in services.items()]
        if isinstance(services, Mapping)
        else list(services)
    )
    if workloads is None:
        workloads = [instance.workload for offer in offers for instance in offer.instances]
    found = {workload.namespace: dict[str, Workload]() for workload in workloads}
    for workload in workloads:
        found[workload.namespace][workload.name] = workload
    spaces = {offer.service.key.namespace for offer in offers} | found.keys()
    return Answer(
        registry=registry,
        provider=provider,
        namespaces={
            space: Said(
                {offer.service.host: offer for offer in offers if offer.service.key.namespace == space},
                found.get(space, {}),
            )
            for space in sorted(spaces)
        },
        remarks=remarks,
    )


def addresses(answer: Answer, host: str, namespace: str = "shop") -> list[str]:
    """Where the service is, in order; nothing when it is not known."""
    offer = answer.said(namespace).offers.get(host)
    return [instance.workload.address for instance in offer.instances] if offer else []
