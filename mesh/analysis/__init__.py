"""Checks that need more than one object: dangling references, clashing hosts.

One module per family. A check is a function of the config and of the hosts that are known; what it
finds names the object and the path in it, and whoever reads the files adds file and line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from mesh.analysis import addresses, clashes, destinations, gateways, networks, routes, sidecars
from mesh.analysis.finding import Finding
from mesh.analysis.hosts import KnownHosts, KnownService
from mesh.config import Config

__all__ = ["Finding", "KnownService", "analyse"]

CHECKS: tuple[Callable[[Config, KnownHosts], Iterator[Finding]], ...] = (
    destinations.check,
    gateways.check,
    routes.check,
    clashes.check,
    sidecars.check,
    addresses.check,
    networks.check,
)


def analyse(config: Config, services: Iterable[KnownService] = ()) -> Iterator[Finding]:
    """Everything that is found; ``services`` are those that the config itself does not declare."""
    hosts = KnownHosts.of(config, services)
    for check in CHECKS:
        yield from check(config, hosts)
