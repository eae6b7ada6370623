"""Git as a registry: ServiceEntry and WorkloadEntry, and who enrolled in a group.

The answer is a function of the config, and of who is enrolled in its groups. It is made namespace by
namespace, because a selector acts in its own namespace only (Istio, "ServiceEntry", ``workloadSelector``),
and a namespace whose slices did not change is not looked at again. Workloads that other registries know
and a selector picks are added where registries are combined (``combine.py``).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from mesh.config import Config, ConfigObject
from mesh.interning import Recall, gathered
from mesh.kinds.service_entry import ServiceEntry
from mesh.kinds.workload import WorkloadEntry, WorkloadGroup
from mesh.labels import Labels, labels
from mesh.names import resolve
from mesh.networks import LABEL as NETWORK_LABEL
from mesh.services import (
    GIT,
    Locality,
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
from registries.combine import targets
from registries.mutual_tls import speaks_mutual_tls
from registries.picking import Pickable
from registries.roster import DEFAULT_ACCOUNT, Enrolled, Roster, account_of, group_of, holders


def declared(config: Config, recall: Recall, roster: Roster = ()) -> Answer:
    """Every service and workload that the config declares, and the workloads enrolled in its groups.

    Parts that did not change since ``recall``'s last generation are the same objects.
    """
    everywhere = config.mesh_config.default_service_export_to
    enrolled = _enrolled(config, recall, roster)
    parts = (
        recall.get(
            _namespace,
            recall,
            namespace,
            config.within("ServiceEntry", namespace),
            config.within("WorkloadEntry", namespace),
            recall.get(gathered, *enrolled[namespace]),
            everywhere,
        )
        for namespace in config.namespaces
    )
    return recall.get(_answer, *parts)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """What one namespace declares."""

    namespace: str
    said: Said


def _answer(*parts: _Part) -> Answer:
    return Answer(
        registry=GIT,
        provider=Provider.GIT,
        namespaces={part.namespace: part.said for part in parts if part.said.offers or part.said.workloads},
    )


def _enrolled(config: Config, recall: Recall, roster: Roster) -> defaultdict[str, list[Workload]]:
    """The enrolled workloads in force, by namespace.

    An address belongs to one identity: what is declared was reviewed, so it wins over a claim.
    """
    made: defaultdict[str, list[Workload]] = defaultdict(list)
    declared_at = recall.get(holders, config.of("WorkloadEntry"))
    taken: dict[str, tuple[str, str]] = {}
    for one in roster:
        group = group_of(config, one)
        at = declared_at.get(one.address)
        if group is None or (at is not None and one.identity not in at):
            continue
        if taken.setdefault(one.address, one.identity) == one.identity:
            made[one.namespace].append(recall.get(_of_group, group, one))
    return made


def _namespace(
    recall: Recall,
    namespace: str,
    entries: tuple[ConfigObject[ServiceEntry], ...],
    workload_entries: tuple[ConfigObject[WorkloadEntry], ...],
    enrolled: tuple[Workload, ...],
    everywhere: tuple[str, ...],
) -> _Part:
    workloads = (*(recall.get(_workload, entry) for entry in workload_entries), *enrolled)
    pickable = Pickable(workloads)
    offers: dict[str, Offer] = {}
    for entry in entries:
        for service in recall.get(_services, entry, everywhere):
            if service.host in offers:
                continue  # the first in order keeps the name; analysis reports the other
            picked = pickable.picked(service.selector) if service.selector is not None else ()
            offers[service.host] = recall.get(_offer, service, entry, *picked)
    return _Part(namespace, Said(offers, {workload.name: workload for workload in workloads}))


def _offer(service: Service, entry: ConfigObject[ServiceEntry], *selected: Workload) -> Offer:
    """The instances of one service: those selected, else those listed, else (DNS) the host itself."""
    if service.selector is not None:
        places = selected
    elif entry.spec.endpoints:
        places = tuple(_listed(entry, at, spec) for at, spec in enumerate(entry.spec.endpoints))
    elif service.resolution is Resolution.DNS:
        places = (_itself(service),)
    else:
        places = ()
    instances = (Instance(workload=place, ports=targets(service, place)) for place in places)
    return Offer(service, tuple(sorted(instances, key=lambda one: (one.place, one.workload.name))))


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
        mutual_tls=speaks_mutual_tls(merged, spec.service_account),
        source=entry.key,
        network=_network(spec, merged),
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
        mutual_tls=speaks_mutual_tls(merged, one.account),
        source=group.key,
        network=_network(template, merged),
    )


def _network(spec: WorkloadEntry, merged: Labels) -> str:
    return spec.network or dict(merged).get(NETWORK_LABEL, "")


def _itself(service: Service) -> Workload:
    return Workload(
        name="",
        namespace=service.key.namespace,
        address=service.host,
        mutual_tls=False,
        source=service.source,
    )


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
        mutual_tls=speaks_mutual_tls(spec.labels.pairs, spec.service_account),
        source=entry.key,
        network=_network(spec, spec.labels.pairs),
    )
