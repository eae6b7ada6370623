"""Which network the workloads of an answer are in, and which services are the gateways of networks.

A workload that says its network itself keeps it; else the Mesh document may know it by the registry or by
the address (``mesh/networks.py``). Both are looked at registry by registry, before registries are combined:
clusters call their east-west gateways by one and the same name, and every one of them counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from mesh.buckets import Buckets
from mesh.kinds.mesh import Mesh
from mesh.names import is_ip
from mesh.networks import GATEWAY_PORT, LABEL, PORT_LABEL, NetworkNames, network_names
from mesh.services import Catalogue, Locality, NetworkGateway, Provider, Service, Workload
from registries.answers import SILENCE, Answer, Instance, Offer, Said
from registries.catalogues import Catalogues
from registries.combine import Shares

V = TypeVar("V")
R = TypeVar("R")
Wanted = Mapping[tuple[str, str], tuple[NetworkGateway, ...]]
"""By registry (or :data:`_ANY`) and host: the gateways that it is, their addresses still empty."""
Entered = Mapping[str, tuple[NetworkGateway, ...]]
"""By host, only those that are any."""
_ANY = ""
_PORT_MAX = 65535


class Networks:
    """What the Mesh document says of networks, in the answers of registries. Owned by who makes worlds.

    What did not change in an answer is not looked at again, and is the same object in what comes out.
    """

    def __init__(self) -> None:
        self._mesh = Mesh()
        self._names: NetworkNames | None = None
        self._named: dict[str, tuple[Answer, Answer]] = {}
        """By registry: the last answer, and what became of it."""
        self._wanted: Wanted = {}
        self._gateways: dict[tuple[str, str], tuple[Said, Entered]] = {}
        """By registry and namespace: what was said, and the gateways in it."""
        self._last = Catalogue(), Catalogue()
        """The last catalogue without gateways, and the same with them."""

    def catalogue(
        self, catalogues: Catalogues, answers: Iterable[Answer], shares: Shares, mesh: Mesh
    ) -> Catalogue:
        """The catalogue of these answers (in the order of trust), networks and their gateways included."""
        known = tuple(self.named(answer, mesh) for answer in answers)
        bare, gateways = catalogues.take(known, shares), self.gateways(known, mesh)
        if not gateways:
            return bare
        if bare is not self._last[0] or gateways != self._last[1].gateways:
            self._last = bare, replace(bare, gateways=gateways)
        return self._last[1]

    def named(self, answer: Answer, mesh: Mesh) -> Answer:
        """The answer with the network of every workload that has not said it: itself where nobody knows."""
        self._read(mesh)
        names = self._names
        if names is None:
            return answer
        nothing = Answer(registry=answer.registry, provider=answer.provider)
        before, made = self._named.get(answer.registry, (nothing, nothing))
        if before is not answer:
            known = _Names(names, answer.registry)
            said = {
                namespace: known.said(one, before.said(namespace), made.said(namespace))
                for namespace, one in answer.namespaces.items()
            }
            made = replace(answer, namespaces=said)
            self._named[answer.registry] = answer, made
        return made

    def gateways(self, answers: Iterable[Answer], mesh: Mesh) -> tuple[NetworkGateway, ...]:
        """The services that are gateways of networks, as the places where one enters.

        A service says so itself, by the label ``topology.istio.io/network`` and its port 15443 (or that of
        the label ``networking.istio.io/gatewayPort``), or ``meshNetworks`` names it. It is entered at its
        external addresses. Outside Kubernetes it may have none, and its instances are reached as they are:
        a proxy of ours on a VM, for one. Names are left out: nobody here resolves them.
        """
        self._read(mesh)
        before, self._gateways = self._gateways, {}
        for answer in answers:
            for namespace, said in answer.namespaces.items():
                at = answer.registry, namespace
                old, known = before.get(at, (SILENCE, {}))
                self._gateways[at] = said, _entered(said, old, known, answer.registry, self._wanted)
        found = {
            gateway.order: gateway
            for _, by_host in self._gateways.values()
            for members in by_host.values()
            for gateway in members
        }
        return tuple(found[at] for at in sorted(found))

    def _read(self, mesh: Mesh) -> None:
        """What the Mesh document says now; what was made with other words is forgotten."""
        if mesh is self._mesh:
            return
        self._mesh = mesh
        names, wanted = network_names(mesh), _wanted(mesh)
        if names != self._names:
            self._names, self._named = names, {}
        if wanted != self._wanted:
            self._wanted, self._gateways = wanted, {}


class _Names:
    """Puts networks into what one registry says. Lives for one answer."""

    def __init__(self, names: NetworkNames, registry: str) -> None:
        self._names, self._registry = names, registry

    def said(self, said: Said, before: Said, made: Said) -> Said:
        if said is before:
            return made
        return Said(
            _followed(said.offers, before.offers, made.offers, self._offer),
            _followed(said.workloads, before.workloads, made.workloads, self._workload),
        )

    def _offer(self, offer: Offer) -> Offer:
        return replace(
            offer, instances=self._in_order(offer.instances), unready=self._in_order(offer.unready)
        )

    def _in_order(self, instances: tuple[Instance, ...]) -> tuple[Instance, ...]:
        named = (self._instance(instance) for instance in instances)
        return tuple(sorted(named, key=lambda one: (one.place, one.workload.name)))

    def _instance(self, instance: Instance) -> Instance:
        workload = self._workload(instance.workload)
        return instance if workload is instance.workload else replace(instance, workload=workload)

    def _workload(self, workload: Workload) -> Workload:
        network = self._names.of(self._registry, workload.address, workload.network)
        return workload if network == workload.network else replace(workload, network=network)


def _followed(
    now: Mapping[str, V], before: Mapping[str, V], made: Mapping[str, R], make: Callable[[V], R]
) -> Buckets[R]:
    """What was ``made`` of each value before, brought up to date where the value is another one now."""
    changed = Buckets.of(now).changed_since(before)
    edits = {name: make(value) if (value := now.get(name)) is not None else None for name in changed}
    return Buckets.of(made).edited(edits)


def _wanted(mesh: Mesh) -> Wanted:
    """Istio, ``reloadMeshNetworks``: a name counts in the registries that the network is made of.

    Unlike in Istio, in every registry when it is made of none: its workloads may say it themselves.
    """
    wanted: dict[tuple[str, str], tuple[NetworkGateway, ...]] = {}
    for name, network in mesh.mesh_networks.networks.items():
        registries = {one.from_registry for one in network.endpoints if one.from_registry is not None}
        registries |= {one.name for one in mesh.registries if one.network == name}
        for gateway in network.gateways:
            if gateway.registry_service_name is None:
                continue
            made = NetworkGateway(
                network=name,
                address="",
                port=gateway.port,
                locality=Locality.parse(gateway.locality) if gateway.locality else None,
            )
            for registry in registries or {_ANY}:
                at = registry, gateway.registry_service_name
                wanted[at] = (*wanted.get(at, ()), made)
    return wanted


def _entered(said: Said, before: Said, known: Entered, registry: str, wanted: Wanted) -> Entered:
    """The gateways among the services of a namespace; only those that are not as before are looked at."""
    if said is before:
        return known
    found = dict(known)
    for host in Buckets.of(said.offers).changed_since(before.offers):
        offer = said.offers.get(host)
        named = wanted.get((registry, host), ()) or wanted.get((_ANY, host), ())
        found[host] = tuple(_entrances(offer, named)) if offer is not None else ()
    return {host: gateways for host, gateways in found.items() if gateways}


def _entrances(offer: Offer, named: tuple[NetworkGateway, ...]) -> Iterator[NetworkGateway]:
    for gateway in _labelled(offer.service) or named:
        for address, port in _places(offer, gateway.port):
            yield replace(gateway, address=address, port=port)


def _labelled(service: Service) -> tuple[NetworkGateway, ...]:
    """Without the port, the label says no more than where the service is at home."""
    labels = dict(service.labels)
    port = _port(labels.get(PORT_LABEL, ""))
    is_gateway = LABEL in labels and service.port(port) is not None
    return (NetworkGateway(network=labels[LABEL], address="", port=port),) if is_gateway else ()


def _port(written: str) -> int:
    """Istio, ``getGatewayDetails``: what is no number is passed over."""
    number = int(written) if written.isdecimal() else 0
    return number if 0 < number <= _PORT_MAX else GATEWAY_PORT


def _places(offer: Offer, port: int) -> Iterator[tuple[str, int]]:
    outside = [address for address in offer.service.external_addresses if is_ip(address)]
    if outside:
        yield from ((address, port) for address in outside)
    elif offer.service.provider is not Provider.KUBERNETES:
        for instance in offer.instances:
            own = dict(instance.ports).get(port)
            if own is not None and not instance.is_draining and is_ip(instance.workload.address):
                yield instance.workload.address, own
