"""One Consul service as services, instances and workloads of the mesh.

A function of what ``health/service`` says and of the settings; ``docs/registries/consul.md`` shows it at an
example. What must hold for the service as a whole (its port, protocol, ``exportTo``) each instance says for
itself in Consul: most of them decide, and the least text where two are said equally often.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.kinds.registry_consul import DEFAULT_PARTITION, Consul, filled
from mesh.kinds.rules import domain
from mesh.labels import Labels
from mesh.services import (
    Port,
    Provider,
    Resolution,
    Service,
    ServiceKey,
    Workload,
)
from registries.answers import Instance, Offer, Remark
from registries.consul.agreement import Agreement
from registries.consul.instances import (
    Findings,
    Health,
    Registered,
    is_member,
    is_readable,
    registered,
    shown,
)
from registries.mutual_tls import speaks_mutual_tls
from registries.roster import DEFAULT_ACCOUNT

_MESSAGES_MAX = 3
_NAME_MAX = 63
_UNFIT = re.compile(r"[^a-z0-9-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What one Consul service is to the mesh: a service per hostname and namespace, and its workloads."""

    offers: tuple[Offer, ...] = ()
    workloads: tuple[Workload, ...] = ()
    """Instances with an account: whose proxies may connect, healthy or not."""
    remark: Remark | None = None


NOTHING = Mapped()


def mapped(name: str, entries: Iterable[Mapping[str, Any]], settings: Consul, registry: str) -> Mapped:
    """Consul's service of that name (in lower case: Consul's names differ by more than case)."""
    findings = Findings()
    by_namespace: defaultdict[str, list[Registered]] = defaultdict(list)
    for entry in entries:
        if is_readable(entry, findings) and is_member(entry, settings):
            one = registered(entry, settings, findings)
            if one is not None:
                by_namespace[one.namespace].append(one)
    offers: list[Offer] = []
    workloads: list[Workload] = []
    for namespace in sorted(by_namespace):
        group = _Group(name, namespace, by_namespace[namespace], settings, findings)
        workloads += group.members()
        offers += group.offers(registry)
    remark = _remark(name, findings)
    if not (offers or workloads or remark):
        return NOTHING
    return Mapped(offers=tuple(offers), workloads=tuple(workloads), remark=remark)


def about(name: str) -> str:
    """What remarks on a service are filed under."""
    return f"service {name}"


def unaskable(name: str) -> Mapped:
    """A service whose name would be another path in a URL: it could be no host name either."""
    message, hint = f"not a host name: {name!r}", "rename the service, or leave it out with exclude"
    return Mapped(remark=Remark(about=about(name), message=message, hint=hint))


def _remark(name: str, findings: Findings) -> Remark | None:
    """One per service, however many of its instances repeat the mistake."""
    if not findings.messages:
        return None
    messages = sorted(findings.messages)
    shown = "; ".join(messages[:_MESSAGES_MAX])
    more = len(messages) - _MESSAGES_MAX
    return Remark(
        about=about(name),
        message=f"{shown}; and {more} more" if more > 0 else shown,
        hint=findings.messages[messages[0]],
    )


