"""Services and workloads declared in Git: ServiceEntry and WorkloadEntry, and who enrolled in a group.

The catalogue is a function of the config, and of who is enrolled in its groups. It is made namespace by
namespace, because a selector acts in its own namespace only (Istio, "ServiceEntry", ``workloadSelector``),
and a namespace whose slices did not change is not looked at again.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from mesh.config import Config, ConfigObject
from mesh.interning import Recall, gathered, number
from mesh.kinds.service_entry import ServiceEntry
from mesh.kinds.workload import WorkloadEntry, WorkloadGroup
from mesh.labels import Labels, labels, selects
from mesh.names import resolve
from mesh.services import (
    Catalogue,
    Endpoint,
    Inbound,
    Locality,
    Location,
    Port,
    Resolution,
    Service,
    ServiceEndpoints,
    ServiceKey,
    Workload,
    protocol_of,
)
from registries.roster import DEFAULT_ACCOUNT, Enrolled, Roster, account_of, group_of, holders

TLS_MODE = "security.istio.io/tlsMode"
WorkloadKey = tuple[str, str]
Ports = tuple[tuple[str, int], ...]
"""Ports by the names of the service's."""


@dataclass(frozen=True, slots=True, eq=False)
class Behind:
    """What the clusters of one service need of its endpoints."""

    service: ServiceKey
    endpoints: ServiceEndpoints


@dataclass(frozen=True, slots=True, eq=False)
class _Namespace:
    """What one namespace declares."""

    services: tuple[Service, ...]
    endpoints: tuple[tuple[ServiceKey, ServiceEndpoints], ...]
    workloads: tuple[Workload, ...]
    inbound: tuple[tuple[WorkloadKey, tuple[Inbound, ...]], ...]
    behind: tuple[Behind, ...]


def catalogue(config: Config, recall: Recall, roster: Roster = ()) -> Catalogue:
    """Every service and workload that the config declares, and the workloads enrolled in its groups.

    Parts that did not change since ``recall``'s last generation are the same objects.
    """
    everywhere = config.mesh_config.default_service_export_to
    enrolled = _enrolled(config, recall, roster)
    parts = [
        recall.get(
            _namespace,
            recall,
            config.within("ServiceEntry", namespace),
            config.within("WorkloadEntry", namespace),
            recall.get(gathered, *enrolled[namespace]),
            everywhere,
        )
        for namespace in config.namespaces
    ]
    return recall.get(
        _combined,
        recall.get(_services_by_key, *(part.services for part in parts)),
        recall.get(_by_key, *(part.behind for part in parts)),
        *parts,
    )


def _enrolled(config: Config, recall: Recall, roster: Roster) -> defaultdict[str, list[Workload]]:
    """The enrolled workloads in force, by namespace.

    An address belongs to one identity: what is declared was reviewed, so it wins over a claim.
    """
    made: defaultdict[str, list[Workload]] = defaultdict(list)
    declared = recall.get(holders, config.of("WorkloadEntry"))
    taken: dict[str, tuple[str, str]] = {}
    for one in roster:
        group = group_of(config, one)
        at = declared.get(one.address)
        if group is None or (at is not None and one.identity not in at):
            continue
        if taken.setdefault(one.address, one.identity) == one.identity:
            made[one.namespace].append(recall.get(_of_group, group, one))
    return made


def _by_key(*parts: tuple[Behind, ...]) -> dict[ServiceKey, ServiceEndpoints]:
    return {one.service: one.endpoints for part in parts for one in part}


def _services_by_key(*parts: tuple[Service, ...]) -> dict[ServiceKey, Service]:
    return {service.key: service for part in parts for service in part}


def _combined(
    services: dict[ServiceKey, Service], behind: dict[ServiceKey, ServiceEndpoints], *parts: _Namespace
) -> Catalogue:
    return Catalogue(
        services=services,
        endpoints={key: endpoints for part in parts for key, endpoints in part.endpoints},
        workloads={
            (workload.namespace, workload.name): workload for part in parts for workload in part.workloads
        },
        inbound={key: inbound for part in parts for key, inbound in part.inbound},
        behind=behind,
    )


