"""How registries are combined that speak of one thing: the one rule for every clash.

Registries are in an order of trust: Kubernetes before Consul before Git (Istio,
``serviceregistry/aggregate``), and within these as the Mesh document names them. A host belongs to the first
registry that claims it in its namespace; claims of different namespaces stay different services, and
``mesh/visibility.py`` says who sees which.

* **One host, several registries.** The owner's words hold: ports, protocols, labels, ``exportTo``. Instances
  of another registry join when either of the two names the host in ``shareHosts``, and those of one more
  Kubernetes cluster always, as in Istio. Every other claim is left out, and reported.
* **Ports that disagree.** The owner's hold. An instance of another registry serves those of the same number,
  else of the same name, else (where both have just one) the one. What is left over is reported.
* **One address twice.** It serves a service once; the first registry's words about it hold.
* **One workload twice.** What Git declares was reviewed, so it has the word about a workload of that
  namespace and name, before Kubernetes before Consul: nobody who may register a service can take a machine
  out of its policies.
* **What it is.** A claim joins only one of its own kind: names that are resolved and addresses that are known
  make no service together.
* **Selectors.** A Kubernetes Service also picks the workloads that Git declares, and a ServiceEntry the Pods
  (Istio, ``serviceregistry/serviceentry``), each in its own namespace, if they are ready.

Every endpoint carries the label ``meshwright.dev/registry``, so that the subsets of a DestinationRule tell
registries apart. Nothing here is remembered; what need not be combined again is ``catalogues.py``'s business.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from mesh.labels import Labels, labels
from mesh.listeners import RESERVED_PORTS
from mesh.names import host_covers, is_ip, is_loopback
from mesh.problems import Problem, Where
from mesh.services import (
    Endpoint,
    Inbound,
    Location,
    Provider,
    Resolution,
    Service,
    ServiceEndpoints,
    Workload,
)
from registries.answers import Instance, Offer

PORTS_END = 65_536
REGISTRY_LABEL = "meshwright.dev/registry"
Shares = Mapping[str, tuple[str, ...]]
"""By registry: the hosts (wildcards allowed) that it serves together with others."""
Ports = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one registry says of one service. Claims stand in the order of trust."""

    registry: str
    provider: Provider
    offer: Offer
    picked: tuple[tuple[str, Workload], ...] = ()
    """Workloads that its selector picks in other registries, with the name of theirs."""


@dataclass(frozen=True, slots=True)
class Joined:
    """Instances that one registry brings, and which port of the service is which of their own."""

    registry: str
    offer: Offer
    ports: Ports

    def serving(self, instance: Instance) -> Ports:
        """Where an instance serves the ports of the service: number to its own."""
        return _serving(self.ports, instance.ports)


@lru_cache(maxsize=4096)
def _serving(ports: Ports, where: Ports) -> Ports:
    own = dict(where)
    return tuple((ours, own[theirs]) for ours, theirs in ports if theirs in own)


@dataclass(frozen=True, slots=True, kw_only=True)
class Combined:
    """One service as it is in force."""

    service: Service
    endpoints: ServiceEndpoints
    behind: ServiceEndpoints
    """What its clusters need of the endpoints: who may answer; for DNS services all."""
    joined: tuple[Joined, ...]
    ties: tuple[Problem, ...]


def combined(claims: tuple[Claim, ...], shares: Shares) -> Combined:
    """The one service that these claims of one host in one namespace make."""
    owner = claims[0]
    service = owner.offer.service
    ties = list(_reserved(owner))
    joined: list[Joined] = []
    addresses: dict[str, None] = {}
    names: dict[str, None] = {}
    for claim in claims:
        theirs = claim.offer.service
        if claim is not owner and not _joins(claim, owner, shares):
            ties.append(_not_shared(claim, owner))
            continue
        if theirs.resolution is not service.resolution:
            ties.append(_of_another_kind(claim, owner))
            continue
        ports = _ports(service, theirs)
        left = {port.number for port in theirs.ports} - {number for _, number in ports}
        if left:
            ties.append(_not_served(claim, owner, left))
        joined.append(Joined(claim.registry, claim.offer, ports))
        joined += _picked(claim, ports)
        addresses.update(dict.fromkeys(theirs.addresses))
        names.update(dict.fromkeys(theirs.subject_alt_names))
    if (tuple(addresses), tuple(names)) != (service.addresses, service.subject_alt_names):
        service = replace(service, addresses=tuple(addresses), subject_alt_names=tuple(names))
    endpoints, twice = _endpoints(service, joined)
    behind = endpoints if service.resolution is Resolution.DNS else ServiceEndpoints({}, endpoints.accounts)
    return Combined(
        service=service, endpoints=endpoints, behind=behind, joined=tuple(joined), ties=(*ties, *twice)
    )


