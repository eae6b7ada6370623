"""Which certificates gateways ask for and the operator does not keep.

A Gateway names a credential; what it stands for is the operator's (DESIGN 3.1), so no check of the
repository can know whether it is there. Without it the server's handshakes fail and everything else goes
on: the status says so, at the line that names it.
"""

from __future__ import annotations

from collections.abc import Iterator

from mesh.config import ConfigObject
from mesh.kinds.gateway import Gateway
from mesh.labels import selects
from mesh.problems import Problem, in_order
from mesh.services import Catalogue
from mesh.world import Trust
from reconciler.reading import Reading


def missing_credentials(reading: Reading, services: Catalogue, trust: Trust) -> tuple[Problem, ...]:
    """One warning for each server and namespace of its gateways that lacks the certificate."""
    return in_order(
        problem
        for gateway in reading.config.of("Gateway")
        for problem in _of_gateway(gateway, reading, services, trust)
    )


def _of_gateway(
    gateway: ConfigObject[Gateway], reading: Reading, services: Catalogue, trust: Trust
) -> Iterator[Problem]:
    place = reading.places[gateway.key]
    for index, server in enumerate(gateway.spec.servers):
        name = server.tls.credential_name if server.tls is not None else ""
        for namespace in _namespaces(gateway, services) if name else ():
            if name not in trust.credentials.get(namespace, {}):
                yield place.problem(
                    "MW0013",
                    f"spec.servers[{index}].tls.credentialName",
                    f"no certificate {name!r} is kept for gateways of namespace {namespace!r}",
                    f"put tls.crt and tls.key into {namespace}/{name} below --secrets-directory, and restart",
                )


def _namespaces(gateway: ConfigObject[Gateway], services: Catalogue) -> list[str]:
    """Where its proxies are; its own namespace as long as none is known. A proxy is given its own only."""
    asked = gateway.spec.selector.pairs
    found = {
        workload.namespace for workload in services.workloads.values() if selects(asked, workload.labels)
    }
    return sorted(found) or [gateway.key.namespace]
