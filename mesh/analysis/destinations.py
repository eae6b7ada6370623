"""Destinations that lead nowhere: unknown hosts, subsets and ports.

Istio, ``virtualservice.DestinationHostAnalyzer`` and ``DestinationRuleAnalyzer``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from mesh.analysis.finding import Finding, listed
from mesh.analysis.hosts import KnownHosts, KnownService, is_seen_from
from mesh.config import Config, ConfigObject
from mesh.kinds.destination_rule import DestinationRule
from mesh.kinds.virtual_service import Destination, HTTPRoute, VirtualService
from mesh.names import ObjectKey, host_covers, is_ip, resolve


@dataclass(frozen=True, slots=True)
class Use:
    """One place where an object names a destination."""

    key: ObjectKey
    path: str
    destination: Destination


def check(config: Config, hosts: KnownHosts) -> Iterator[Finding]:
    rules = _Rules(config)
    for service in config.of("VirtualService"):
        for use in _uses(service):
            yield from _check_use(use, hosts, rules)
    for rule in config.of("DestinationRule"):
        yield from _check_rule(rule, hosts)


def _uses(service: ConfigObject[VirtualService]) -> Iterator[Use]:
    for index, route in enumerate(service.spec.http):
        for path, destination in _destinations(route):
            yield Use(service.key, f"spec.http[{index}].{path}", destination)


def _destinations(route: HTTPRoute) -> Iterator[tuple[str, Destination]]:
    for index, weighted in enumerate(route.route):
        yield f"route[{index}].destination", weighted.destination
    if route.mirror is not None:
        yield "mirror", route.mirror
    for index, policy in enumerate(route.mirrors):
        yield f"mirrors[{index}].destination", policy.destination


class _Rules:
    """The DestinationRules, found by host once for the many destinations that ask."""

    def __init__(self, config: Config) -> None:
        self._everybody = config.mesh_config.default_destination_rule_export_to
        self._rules: tuple[tuple[str, ConfigObject[DestinationRule]], ...] = tuple(
            (resolve(rule.spec.host, rule.key.namespace), rule) for rule in config.of("DestinationRule")
        )
        self._found: dict[str, tuple[ConfigObject[DestinationRule], ...]] = {}

    def of(self, host: str, namespace: str) -> tuple[ConfigObject[DestinationRule], ...]:
        if host not in self._found:
            self._found[host] = tuple(rule for own, rule in self._rules if host_covers(own, host))
        return tuple(
            rule
            for rule in self._found[host]
            if rule.key.namespace == namespace
            or is_seen_from(namespace, rule.key.namespace, rule.spec.export_to or self._everybody)
        )


def _check_use(use: Use, hosts: KnownHosts, rules: _Rules) -> Iterator[Finding]:
    namespace = use.key.namespace
    host = resolve(use.destination.host, namespace)
    service = hosts.find(host, namespace)
    if service is None:
        yield from _unknown_host(use.key, f"{use.path}.host", host, hosts)
    else:
        yield from _check_port(use, service)
    if use.destination.subset:
        yield from _check_subset(use, rules.of(host, namespace), host)


def _unknown_host(key: ObjectKey, path: str, host: str, hosts: KnownHosts) -> Iterator[Finding]:
    if is_ip(host):
        return
    if not hosts.must_be_declared_here(host):
        message = f"no ServiceEntry declares {host!r}"
        yield Finding(code="MW0011", object=key, path=path, message=message)
        return
    near = get_close_matches(host, hosts.near(key.namespace), n=1, cutoff=0.8)
    hint = f"did you mean {near[0]!r}?" if near else "declare it with a ServiceEntry"
    yield Finding(code="IST0101", object=key, path=path, message=f"no service {host!r}", hint=hint)


def _check_port(use: Use, service: KnownService) -> Iterator[Finding]:
    known = [str(number) for number in service.ports]
    port = use.destination.port
    if port is None:
        if len(known) > 1:
            message = f"{service.host!r} has {len(known)} ports, so the destination needs one"
            yield Finding(
                code="IST0112",
                object=use.key,
                path=use.path,
                message=message,
                hint=f"add port.number: one of {listed(known)}",
            )
    elif known and port.number not in service.ports:
        yield Finding(
            code="IST0101",
            object=use.key,
            path=f"{use.path}.port.number",
            message=f"no port {port.number} at {service.host!r}",
            hint=f"known ports are {listed(known)}",
        )


def _check_subset(use: Use, rules: tuple[ConfigObject[DestinationRule], ...], host: str) -> Iterator[Finding]:
    known = sorted({subset.name for rule in rules for subset in rule.spec.subsets})
    if use.destination.subset in known:
        return
    names = [f"{rule.key.namespace}/{rule.key.name}" for rule in rules]
    if names:
        message = f"no subset {use.destination.subset!r} in DestinationRule {listed(names)}"
        hint = f"known subsets are {listed(known)}" if known else "it has no subsets"
    else:
        message = f"no DestinationRule for {host!r}, so it has no subset {use.destination.subset!r}"
        hint = "add a DestinationRule with subsets"
    yield Finding(code="IST0101", object=use.key, path=f"{use.path}.subset", message=message, hint=hint)


def _check_rule(rule: ConfigObject[DestinationRule], hosts: KnownHosts) -> Iterator[Finding]:
    """A rule for a host that nobody declares does nothing; it may only have come early."""
    host = resolve(rule.spec.host, rule.key.namespace)
    if hosts.find(host, rule.key.namespace) is None and not is_ip(host):
        message = f"no service {host!r} is known, so the rule does nothing"
        yield Finding(code="MW0011", object=rule.key, path="spec.host", message=message)