def _namespace(
    recall: Recall,
    entries: tuple[ConfigObject[ServiceEntry], ...],
    workload_entries: tuple[ConfigObject[WorkloadEntry], ...],
    enrolled: tuple[Workload, ...],
    everywhere: tuple[str, ...],
) -> _Namespace:
    workloads = (*(recall.get(_workload, entry) for entry in workload_entries), *enrolled)
    found = _Index(workloads)
    services: dict[ServiceKey, Service] = {}
    endpoints: list[tuple[ServiceKey, ServiceEndpoints]] = []
    answers: defaultdict[WorkloadKey, list[Inbound]] = defaultdict(list)
    for entry in entries:
        for service in recall.get(_services, entry, everywhere):
            if services.setdefault(service.key, service) is not service:
                continue  # the first in order keeps the name; analysis reports the other
            behind = tuple(found.selected(service.selector)) if service.selector is not None else ()
            endpoints.append((service.key, recall.get(_endpoints, service, entry, *behind)))
            places = ((workload, workload.ports) for workload in behind)
            for workload, ports in places if behind else found.at(entry.spec.endpoints):
                answers[workload.namespace, workload.name].extend(
                    Inbound(service.key, port, _target(port, ports)) for port in service.ports
                )
    inbound = tuple((key, recall.get(gathered, *_in_order(recall, found))) for key, found in answers.items())
    known = recall.get(gathered, *(_behind(recall, services[key], found) for key, found in endpoints))
    return _Namespace(recall.get(gathered, *services.values()), tuple(endpoints), workloads, inbound, known)


def _behind(recall: Recall, service: Service, found: ServiceEndpoints) -> Behind:
    if service.resolution is Resolution.DNS:
        return recall.get(Behind, service.key, found)
    return recall.get(_accounts_alone, service.key, recall.get(gathered, *found.accounts))


def _accounts_alone(service: ServiceKey, accounts: tuple[str, ...]) -> Behind:
    return Behind(service, ServiceEndpoints({}, accounts))


def _in_order(recall: Recall, found: list[Inbound]) -> Iterator[Inbound]:
    """By workload port; the same objects as before for ports that did not change."""
    for one in sorted(dict.fromkeys(found), key=lambda one: (one.target, one.service, one.port.number)):
        yield recall.get(_same_inbound, one.service, one.port, number(one.target))


def _same_inbound(service: ServiceKey, port: Port, target: tuple[int]) -> Inbound:
    return Inbound(service, port, target[0])


def _services(entry: ConfigObject[ServiceEntry], everywhere: tuple[str, ...]) -> tuple[Service, ...]:
    """One service per host of the entry."""
    spec = entry.spec
    ports = tuple(
        Port(
            number=port.number,
            name=port.name,
            protocol=protocol_of(port.protocol, port.name, port.number),
            target=port.target_port or port.number,
        )
        for port in spec.ports
    )
    return tuple(
        Service(
            key=ServiceKey(resolve(host, entry.key.namespace), entry.key.namespace),
            ports=ports,
            resolution=Resolution(spec.resolution),
            location=Location(spec.location),
            addresses=spec.addresses,
            selector=spec.workload_selector.labels.pairs if spec.workload_selector else None,
            export_to=spec.export_to or everywhere,
            subject_alt_names=spec.subject_alt_names,
            labels=entry.labels,
            source=entry.key,
            created=entry.created,
            unit=entry.unit,
        )
        for host in dict.fromkeys(spec.hosts)
    )


def _workload(entry: ConfigObject[WorkloadEntry]) -> Workload:
    spec = entry.spec
    # Istio adds the labels of the object itself; those of the spec win
    # (``convertWorkloadEntryToWorkloadInstance``).
    merged = labels({**dict(entry.labels), **dict(spec.labels)})
    return Workload(
        name=entry.key.name,
        namespace=entry.key.namespace,
        address=spec.address,
        labels=merged,
        service_account=spec.service_account or DEFAULT_ACCOUNT,
        ports=spec.ports.pairs,
        locality=Locality.parse(spec.locality),
        weight=spec.weight or 1,
        mutual_tls=_speaks_mutual_tls(merged, spec.service_account),
        source=entry.key,
    )


