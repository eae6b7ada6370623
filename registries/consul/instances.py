"""One instance of a Consul service, in our words.

Everything that Consul says of an instance comes together in the answer of ``health/service``: the service's
registration, its node, and the checks of both. This module reads one such entry and knows no other. What it
cannot read it leaves out, and says so; its shape is checked first (:mod:`registries.consul.shapes`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from mesh.kinds.registry_consul import Consul, ConsulMapping
from mesh.kinds.rules import dns_label, domain, label_key, label_value
from mesh.labels import Labels, labels
from mesh.services import Locality
from registries.consul.places import locality_of, place_of
from registries.consul.shapes import PASSING, at, misshapen

WEIGHT_MAX = 65535
"""Of the DNS too, through which Consul says weights (RFC 2782). Envoy adds up those of a locality in 32 bits:
that many instances of one service could have it."""
_NODE_MAINTENANCE = "_node_maintenance"
_SERVICE_MAINTENANCE = "_service_maintenance:"
_SHOWN_MAX = 60
_BITS_SHOWN_MAX = 64


class Health(Enum):
    """What becomes of an instance."""

    SERVES = auto()
    DRAINS = auto()
    """In maintenance: it stays until its requests are done, and gets no new ones."""
    OUT = auto()


@dataclass(slots=True)
class Findings:
    """What a person should mend in the registrations of one service. Filled while they are read."""

    messages: dict[str, str] = field(default_factory=dict)
    """With their hints."""

    def add(self, message: str, hint: str) -> None:
        self.messages.setdefault(message, hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One instance, as it is registered, whatever its health."""

    id: str
    node: str
    datacenter: str
    address: str
    """An IP or a DNS name; empty where neither was given."""
    is_ip: bool
    port: int
    """As registered: 0 is none, and not every number is a port."""
    namespace: str
    account: str
    labels: Labels
    locality: Locality
    network: str
    weight: int
    health: Health
    said: Mapping[str, str]
    """Its meta, and its tags ``key=value``."""
    port_name: str
    """What Consul calls the port, from 1.22 on."""

    @property
    def is_listening(self) -> bool:
        return 1 <= self.port <= 65535


def is_readable(entry: Mapping[str, Any], findings: Findings) -> bool:
    """Whether it has the shape of a registration: everything below takes that for granted."""
    wrong = misshapen(entry)
    if wrong:
        known_as, found = shown(at(entry, "Service.ID")), shown(at(entry, wrong))
        findings.add(
            f"instance {known_as} says a {wrong} that is none: {found}",
            "register it anew; it is left out",
        )
    return not wrong


def is_member(entry: Mapping[str, Any], settings: Consul) -> bool:
    """Whether it is of the services that were asked for.

    The proxies and gateways of Consul's own mesh are not, unless ``include`` says their very name.
    """
    service = entry["Service"]
    if service.get("Kind") and service["Service"] not in settings.include:
        return False
    return set(settings.tags) <= set(service.get("Tags") or ())


