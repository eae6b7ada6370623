"""Which certificates gateways ask for, and which of them nobody keeps.

A Gateway names a credential; what it stands for is the operator's and the clusters' (DESIGN 3.1), so no
check of the repository can know whether it is there. Without it the server's handshakes fail and everything
else goes on: the status says so, at the line that names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mesh.config import Config, ConfigObject
from mesh.kinds.gateway import Gateway
from mesh.labels import selects
from mesh.names import ObjectKey
from mesh.problems import Problem, in_order
from mesh.services import Catalogue
from mesh.world import Trust
from reconciler.reading import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A credential that one server of a Gateway names, for its proxies in one namespace."""

    gateway: ObjectKey
    server: int
    namespace: str
    name: str


def named_credentials(config: Config, services: Catalogue) -> Iterator[Named]:
    """What accepted Gateways name, in their order."""
    for gateway in config.of("Gateway"):
        names = {
            index: server.tls.credential_name
            for index, server in enumerate(gateway.spec.servers)
            if server.tls is not None and server.tls.credential_name
        }
        for namespace in _namespaces(gateway, services) if names else ():
            for index, name in names.items():
                yield Named(gateway=gateway.key, server=index, namespace=namespace, name=name)


def missing_credentials(reading: Reading, services: Catalogue, trust: Trust) -> tuple[Problem, ...]:
    """One warning for each server and namespace of its gateways that lacks the certificate."""
    return in_order(
        reading.places[one.gateway].problem(
            "MW0013",
            f"spec.servers[{one.server}].tls.credentialName",
            f"no certificate {one.name!r} is kept for gateways of namespace {one.namespace!r}",
            _hint(one, reading.config),
        )
        for one in named_credentials(reading.config, services)
        if one.name not in trust.credentials.get(one.namespace, {})
    )


def _hint(one: Named, config: Config) -> str:
    at = f"{one.namespace}/{one.name}"
    asked = [
        registry.name
        for registry in config.mesh.registries
        if registry.kubernetes is not None and registry.kubernetes.gateway_secrets
    ]
    ours = f"put tls.crt and tls.key into {at} below --secrets-directory, and restart"
    return f"make the Secret {at} in {' or '.join(asked)}, or {ours}" if asked else ours


def _namespaces(gateway: ConfigObject[Gateway], services: Catalogue) -> list[str]:
    """Where its proxies are; its own namespace as long as none is known. A proxy is given its own only."""
    asked = gateway.spec.selector.pairs
    found = {
        workload.namespace for workload in services.workloads.values() if selects(asked, workload.labels)
    }
    return sorted(found) or [gateway.key.namespace]