def _of_group(group: ConfigObject[WorkloadGroup], one: Enrolled) -> Workload:
    template, metadata = group.spec.template, group.spec.metadata
    # Istio, ``workloadEntryFromGroup``: the labels of the metadata win over those of the template.
    merged = labels({**dict(template.labels), **dict(metadata.labels if metadata else {})})
    return Workload(
        name=one.name,
        namespace=one.namespace,
        address=one.address,
        labels=merged,
        service_account=account_of(group),
        ports=template.ports.pairs,
        locality=Locality.parse(template.locality),
        weight=template.weight or 1,
        # Unlike Istio, which asks whether the template names an account: its proxy has proven one.
        mutual_tls=_speaks_mutual_tls(merged, one.account),
        source=group.key,
    )


def _speaks_mutual_tls(subject: Labels, account: str) -> bool:
    """Istio: the label ``security.istio.io/tlsMode`` decides, else whether an account was given."""
    declared = dict(subject).get(TLS_MODE)
    return declared == "istio" if declared is not None else bool(account)


def _endpoints(service: Service, entry: ConfigObject[ServiceEntry], *selected: Workload) -> ServiceEndpoints:
    """The endpoints of one service: those selected, else those listed, else (DNS) the host itself."""
    if service.selector is not None:
        places = selected
    elif entry.spec.endpoints:
        places = tuple(_listed(entry, at, spec) for at, spec in enumerate(entry.spec.endpoints))
    elif service.resolution is Resolution.DNS:
        places = (_itself(service),)
    else:
        places = ()
    in_order = sorted(places, key=lambda place: (place.address, place.ports, place.name))
    return ServiceEndpoints(
        by_port={
            port.number: tuple(_endpoint(place, port, service.location) for place in in_order)
            for port in service.ports
        },
        accounts=tuple(sorted({_account(place) for place in places if place.mutual_tls})),
    )


def _itself(service: Service) -> Workload:
    return Workload(
        name="",
        namespace=service.key.namespace,
        address=service.host,
        mutual_tls=False,
        source=service.source,
    )


def _account(place: Workload) -> str:
    """One object per identity, so that what depends on "who may answer" is remembered by it."""
    return sys.intern(f"ns/{place.namespace}/sa/{place.service_account}")


def _listed(entry: ConfigObject[ServiceEntry], at: int, spec: WorkloadEntry) -> Workload:
    return Workload(
        name=f"{entry.key.name}-{at}",
        namespace=entry.key.namespace,
        address=spec.address,
        labels=spec.labels.pairs,
        service_account=spec.service_account or DEFAULT_ACCOUNT,
        ports=spec.ports.pairs,
        locality=Locality.parse(spec.locality),
        weight=spec.weight or 1,
        mutual_tls=_speaks_mutual_tls(spec.labels.pairs, spec.service_account),
        source=entry.key,
    )


def _endpoint(place: Workload, port: Port, location: Location) -> Endpoint:
    return Endpoint(
        address=place.address,
        port=_target(port, place.ports),
        labels=place.labels,
        weight=place.weight,
        service_account=place.service_account,
        namespace=place.namespace,
        locality=place.locality,
        mutual_tls=place.mutual_tls and location is Location.INTERNAL,
        workload=place.name,
        source=place.source,
    )


def _target(port: Port, overrides: Ports) -> int:
    """Istio: the workload's own port of that name, else the service's target port."""
    return dict(overrides).get(port.name, port.target)


class _Index:
    """The workloads of one namespace, findable by label and by address."""

    def __init__(self, workloads: tuple[Workload, ...]) -> None:
        self._all = workloads
        self._by_label: defaultdict[tuple[str, str], list[Workload]] = defaultdict(list)
        self._by_address: defaultdict[str, list[Workload]] = defaultdict(list)
        for workload in workloads:
            self._by_address[workload.address].append(workload)
            for pair in workload.labels:
                self._by_label[pair].append(workload)

    def selected(self, selector: Labels) -> Iterator[Workload]:
        """The workloads that the selector picks, found through its rarest pair."""
        few = min((self._by_label.get(pair, []) for pair in selector), key=len, default=self._all)
        return (workload for workload in few if selects(selector, workload.labels))

    def at(self, listed: tuple[WorkloadEntry, ...]) -> Iterator[tuple[Workload, Ports]]:
        """The workloads that live at the addresses of listed endpoints, and the ports listed for them."""
        return (
            (workload, spec.ports.pairs)
            for spec in listed
            for workload in self._by_address.get(spec.address, ())
        )
