"""The traffic policy in force for one destination, after merging and subsets.

The rules are Istio's (``pilot/pkg/model/destination_rule.go``): a rule is looked for in the client's
own namespace (unless that is the root), then in the service's among those exported to the client, then
in the root's; at each level the most specific host wins, the first level with any match ends the search,
and levels never merge. Rules for one host in one namespace do when they are exported alike: their subsets
are united, the policy is the oldest's. ``portLevelSettings`` replace the policy for their port entirely; a
subset's policy replaces field by field.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from mesh.config import Config, ConfigObject
from mesh.interning import Recall
from mesh.kinds.destination_rule import DestinationRule, PortTrafficPolicy, Subset
from mesh.kinds.destination_rule import TrafficPolicy as Written
from mesh.names import ObjectKey, host_covers, is_wildcard, resolve, specificity
from mesh.services import Service
from mesh.views import TrafficPolicy


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rule:
    """One or several DestinationRules for the same host of the same namespace, as one."""

    host: str
    export_to: tuple[str, ...]
    policy: Written | None
    subsets: tuple[Subset, ...]
    sources: tuple[ObjectKey, ...]

    def subset(self, name: str) -> Subset | None:
        return next((subset for subset in self.subsets if subset.name == name), None)


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """The rules of one namespace, findable by host."""

    exact: dict[str, tuple[Rule, ...]]
    """Several where rules for one host are exported differently; in order of their objects."""
    wildcards: tuple[Rule, ...]
    """Most specific first."""

    def matching(self, host: str, *, client: str, owner: str) -> Rule | None:
        """The most specific rule for ``host`` that ``client``'s namespace may use."""
        for rule in (*self.exact.get(host, ()), *self.wildcards):
            if host_covers(rule.host, host) and exported(rule.export_to, client, owner):
                return rule
        return None


def exported(export_to: tuple[str, ...], client: str, owner: str) -> bool:
    """Whether an object of namespace ``owner`` is visible in namespace ``client``. Istio, ``exportTo``."""
    return "*" in export_to or client in export_to or (client == owner and "." in export_to)


def rules_of(config: Config, namespace: str, recall: Recall) -> Rules:
    """The rules of one namespace; the same object as long as none of them changed."""
    return recall.get(
        _rules,
        config.within("DestinationRule", namespace),
        recall.get(_tuple, config.mesh_config.default_destination_rule_export_to),
    )


def _tuple(said: tuple[str, ...]) -> tuple[str, ...]:
    return said or ("*",)


def _rules(written: tuple[ConfigObject[DestinationRule], ...], everywhere: tuple[str, ...]) -> Rules:
    alike: dict[tuple[str, frozenset[str]], list[ConfigObject[DestinationRule]]] = {}
    for rule in written:
        host = resolve(rule.spec.host, rule.key.namespace)
        alike.setdefault((host, frozenset(rule.spec.export_to or everywhere)), []).append(rule)
    merged = [_merged(host, same, everywhere) for (host, _), same in alike.items()]
    exact: defaultdict[str, tuple[Rule, ...]] = defaultdict(tuple)
    for one in merged:
        if not is_wildcard(one.host):
            exact[one.host] += (one,)
    return Rules(
        dict(exact),
        tuple(
            sorted(
                (rule for rule in merged if is_wildcard(rule.host)), key=lambda rule: specificity(rule.host)
            )
        ),
    )


def _merged(host: str, same: list[ConfigObject[DestinationRule]], everywhere: tuple[str, ...]) -> Rule:
    """Rules of the same ``exportTo``: the oldest decides, later ones add subsets it does not have."""
    first = same[0]
    subsets: dict[str, Subset] = {}
    for rule in same:
        for subset in rule.spec.subsets:
            subsets.setdefault(subset.name, subset)
    policy = next((rule.spec.traffic_policy for rule in same if rule.spec.traffic_policy), None)
    return Rule(
        host=host,
        export_to=first.spec.export_to or everywhere,
        policy=policy,
        subsets=tuple(subsets.values()),
        sources=tuple(rule.key for rule in same),
    )


def rule_for(config: Config, client: str, service: Service, recall: Recall) -> Rule | None:
    """The rule in force for a service, seen from the namespace ``client``."""
    root = config.root_namespace
    owner = service.key.namespace
    for level in dict.fromkeys((client if client != root else owner, owner, root)):
        found = rules_of(config, level, recall).matching(service.host, client=client, owner=level)
        if found is not None:
            return found
    return None


NO_POLICY = TrafficPolicy()


def general_policy(written: Written | None, port: int) -> TrafficPolicy:
    """What holds for one port of a destination, subsets left out."""
    return _replaced(NO_POLICY, written, port)


def policy(rule: Rule | None, port: int, subset: str) -> TrafficPolicy:
    """The policy in force for one port of the destination and, if named, one subset of it."""
    if rule is None:
        return NO_POLICY
    made = general_policy(rule.policy, port)
    chosen = rule.subset(subset) if subset else None
    if chosen is not None and chosen.traffic_policy is not None:
        made = _overlaid(made, chosen.traffic_policy)
        own = _port_level(chosen.traffic_policy, port)
        if own is not None:
            made = _from_port(own)
    return TrafficPolicy(
        load_balancer=made.load_balancer,
        connection_pool=made.connection_pool,
        outlier_detection=made.outlier_detection,
        tls=made.tls,
        sources=rule.sources,
    )


def _replaced(default: TrafficPolicy, written: Written | None, port: int) -> TrafficPolicy:
    if written is None:
        return default
    own = _port_level(written, port)
    return _from_port(own) if own is not None else _overlaid(default, written)


def _port_level(written: Written, port: int) -> PortTrafficPolicy | None:
    return next(
        (own for own in written.port_level_settings if own.port is not None and own.port.number == port), None
    )


def _from_port(own: PortTrafficPolicy) -> TrafficPolicy:
    return TrafficPolicy(
        load_balancer=own.load_balancer,
        connection_pool=own.connection_pool,
        outlier_detection=own.outlier_detection,
        tls=own.tls,
    )


def _overlaid(below: TrafficPolicy, written: Written) -> TrafficPolicy:
    """What is said in ``written`` replaces what is below, field by field."""
    return TrafficPolicy(
        load_balancer=written.load_balancer or below.load_balancer,
        connection_pool=written.connection_pool or below.connection_pool,
        outlier_detection=written.outlier_detection or below.outlier_detection,
        tls=written.tls or below.tls,
    )
