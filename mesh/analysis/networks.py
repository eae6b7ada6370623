"""Services that are named as gateways of networks, and that nobody knows."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.analysis.finding import Finding, listed
from mesh.analysis.hosts import KnownHosts
from mesh.config import Config
from mesh.kinds.rules import below


def check(config: Config, hosts: KnownHosts) -> Iterator[Finding]:
    for mesh in config.of("Mesh"):
        for name, network in mesh.spec.mesh_networks.networks.items():
            for index, gateway in enumerate(network.gateways):
                host = gateway.registry_service_name
                if host is None:
                    continue
                at = f"{below('spec.meshNetworks.networks', name)}.gateways[{index}]"
                found = hosts.exact.get(host, ())
                known = sorted({port for service in found for port in service.ports})
                if not found:
                    message = f"no service {host!r} is known, so network {name!r} is not entered by it"
                    yield Finding(
                        code="MW0011", object=mesh.key, path=f"{at}.registryServiceName", message=message
                    )
                elif known and gateway.port not in known:
                    hint = f"known ports are {listed([str(port) for port in known])}"
                    message = f"no port {gateway.port} at {host!r}"
                    yield Finding(
                        code="IST0101", object=mesh.key, path=f"{at}.port", message=message, hint=hint
                    )