def _joins(claim: Claim, owner: Claim, shares: Shares) -> bool:
    host = owner.offer.service.host
    if claim.provider is owner.provider is Provider.KUBERNETES and not _is_of_cluster(owner.offer.service):
        return True
    named = (*shares.get(claim.registry, ()), *shares.get(owner.registry, ()))
    return any(host_covers(pattern, host) for pattern in named)


def _is_of_cluster(service: Service) -> bool:
    """Whether every cluster means its own by it. Istio, ``MeshConfig.serviceSettings``, the defaults."""
    return service.key.namespace == "kube-system" or service.host.startswith("kubernetes.default.svc.")


def _ports(ours: Service, theirs: Service) -> Ports:
    """Which port of the service is which of the other registry's."""
    if ours is theirs:
        return tuple((port.number, port.number) for port in ours.ports)
    numbers = {port.number for port in theirs.ports}
    by_name = {port.name: port.number for port in theirs.ports if port.name}
    only = theirs.ports[0].number if len(ours.ports) == len(theirs.ports) == 1 else None
    found = (
        (port.number, port.number if port.number in numbers else by_name.get(port.name, only))
        for port in ours.ports
    )
    return tuple((number, their) for number, their in found if their is not None)


def _picked(claim: Claim, ports: Ports) -> Iterator[Joined]:
    """The workloads of other registries that the claim's selector picks, registry by registry."""
    service = claim.offer.service
    for registry in dict.fromkeys(registry for registry, _ in claim.picked):
        instances = tuple(
            Instance(workload=workload, ports=targets(service, workload))
            for of, workload in claim.picked
            if of == registry
        )
        yield Joined(registry, Offer(service, instances), ports)


def targets(service: Service, place: Workload) -> Ports:
    """Where a workload serves each port: its own of that name, else the service's target port (Istio)."""
    own = dict(place.ports)
    return tuple((port.number, own.get(port.name, port.target)) for port in service.ports)


def _endpoints(service: Service, joined: Iterable[Joined]) -> tuple[ServiceEndpoints, tuple[Problem, ...]]:
    by_port: dict[int, dict[tuple[str, str, int], Endpoint]] = {port.number: {} for port in service.ports}
    accounts: set[str] = set()
    ties: dict[str, Problem] = {}
    for part in joined:
        for instance in part.offer.instances:
            place = instance.workload
            if service.resolution is Resolution.STATIC and not _is_address(place.address):
                ties.setdefault(place.address, _no_address(service, part.registry, place))
                continue
            known_as = _labelled(place.labels, part.registry)
            for port, target in part.serving(instance):
                if target in RESERVED_PORTS and is_loopback(place.address):
                    # Whoever calls it would reach the admin port of an Envoy of its own host.
                    ties.setdefault(place.address, _no_port(service, part.registry, place, target))
                    continue
                if not 0 < target < PORTS_END:
                    ties.setdefault(place.address, _no_port(service, part.registry, place, target))
                    continue
                # Who says no more of where it is than its network is told from others by its name.
                at = place.network, place.address or f"~{place.name}", target
                first = by_port[port].get(at)
                if first is None:
                    by_port[port][at] = _endpoint(service, instance, target, known_as)
                elif first.workload != place.name:
                    ties.setdefault(place.address, _twice(service, part.registry, first, place))
            if place.mutual_tls:
                accounts.add(account(place))
    return (
        ServiceEndpoints(
            {number: tuple(found[at] for at in sorted(found)) for number, found in by_port.items()},
            tuple(sorted(accounts)),
        ),
        tuple(ties.values()),
    )


