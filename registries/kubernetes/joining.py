"""What a Service, its EndpointSlices and their Pods say together: an offer. A function of values.

The rules are Istio's (``serviceregistry/kube``) and kube-proxy's:

* A ready endpoint serves. One that is going away and still serves is drained; but where no ready one is
  left it serves (kube-proxy, "terminating endpoints"). What is not ready gets no requests, and its proxy has
  the ports of the Service all the same.
* An endpoint that is a Pod counts only when that very Pod (by its uid) is known at that address: without it
  we would not know who answers there, and whether by mutual TLS. It is one instance, in the Service's first
  address family.
* An account is no proof of a sidecar, as every Pod has one: mutual TLS is spoken to Pods with the label
  ``security.istio.io/tlsMode: istio``, which injection gives.

Unlike Istio, which passes connections to a headless Service through to the address that the client chose,
its endpoints are known by name like those of any other: clients outside of the cluster have no cluster DNS.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from typing import Final, Protocol

from mesh.identity import SpiffeId
from mesh.services import Locality, Service, Workload
from registries.answers import Instance, Offer
from registries.kubernetes import objects
from registries.kubernetes.declared import TRANSPORTS, Complaint, declared
from registries.kubernetes.objects import Place, Pod, Slice
from registries.kubernetes.reading import Reading
from registries.mutual_tls import TLS_MODE

NETWORK: Final = "topology.istio.io/network"


class Known(Protocol):
    """What joining asks of all that is known of the cluster."""

    def pod(self, key: objects.Key) -> Pod | None: ...

    def workload(self, pod: Pod) -> Workload | None:
        """The Pod as a workload; ``None`` before it has an address."""

    def locality(self, node: str) -> Locality: ...

    def network(self, pod: Pod | None) -> str: ...

    def selected(self, service: objects.Service) -> Iterable[Pod]:
        """The Pods that a Service selects."""


@dataclass(frozen=True, slots=True)
class Joined:
    """What became of a Service; it may be no offer at all."""

    offer: Offer | None
    complaint: Complaint | None = None
    is_waiting: bool = False
    """Endpoints are left out because their Pods are not known (any more, or yet)."""


class _Serving(IntEnum):
    NO = 0
    DRAINING = 1
    YES = 2


@dataclass(slots=True)
class _Found:
    """One instance, put together from all the slices that name it."""

    workload: Workload
    ports: dict[int, int]
    serving: _Serving


def workload(pod: Pod, address: str, locality: Locality, network: str) -> Workload:
    """A Pod as a workload."""
    return Workload(
        name=pod.key[1],
        namespace=pod.key[0],
        address=address,
        labels=pod.labels,
        service_account=pod.account,
        locality=locality,
        mutual_tls=(TLS_MODE, "istio") in pod.labels,
        network=network,
        is_ready=pod.is_ready,
    )


def joined(said: objects.Service, slices: Iterable[Slice], known: Known, reading: Reading) -> Joined:
    """The offer that a Service makes."""
    service, complaint = declared(said, reading)
    if said.kind == objects.EXTERNAL_NAME:
        return _external(said, service, complaint)
    if not service.ports:
        return Joined(None, complaint)
    found: dict[objects.Key | str, _Found] = {}
    preferred, is_waiting = said.families[0] if said.families else "", False
    for one in sorted(slices, key=lambda one: (one.family != preferred, one.key)):
        if one.family == objects.FQDN:
            complaint = Complaint(
                f"EndpointSlice {one.key[1]!r} has endpoints by name (addressType FQDN), which are left out",
                hint="declare them with a ServiceEntry of resolution DNS",
            )
            continue
        is_waiting |= _gather(said, one, known, found)
    serving = tuple(found.values())
    has_ready = any(one.serving is _Serving.YES for one in serving)
    instances = (
        _instance(one, is_draining=has_ready and one.serving is _Serving.DRAINING)
        for one in serving
        if one.serving and one.ports
    )
    waiting = (
        _instance(one, is_draining=False)
        for one in (*(one for one in serving if not one.serving), *_unlisted(said, known, found))
        if one.ports
    )
    offer = Offer(_with_accounts(service, found, reading), _in_order(instances), unready=_in_order(waiting))
    return Joined(offer, complaint, is_waiting)


def _external(said: objects.Service, service: Service, complaint: Complaint | None) -> Joined:
    """Another name for something outside: looked up in DNS, by the proxy."""
    if not said.external_name:
        return Joined(
            None,
            Complaint("it is of type ExternalName and has no externalName", hint="set spec.externalName"),
        )
    if not service.ports:
        return Joined(
            None,
            Complaint(
                "it is of type ExternalName and has no ports, so that no proxy can listen for it",
                hint="name its ports in spec.ports",
            ),
        )
    outside = Workload(
        name="", namespace=said.key[0], address=said.external_name.rstrip("."), mutual_tls=False
    )
    # A proxy calls the port that its client called: there is no other in DNS.
    ports = tuple((port.number, port.target) for port in service.ports)
    return Joined(Offer(service, (Instance(workload=outside, ports=ports),)), complaint)


def _with_accounts(service: Service, found: dict[objects.Key | str, _Found], reading: Reading) -> Service:
    """Where the workloads have another trust domain, whom a caller has to expect is spelt out."""
    if not reading.trust_domain:
        return service
    accounts = {
        (one.workload.namespace, one.workload.service_account)
        for one in found.values()
        if one.workload.mutual_tls
    }
    names = tuple(str(SpiffeId(reading.trust_domain, *account)) for account in sorted(accounts))
    return replace(service, subject_alt_names=names)


def _gather(said: objects.Service, one: Slice, known: Known, found: dict[objects.Key | str, _Found]) -> bool:
    """Add what a slice says. An endpoint may stand in several slices at once, while they are rearranged.

    Returns whether some that would serve are left out, as their Pods are not known.
    """
    is_waiting = False
    targets = dict(one.ports)
    ports = {
        port.number: targets[port.name]
        for port in said.ports
        if port.name in targets and port.transport in TRANSPORTS
    }
    for place in one.places:
        who = place.pod_key or place.address
        serving = _serving(place, said)
        if (before := found.get(who)) is not None:
            if before.workload.address == place.address:
                before.ports |= ports
                before.serving = max(before.serving, serving)
        elif (at := _at(place, said, known)) is not None:
            found[who] = _Found(at, dict(ports), serving)
        else:
            is_waiting |= serving is not _Serving.NO
    return is_waiting


def _serving(place: Place, said: objects.Service) -> _Serving:
    if place.is_ready or said.is_serving_unready:
        return _Serving.YES
    return _Serving.DRAINING if place.is_serving and place.is_terminating else _Serving.NO


def _at(place: Place, said: objects.Service, known: Known) -> Workload | None:
    """The workload behind an endpoint; ``None`` when it is a Pod that we do not know (any more, or yet)."""
    if (key := place.pod_key) is None:
        return Workload(
            name="",
            namespace=said.key[0],
            address=place.address,
            locality=_locality(place, known.locality(place.node)),
            mutual_tls=False,
            network=known.network(None),
        )
    pod = known.pod(key)
    if pod is None or pod.is_over or (place.uid and place.uid != pod.uid):
        return None
    if pod.addresses and place.address not in pod.addresses:
        return None  # who answers there is not this Pod: a slice that lags behind, or one that lies
    at = known.workload(pod)
    if at is None:
        at = workload(pod, place.address, known.locality(pod.node), known.network(pod))
    locality = _locality(place, at.locality)
    if at.address == place.address and at.locality == locality:
        return at
    return replace(at, address=place.address, locality=locality)


def _locality(place: Place, of_node: Locality) -> Locality:
    return of_node if of_node.zone or not place.zone else replace(of_node, zone=place.zone)


def _unlisted(
    said: objects.Service, known: Known, found: dict[objects.Key | str, _Found]
) -> Iterator[_Found]:
    """Pods that no slice names yet. Their proxies connect before anybody has written one."""
    for pod in known.selected(said):
        if pod.key not in found and (at := known.workload(pod)) is not None:
            named = dict(pod.ports)
            targets = (
                (port.number, port.target if isinstance(port.target, int) else named.get(port.target, 0))
                for port in said.ports
                if port.transport in TRANSPORTS
            )
            yield _Found(at, {number: target for number, target in targets if target}, _Serving.NO)


def _instance(found: _Found, *, is_draining: bool) -> Instance:
    ports = _shared(tuple(sorted(found.ports.items())))
    return Instance(workload=found.workload, ports=ports, is_draining=is_draining)


# The instances of one Service have the same ports, with few exceptions.
@lru_cache(maxsize=4096)
def _shared(ports: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    return ports


def _in_order(instances: Iterable[Instance]) -> tuple[Instance, ...]:
    return tuple(sorted(instances, key=lambda one: one.place))
