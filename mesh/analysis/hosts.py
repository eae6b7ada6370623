"""The hosts that are known, and who may see them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from mesh.config import Config
from mesh.names import DEFAULT_DOMAIN, host_covers, is_wildcard, resolve, specificity
from mesh.services import GIT

EVERYBODY = "*"
OWN = "."


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownService:
    """A service that destinations may name."""

    host: str
    namespace: str
    ports: tuple[int, ...] = ()
    exports: tuple[str, ...] = (EVERYBODY,)

    def is_seen_from(self, namespace: str) -> bool:
        return is_seen_from(namespace, self.namespace, self.exports)


def is_seen_from(namespace: str, owner: str, exports: Sequence[str]) -> bool:
    """Istio, ``exportTo``: ``*`` everybody, ``.`` the owner's namespace, else those named."""
    return EVERYBODY in exports or namespace in exports or (OWN in exports and namespace == owner)


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """Every known service by host; wildcards apart, the most specific first."""

    exact: Mapping[str, tuple[KnownService, ...]]
    wildcards: tuple[KnownService, ...]
    has_registries: bool = False
    """Whether registries outside the repository may know more hosts."""

    @classmethod
    def of(cls, config: Config, services: Iterable[KnownService] = ()) -> Self:
        everybody = config.mesh_config.default_service_export_to
        declared = (
            KnownService(
                host=resolve(host, entry.key.namespace),
                namespace=entry.key.namespace,
                ports=tuple(port.number for port in entry.spec.ports),
                exports=entry.spec.export_to or everybody,
            )
            for entry in config.of("ServiceEntry")
            for host in entry.spec.hosts
            # Refused, and would hide every other mistake.
            if host != EVERYBODY
        )
        exact: defaultdict[str, list[KnownService]] = defaultdict(list)
        wildcards: list[KnownService] = []
        for service in (*declared, *services):
            if is_wildcard(service.host):
                wildcards.append(service)
            else:
                exact[service.host].append(service)
        ordered = sorted(wildcards, key=lambda service: specificity(service.host))
        outside = any(registry.name != GIT for registry in config.mesh.registries)
        return cls({host: tuple(found) for host, found in exact.items()}, tuple(ordered), outside)

    def find(self, host: str, namespace: str) -> KnownService | None:
        """The service that ``host`` names for a client in ``namespace``."""
        if is_wildcard(host):
            candidates = (s for found in self.exact.values() for s in found if host_covers(host, s.host))
            seen = next((s for s in candidates if s.is_seen_from(namespace)), None)
            if seen is not None:
                return seen
        for service in self.exact.get(host, ()):
            if service.is_seen_from(namespace):
                return service
        for service in self.wildcards:
            if service.is_seen_from(namespace) and host_covers(service.host, host):
                return service
        return None

    def near(self, namespace: str) -> tuple[str, ...]:
        """The exact hosts that are seen from a namespace: what a typing mistake may have meant."""
        return tuple(
            sorted(h for h, found in self.exact.items() if any(s.is_seen_from(namespace) for s in found))
        )

    def must_be_declared_here(self, host: str) -> bool:
        """Whether only this repository can know the host: it looks like one of the mesh's own.

        Anything else may be known to DNS or to a registry.
        """
        return not self.has_registries and host.endswith(f".svc.{DEFAULT_DOMAIN}")