def registered(entry: Mapping[str, Any], settings: Consul, findings: Findings) -> Registered | None:
    """The instance; ``None`` when it cannot be said which namespace it is of."""
    service, node, mapping = entry["Service"], entry["Node"], settings.mapping
    said = _said(service)
    known_as = service["ID"]
    namespace = said.get(mapping.namespace_meta, mapping.namespace)
    if not mapping.may_name(namespace):
        findings.add(
            f"instance {known_as!r} says the namespace {shown(namespace)}, which it may not name",
            "allow it by mapping.namespaces; it is left out",
        )
        return None
    if dns_label(namespace):
        findings.add(
            f"instance {known_as!r} says a namespace that is none: {shown(namespace)}",
            f"say a DNS label in its meta {mapping.namespace_meta!r}; it is left out",
        )
        return None
    account = said.get(mapping.account_meta, "")
    if account and domain(account):
        findings.add(
            f"instance {known_as!r} says a service account that is none: {shown(account)}",
            f"say a DNS name in its meta {mapping.account_meta!r}; it has no identity",
        )
        account = ""
    address, port, is_ip = place_of(node, service, mapping.addresses)
    if not address:
        findings.add(
            f"instance {known_as!r} has no address that can be used",
            "register it with an IP address, or with the name of a host; it is left out",
        )
    node_meta = node.get("Meta") or {}
    health, weight = _health(entry.get("Checks") or (), service, serves_warning=settings.serve_warning)
    if weight > WEIGHT_MAX:
        findings.add(
            f"instance {known_as!r} has the weight {shown(weight)}",
            f"give it a weight from 0 to {WEIGHT_MAX}; until then, it has {WEIGHT_MAX}",
        )
    return Registered(
        id=known_as,
        node=node["Node"],
        datacenter=node.get("Datacenter") or settings.datacenter,
        address=address,
        is_ip=is_ip,
        port=port,
        namespace=sys.intern(namespace),
        account=sys.intern(account),
        labels=_labels(service, mapping, findings),
        locality=locality_of(node, service, mapping),
        network=sys.intern(said.get(mapping.network_meta) or node_meta.get(mapping.network_meta) or ""),
        weight=min(weight, WEIGHT_MAX),
        health=health,
        said=said,
        port_name=_port_name(service, port),
    )


def _said(service: Mapping[str, Any]) -> dict[str, str]:
    """Meta, and tags ``key=value``; where both say something, the meta."""
    tags = (tag.partition("=") for tag in service.get("Tags") or () if "=" in tag)
    return {**{key: value for key, _, value in tags}, **(service.get("Meta") or {})}


def _labels(service: Mapping[str, Any], mapping: ConsulMapping, findings: Findings) -> Labels:
    """The registry's own, then tags, then meta: the later wins. A tag ``x`` alone is ``tag.x: true``."""
    bare = {f"tag.{tag}": "true" for tag in service.get("Tags") or () if "=" not in tag}
    found = dict(mapping.labels)
    for key, value in (bare | _said(service)).items():
        if label_key(key) or label_value(value):
            findings.add(
                f"meta or tag {shown(key)} is no label, or its value is none: {shown(value)}",
                "labels are letters, digits and -_. of at most 63; leave it if no selector needs it",
            )
        else:
            found[sys.intern(key)] = sys.intern(value)
    return labels(found)


def _health(
    checks: Iterable[Mapping[str, Any]], service: Mapping[str, Any], *, serves_warning: bool
) -> tuple[Health, int]:
    """Whether it serves, and with which weight. The worst check decides; maintenance is no sickness."""
    weights = service.get("Weights") or {}
    weight, is_drained = _weight(weights, "Passing"), False
    for check in checks:
        known_as, status = check["CheckID"], check["Status"]
        if status == PASSING:
            continue
        if known_as == _NODE_MAINTENANCE or known_as.startswith(_SERVICE_MAINTENANCE):
            is_drained = True
        elif status == "warning" and serves_warning:
            weight = _weight(weights, "Warning")
        else:
            return Health.OUT, 1
    if weight < 1:  # "send nothing", which is no weight of Envoy's
        return Health.OUT, 1
    return (Health.DRAINS if is_drained else Health.SERVES), weight


def _weight(weights: Mapping[str, int | None], status: str) -> int:
    said = weights.get(status)
    return 1 if said is None else said


def _port_name(service: Mapping[str, Any], port: int) -> str:
    named = (one.get("Name") or "" for one in service.get("Ports") or () if one.get("Port") == port)
    return next(named, "")


def shown(said: object) -> str:
    """For a person, and not at any length."""
    match said:
        case str():
            return repr(said if len(said) <= _SHOWN_MAX else f"{said[:_SHOWN_MAX]}…")
        case dict():
            return "an object"
        case list():
            return "a list"
        case None:
            return "nothing"
        case int() if said.bit_length() > _BITS_SHOWN_MAX:
            return "a number beyond all bounds"
        case _:
            return repr(said)