class _Group:
    """The instances of one service in one namespace. Lives as long as they are mapped."""

    def __init__(
        self, name: str, namespace: str, instances: list[Registered], settings: Consul, findings: Findings
    ) -> None:
        self._name, self._namespace, self._instances = name, namespace, instances
        self._settings, self._mapping, self._findings = settings, settings.mapping, findings
        placed = [one for one in instances if one.address]
        # One that does not serve has no say in how all others are reached.
        placed = [one for one in placed if one.health is not Health.OUT] or placed
        self._is_dns = bool(placed) and not any(one.is_ip for one in placed)
        self._shared: dict[Labels, Labels] = {}
        ids = Counter(_fit(one.id) for one in instances)
        self._workloads = [(one, self._workload(one, ids)) for one in instances]

    def members(self) -> Iterable[Workload]:
        return (workload for one, workload in self._workloads if one.account and one.is_ip)

    def offers(self, registry: str) -> Iterable[Offer]:
        """One per hostname, all with the same instances."""
        agreed = Agreement(self._instances, self._mapping, self._findings)
        port = agreed.port()
        hosts = self._hosts()
        if port is None or not hosts:
            return
        instances, unready = self._instances_at(port)
        for host in hosts:
            service = Service(
                key=ServiceKey(sys.intern(host), self._namespace),
                ports=(port,),
                resolution=Resolution.DNS if self._is_dns else Resolution.STATIC,
                location=agreed.location(),
                export_to=agreed.export_to(),
                provider=Provider.CONSUL,
                registry=registry,
            )
            yield Offer(service, instances, unready)

    def _instances_at(self, port: Port) -> tuple[tuple[Instance, ...], tuple[Instance, ...]]:
        """Those that serve, and those that only wait to."""
        serving: list[Instance] = []
        waiting: list[Instance] = []
        alike: dict[int, tuple[tuple[int, int], ...]] = {}  # one object for all who listen at the same port
        for one, workload in self._workloads:
            if self._is_placed(one):
                ports = alike.setdefault(one.port, ((port.number, one.port),))
                instance = Instance(workload=workload, ports=ports, is_draining=one.health is Health.DRAINS)
                (waiting if one.health is Health.OUT else serving).append(instance)
        return tuple(sorted(serving, key=_in_order)), tuple(sorted(waiting, key=_in_order))

    def _is_placed(self, one: Registered) -> bool:
        """Whether a proxy could connect to it."""
        if one.address and one.is_ip is self._is_dns:
            self._findings.add(
                f"instance {one.id!r} is at the name {one.address!r}, others at IP addresses",
                "register all instances with addresses, or all with names; it is left out",
            )
            return False
        if one.address and not one.is_listening:
            self._findings.add(
                f"instance {one.id!r} has {f'the port {shown(one.port)}' if one.port else 'no port'}",
                "register it with a port from 1 to 65535; it is left out",
            )
        return bool(one.address and one.is_listening)

    def _workload(self, one: Registered, ids: Counter[str]) -> Workload:
        account = one.account or DEFAULT_ACCOUNT
        return Workload(
            name=_workload_name(self._name, one, is_alone=ids[_fit(one.id)] == 1),
            namespace=self._namespace,
            address=one.address,
            labels=self._shared.setdefault(one.labels, one.labels),
            service_account=account,
            locality=one.locality,
            weight=one.weight,
            mutual_tls=speaks_mutual_tls(one.labels, one.account),
            network=one.network,
            is_ready=one.health is not Health.OUT,
        )

    def _hosts(self) -> tuple[str, ...]:
        made = dict.fromkeys(
            filled(
                template,
                name=self._name,
                namespace=self._namespace,
                datacenter=self._instances[0].datacenter,
                partition=self._settings.partition or DEFAULT_PARTITION,
            )
            for template in self._mapping.hostnames
        )
        for host in made:
            if wrong := domain(host):
                self._findings.add(
                    wrong,
                    "rename the service, or leave it out with exclude; it is not served under this name",
                )
        return tuple(host for host in made if not domain(host))


def _in_order(one: Instance) -> tuple[object, ...]:
    return *one.place, one.workload.name


def _workload_name(service: str, one: Registered, *, is_alone: bool) -> str:
    """Its id, made a DNS label.

    Consul's ids are unique per node only, and an id that was not chosen is the service's name: with the
    node's name behind it, it is one workload's alone.
    """
    name = _fit(one.id)
    return name if is_alone and name != _fit(service) else _fit(f"{one.id}-{one.node}")


def _fit(text: str) -> str:
    """Lower case, hyphens for what a DNS label cannot hold, and a hash for what is too long or nothing."""
    name = _UNFIT.sub("-", text.lower()).strip("-")
    if not name or len(name) > _NAME_MAX:
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        name = f"{name[: _NAME_MAX - 9].rstrip('-')}-{digest}".lstrip("-")
    return name
