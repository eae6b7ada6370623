"""The clusters of some services and the endpoints behind them.

A cluster depends on its service, the rule in force, who may answer (a small interned value) and nothing
else, so an endpoint that comes or goes makes no cluster anew (DESIGN D1). The endpoints of DNS services
are the exception: their names are part of the cluster.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from mesh.config import Config, ConfigObject
from mesh.interning import Recall, gathered
from mesh.kinds.authentication import PeerAuthentication
from mesh.labels import Labels, selects
from mesh.networks import NOWHERE, Standpoint
from mesh.security import Policies, authentication, levels, namespace_mode
from mesh.services import (
    NO_ENDPOINTS,
    Catalogue,
    Endpoint,
    Location,
    Port,
    Protocol,
    Resolution,
    Service,
    ServiceEndpoints,
    ServiceKey,
)
from mesh.split_horizon import secured, seen_from, within
from mesh.traffic import Rule, policy
from mesh.views import Cluster, MutualTls, Settings

Rules = Mapping[str, Rule | None]
Behind = Mapping[ServiceKey, ServiceEndpoints]


def clusters(
    config: Config,
    behind: Behind,
    services: Iterable[Service],
    rules: Rules,
    settings: Settings,
    recall: Recall,
    standpoint: Standpoint = NOWHERE,
) -> tuple[Cluster, ...]:
    """One cluster per service port and one more per subset; by host, port and subset.

    Where they are called from matters only for DNS services, whose endpoints are part of their clusters.
    """
    auto = config.mesh_config.enable_auto_mtls
    made: list[Cluster] = []
    for service in services:
        mode = recall.get(namespace_mode, *levels(config, "PeerAuthentication", service.key.namespace))
        made += recall.get(
            _of_service,
            service,
            rules[service.host],
            behind.get(service.key, NO_ENDPOINTS),
            auto and service.location is Location.INTERNAL and mode is not MutualTls.DISABLE,
            settings,
            standpoint if service.resolution is Resolution.DNS else NOWHERE,
        )
    return recall.get(gathered, *made)


def _of_service(
    service: Service,
    rule: Rule | None,
    behind: ServiceEndpoints,
    auto_mutual_tls: bool,
    settings: Settings,
    standpoint: Standpoint,
) -> tuple[Cluster, ...]:
    domains = (settings.trust_domain, *settings.trust_domain_aliases)
    answering = tuple(f"spiffe://{domain}/{account}" for domain in domains for account in behind.accounts)
    subsets = ("", *sorted(subset.name for subset in rule.subsets)) if rule is not None else ("",)

    def cluster(port: Port, name: str) -> Cluster:
        acting, picks = policy(rule, port.number, name), _subset_labels(rule, name)
        listed = _picked(behind.by_port.get(port.number, ()), picks)
        return Cluster(
            service=service,
            port=port,
            subset=name,
            policy=acting,
            auto_mutual_tls=auto_mutual_tls,
            accounts=(*answering, *service.subject_alt_names),
            subset_labels=picks,
            dns_endpoints=seen_from(standpoint, secured(acting.tls, auto_mutual_tls=auto_mutual_tls), listed),
        )

    return tuple(
        cluster(port, name)
        for port in sorted(service.ports, key=lambda port: port.number)
        if port.protocol is not Protocol.UDP
        for name in subsets
    )


def _subset_labels(rule: Rule | None, name: str) -> Labels:
    """The labels that pick a subset's endpoints; empty for the destination as a whole."""
    chosen = rule.subset(name) if rule is not None and name else None
    return chosen.labels.pairs if chosen is not None else ()


def _picked(endpoints: tuple[Endpoint, ...], wanted: Labels) -> tuple[Endpoint, ...]:
    if not wanted:
        return endpoints
    return tuple(endpoint for endpoint in endpoints if selects(wanted, endpoint.labels))


def by_service(*made: Cluster) -> Mapping[ServiceKey, tuple[Cluster, ...]]:
    """Which clusters get new endpoints when those of a service change. DNS services have none."""
    found: defaultdict[ServiceKey, list[Cluster]] = defaultdict(list)
    for cluster in made:
        if cluster.service.resolution is Resolution.STATIC:
            found[cluster.service.key].append(cluster)
    return {key: tuple(members) for key, members in found.items()}


def cluster_endpoints(
    config: Config, services: Catalogue, cluster: Cluster, recall: Recall, standpoint: Standpoint = NOWHERE
) -> tuple[Endpoint, ...]:
    """The endpoints of one cluster as they are reached from there.

    The same tuple as long as none of them changed, and for all who reach each of them directly.
    """
    behind = services.endpoints.get(cluster.service.key, NO_ENDPOINTS)
    found = behind.by_port.get(cluster.port.number, ())
    if cluster.subset_labels:
        found = recall.get(_picked, found, cluster.subset_labels)
    mesh, own = levels(config, "PeerAuthentication", cluster.service.key.namespace)
    if cluster.auto_mutual_tls and recall.get(_disables_any, mesh, own):
        found = recall.get(_as_demanded, found, mesh, own)
    which = secured(cluster.policy.tls, auto_mutual_tls=cluster.auto_mutual_tls)
    if cluster.is_passed_on:
        return recall.get(within, standpoint, which, found)
    if not standpoint.others and all(endpoint.address for endpoint in found):
        return found
    return recall.get(seen_from, standpoint, which, found)


def _disables_any(mesh: Policies, own: Policies) -> bool:
    """Whether any endpoint could be one that refuses mutual TLS."""
    return any(
        "DISABLE" in (policy.spec.mtls.mode if policy.spec.mtls else "", *_port_modes(policy))
        for policy in (*mesh, *own)
    )


def _port_modes(policy: ConfigObject[PeerAuthentication]) -> Iterable[str]:
    return (one.mode for one in policy.spec.port_level_mtls.values())


def _as_demanded(endpoints: tuple[Endpoint, ...], mesh: Policies, own: Policies) -> tuple[Endpoint, ...]:
    """The second stage of automatic mutual TLS (istio.md 2.10): what each endpoint's own policy says."""

    def demanded(endpoint: Endpoint) -> Endpoint:
        if not endpoint.mutual_tls:
            return endpoint
        mode = authentication(mesh, own, endpoint.labels).of(endpoint.port)
        return replace(endpoint, mutual_tls=False) if mode is MutualTls.DISABLE else endpoint

    return tuple(demanded(endpoint) for endpoint in endpoints)
