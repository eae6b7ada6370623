"""Several VirtualServices of the mesh that claim one host.

For sidecars one VirtualService per host is taken, the first in order, and the others are ignored.
Istio, ``virtualservice.ConflictingMeshGatewayHostsAnalyzer``: equal hosts clash where one namespace
sees both, and a host that is not exported to everybody clashes with any that is and overlaps it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from mesh.analysis.finding import Finding, listed
from mesh.analysis.hosts import EVERYBODY, OWN, KnownHosts
from mesh.config import Config
from mesh.names import MESH_GATEWAY, ObjectKey, host_matches, is_wildcard, resolve


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One host of one VirtualService, and the namespaces that see it."""

    key: ObjectKey
    index: int
    host: str
    audience: frozenset[str]

    @property
    def is_public(self) -> bool:
        return EVERYBODY in self.audience


@dataclass(slots=True)
class _Clash:
    """What one VirtualService shares with others; the first host gives the place."""

    index: int
    hosts: list[str] = field(default_factory=list)
    rivals: set[str] = field(default_factory=set)


def check(config: Config, _hosts: KnownHosts) -> Iterator[Finding]:
    clashes: dict[ObjectKey, _Clash] = {}
    for one, other in _pairs(list(_claims(config))):
        for claim, rival in ((one, other), (other, one)):
            clash = clashes.setdefault(claim.key, _Clash(claim.index))
            clash.rivals.add(f"{rival.key.namespace}/{rival.key.name}")
            if claim.host not in clash.hosts:
                clash.hosts.append(claim.host)
    for key, clash in clashes.items():
        yield Finding(
            code="IST0109",
            object=key,
            path=f"spec.hosts[{clash.index}]",
            message=f"{listed(clash.hosts)} claimed by VirtualService {listed(sorted(clash.rivals))} too",
            hint="merge them; a sidecar takes one and ignores the others",
        )


def _claims(config: Config) -> Iterator[Claim]:
    everybody = config.mesh_config.default_virtual_service_export_to
    for service in config.of("VirtualService"):
        if service.spec.gateways and MESH_GATEWAY not in service.spec.gateways:
            continue
        own = service.key.namespace
        scopes = service.spec.export_to or everybody
        audience = frozenset(own if scope == OWN else scope for scope in scopes)
        for index, written in enumerate(service.spec.hosts):
            host = resolve(written, own)
            yield Claim(key=service.key, index=index, host=host, audience=audience)


def _pairs(claims: list[Claim]) -> Iterator[tuple[Claim, Claim]]:
    by_host: defaultdict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        for other in by_host[claim.host]:
            if claim.key != other.key and _share_a_client(claim, other):
                yield other, claim
        by_host[claim.host].append(claim)
    public = [claim for claim in claims if claim.is_public]
    wild = [claim for claim in public if is_wildcard(claim.host)]
    for claim in claims:
        if not claim.is_public:
            for other in public if is_wildcard(claim.host) else wild:
                if claim.key != other.key and host_matches(claim.host, other.host):
                    yield claim, other


def _share_a_client(one: Claim, other: Claim) -> bool:
    return one.is_public or other.is_public or bool(one.audience & other.audience)
