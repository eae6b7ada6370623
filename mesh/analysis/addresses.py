"""Services whose explicit address is that of a workload.

Without capture a service with a loopback address is listened for right there by every sidecar, and a sidecar
listens at its workload's own address for what comes in. Where the two are one address, two listeners
want one place, and requests that leave the proxy would come back to it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from mesh.analysis.finding import Finding
from mesh.analysis.hosts import KnownHosts
from mesh.config import Config
from mesh.names import is_ip


def check(config: Config, _hosts: KnownHosts) -> Iterator[Finding]:
    owners = {entry.spec.address: entry.key for entry in config.of("WorkloadEntry")}
    for service in config.of("ServiceEntry"):
        for at, address in enumerate(service.spec.addresses):
            if address in owners and is_ip(address) and ipaddress.ip_address(address).is_loopback:
                owner = owners[address]
                yield Finding(
                    code="MW0014",
                    object=service.key,
                    path=f"spec.addresses[{at}]",
                    message=f"{address} is the address of WorkloadEntry {owner.namespace}/{owner.name}",
                    hint="give the service a loopback address of its own",
                )