def _endpoint(service: Service, instance: Instance, target: int, known_as: Labels) -> Endpoint:
    place = instance.workload
    return Endpoint(
        address=place.address,
        port=target,
        labels=known_as,
        weight=place.weight,
        service_account=place.service_account,
        namespace=place.namespace,
        locality=place.locality,
        mutual_tls=place.mutual_tls and service.location is Location.INTERNAL,
        workload=place.name,
        source=place.source,
        network=place.network,
        is_draining=instance.is_draining,
    )


def _is_address(text: str) -> bool:
    """What Envoy takes for an endpoint that it does not resolve; nothing stands for "somewhere behind
    the gateway of its network".
    """
    return not text or is_ip(text) or text.startswith("unix://")


def account(place: Workload) -> str:
    """One object per identity, so that what depends on "who may answer" is remembered by it."""
    return sys.intern(f"ns/{place.namespace}/sa/{place.service_account}")


@lru_cache(maxsize=65_536)
def _labelled(own: Labels, registry: str) -> Labels:
    return labels({**dict(own), REGISTRY_LABEL: registry})


def inbound(service: Service, part: Joined, instance: Instance) -> Iterator[Inbound]:
    """What the workload of an instance answers for."""
    where = dict(part.serving(instance))
    return (Inbound(service.key, port, where[port.number]) for port in service.ports if port.number in where)


def _at(registry: str) -> Where:
    return Where(file=f"registry {registry}")


def _not_shared(claim: Claim, owner: Claim) -> Problem:
    service = claim.offer.service
    return Problem(
        code="MW0015",
        where=_at(claim.registry),
        message=f"{service.key} belongs to registry {owner.registry!r}: this one's claim is left out",
        hint=f"name the host in shareHosts of {claim.registry!r} to have both serve it",
    )


def _of_another_kind(claim: Claim, owner: Claim) -> Problem:
    ours, theirs = owner.offer.service, claim.offer.service
    return Problem(
        code="MW0017",
        where=_at(claim.registry),
        message=(
            f"{ours.key} is {theirs.resolution} here and {ours.resolution} in registry"
            f" {owner.registry!r}, which owns it: this one's claim is left out"
        ),
        hint="call one of the two by another name",
    )


def _reserved(owner: Claim) -> Iterator[Problem]:
    for port in owner.offer.service.ports:
        if port.number in RESERVED_PORTS:
            yield Problem(
                code="MW0024",
                where=_at(owner.registry),
                message=(
                    f"port {port.number} of {owner.offer.service.key} is one that proxies keep for themselves"
                ),
                hint="captured connections to it are not routed: give the service another port",
            )


def _no_address(service: Service, registry: str, place: Workload) -> Problem:
    return Problem(
        code="MW0024",
        where=_at(registry),
        message=f"{place.name} of {service.key} is at {place.address!r}, which is no address: not served",
        hint="give it an IP address, or the service a name to be resolved (resolution DNS)",
    )


def _no_port(service: Service, registry: str, place: Workload, number: int) -> Problem:
    return Problem(
        code="MW0024",
        where=_at(registry),
        message=f"{place.name} of {service.key} is at {place.address}:{number}: not served",
        hint="expected a port from 1 to 65535, and none of a proxy's own behind a loopback address",
    )


def _not_served(claim: Claim, owner: Claim, numbers: set[int]) -> Problem:
    spelled = ", ".join(str(number) for number in sorted(numbers))
    return Problem(
        code="MW0017",
        where=_at(claim.registry),
        message=(
            f"{claim.offer.service.key} belongs to registry {owner.registry!r},"
            f" where it has no port like {spelled}: not served"
        ),
        hint="give the ports the same number or the same name",
    )


def _twice(service: Service, registry: str, first: Endpoint, second: Workload) -> Problem:
    return Problem(
        code="MW0016",
        where=_at(registry),
        message=(
            f"{second.address} serves {service.key} as {first.workload or 'an address'}"
            f" and as {second.name or 'an address'}: the first counts"
        ),
        hint="declare it once",
    )


def known_twice(first: str, second: str, workload: Workload) -> Problem:
    """Two registries know a workload of one name."""
    return Problem(
        code="MW0018",
        where=_at(second),
        message=(
            f"workload {workload.namespace}/{workload.name} is known to registry {first!r} as well,"
            " which has the word about it"
        ),
        hint="give one of the two another name",
    )
