"""Which services and VirtualServices one namespace sees, and which Sidecar narrows that down.

Istio's rules (istio.md 2.2, 2.5): ``exportTo`` decides what is visible; a Sidecar chosen by workload
labels before the namespace's own before the root namespace's decides what of it is imported. Hosts that
an imported VirtualService sends traffic to are imported with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mesh.config import Config, ConfigObject
from mesh.kinds.sidecar import Sidecar
from mesh.kinds.virtual_service import VirtualService
from mesh.labels import Labels, selects
from mesh.names import MESH_GATEWAY, host_covers, host_matches, resolve, specificity
from mesh.services import Provider, Service, ServiceKey
from mesh.traffic import exported

VirtualServices = tuple[ConfigObject[VirtualService], ...]
_BEGINNING = datetime.min.replace(tzinfo=UTC)


def sidecar_for(config: Config, namespace: str, workload: Labels) -> ConfigObject[Sidecar] | None:
    """The Sidecar in force: by labels, else the namespace's, else the root namespace's."""
    own = config.within("Sidecar", namespace)
    for sidecar in own:
        picks = sidecar.spec.workload_selector.labels.pairs if sidecar.spec.workload_selector else ()
        if picks and selects(picks, workload):
            return sidecar
    for level in (own, config.within("Sidecar", config.root_namespace)):
        for sidecar in level:
            if not (sidecar.spec.workload_selector and sidecar.spec.workload_selector.labels):
                return sidecar
    return None


@dataclass(frozen=True, slots=True)
class Import:
    """One egress host of a Sidecar: ``namespace/host``, possibly an exclusion."""

    namespace: str
    host: str
    excludes: bool

    @classmethod
    def parse(cls, text: str, own: str) -> Import:
        namespace, _, host = text.partition("/")
        excludes = namespace.startswith("~")
        namespace = namespace.removeprefix("~")
        if excludes and not namespace:
            namespace = "*"
        return cls(own if namespace == "." else namespace, resolve(host, own), excludes)

    def concerns(self, owner: str, host: str) -> bool:
        """Imports take what overlaps with them, exclusions what they cover (Istio's two tests)."""
        if self.namespace not in ("*", owner):
            return False
        return host_covers(self.host, host) if self.excludes else host_matches(self.host, host)


EVERYTHING = Import("*", "*", excludes=False)


@dataclass(frozen=True, slots=True, eq=False)
class Visible:
    """The services that one namespace (under one Sidecar) sees: one per host."""

    services: tuple[Service, ...]
    """Sorted by host."""
    by_host: Mapping[str, Service]


def imports(sidecar: ConfigObject[Sidecar] | None, namespace: str) -> tuple[Import, ...]:
    """The egress hosts of the Sidecar; ``*/*`` when it names none."""
    if sidecar is None or not sidecar.spec.egress:
        return (EVERYTHING,)
    return tuple(Import.parse(host, namespace) for egress in sidecar.spec.egress for host in egress.hosts)


def visible(
    services: Mapping[ServiceKey, Service],
    namespace: str,
    wanted: tuple[Import, ...],
    routed: frozenset[str],
) -> Visible:
    """What the workloads of ``namespace`` see: exported to them, and imported or routed to."""
    by_host: dict[str, Service] = {}
    for service in services.values():
        owner = service.key.namespace
        if not exported(service.export_to, namespace, owner):
            continue
        if not (_imported(wanted, owner, service.host) or service.host in routed):
            continue
        known = by_host.get(service.host)
        if known is None or _before(service, known, namespace):
            by_host[service.host] = service
    in_order = tuple(by_host[host] for host in sorted(by_host))
    return Visible(in_order, by_host)


def routed_hosts(virtual_services: VirtualServices, wanted: tuple[Import, ...]) -> frozenset[str]:
    """The destinations of imported VirtualServices: imported with them (Istio, "SidecarScope").

    Empty when everything is imported anyway, so that then a VirtualService does not touch what is seen.
    """
    if wanted == (EVERYTHING,):
        return frozenset()
    return frozenset(host for virtual in virtual_services for host in destination_hosts(virtual))


def _imported(wanted: tuple[Import, ...], owner: str, host: str) -> bool:
    """Exclusion beats inclusion (istio.md 2.5)."""
    if wanted == (EVERYTHING,):
        return True
    matching = [one for one in wanted if one.concerns(owner, host)]
    return bool(matching) and not any(one.excludes for one in matching)


def _before(service: Service, other: Service, namespace: str) -> bool:
    """Who owns a host that two declare: the own namespace, else Kubernetes before Consul before Git, else
    the first object (``mesh/config.py``).
    """

    def rank(one: Service) -> tuple[bool, Provider, str, bool, datetime, str]:
        order = one.provider, one.unit, one.created is None, one.created or _BEGINNING, one.key.namespace
        return one.key.namespace != namespace, *order

    return rank(service) < rank(other)


def bound_to_mesh(
    written: VirtualServices, default_export: tuple[str, ...], namespace: str, wanted: tuple[Import, ...]
) -> VirtualServices:
    """The VirtualServices for sidecars, in the order of precedence: private, exported to here, public.

    Public is public in its own namespace too. Istio, ``initVirtualServices``.
    """
    private: list[ConfigObject[VirtualService]] = []
    given: list[ConfigObject[VirtualService]] = []
    public: list[ConfigObject[VirtualService]] = []
    for virtual in written:
        if virtual.spec.gateways and MESH_GATEWAY not in virtual.spec.gateways:
            continue
        owner = virtual.key.namespace
        export_to = virtual.spec.export_to or default_export or ("*",)
        if not exported(export_to, namespace, owner):
            continue
        if not any(_imported(wanted, owner, resolve(host, owner)) for host in virtual.spec.hosts):
            continue
        level = public if "*" in export_to else private if owner == namespace else given
        level.append(virtual)
    return (*private, *given, *public)


def destination_hosts(virtual: ConfigObject[VirtualService]) -> tuple[str, ...]:
    """Every host the VirtualService may send a request to, in full, in order of appearance."""
    found: dict[str, None] = {}
    for route in virtual.spec.http:
        named = [target.destination for target in route.route]
        named += [target.destination for target in route.mirrors]
        if route.mirror is not None:
            named.append(route.mirror)
        for destination in named:
            found[resolve(destination.host, virtual.key.namespace)] = None
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class HostIndex:
    """VirtualServices findable by the hosts they claim."""

    exact: Mapping[str, ConfigObject[VirtualService]]
    wildcards: tuple[tuple[str, ConfigObject[VirtualService]], ...]
    """Most specific first."""

    def claiming(self, host: str) -> ConfigObject[VirtualService] | None:
        """The one that speaks for ``host``: exact before wildcard; among equals the first in precedence."""
        found = self.exact.get(host)
        if found is not None:
            return found
        return next((virtual for claim, virtual in self.wildcards if host_matches(claim, host)), None)


def host_index(virtual_services: VirtualServices) -> HostIndex:
    """One VirtualService per host: the first in precedence keeps it (IST0109 reports the others)."""
    claims: dict[str, ConfigObject[VirtualService]] = {}
    for virtual in virtual_services:
        for host in virtual.spec.hosts:
            claims.setdefault(resolve(host, virtual.key.namespace), virtual)
    wildcards = sorted((host for host in claims if host.startswith("*")), key=specificity)
    return HostIndex(claims, tuple((host, claims[host]) for host in wildcards))


def selection_keys(virtual_services: VirtualServices) -> frozenset[str]:
    """The labels by which VirtualServices tell clients apart (``sourceLabels``): part of the facet (D2)."""
    return frozenset(
        key
        for virtual in virtual_services
        for route in virtual.spec.http
        for match in route.match
        for key in match.source_labels
    )
