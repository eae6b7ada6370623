"""``python -m tests.bench.pipeline``: memory and the hot path of a large registry, in one process.

A service of Consul goes the whole way that it goes in the daemon, without the network at either end:
``health/service`` as JSON, mapping, draft, guard, networks, catalogue, world, and the endpoints of one kind
of sidecar as bytes.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import click

from mesh.clock import Clock, SystemClock
from mesh.config import Config
from mesh.kinds.guards import Guards
from mesh.kinds.registry_consul import Consul, ConsulMapping
from mesh.proxies import Proxy, Role
from mesh.services import Provider
from mesh.world import World
from registries.answers import Answer
from registries.catalogues import Catalogues
from registries.consul.mapping import mapped
from registries.consul.notes import Notes
from registries.draft import Draft
from registries.drops import Moment
from registries.guard import Guard
from registries.networks import Networks
from tests.bench.report import Spread
from tests.bench.usage import usage
from xds import envoy
from xds.resources import Resource
from xds.workshop import Workshop

_SETTINGS = Consul(mapping=ConsulMapping(port=80, protocol="http"))


class Pipeline:
    """Everything that is kept of a registry on its way to one proxy. Owned by whoever measures it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._draft = Draft("dc1", Provider.CONSUL)
        self._notes = Notes(self._draft)
        self.guard = Guard(Guards())
        self._networks = Networks()
        self._config = Config.build([])
        self._turns = 0
        self.catalogues = Catalogues()
        self.workshop = Workshop(World(config=self._config))
        self._seat = self.workshop.seat(
            Proxy(
                role=Role.SIDECAR,
                name="web-1",
                namespace="web",
                address="10.255.0.1",
                service_account="web",
            )
        )

    @property
    def endpoints(self) -> Mapping[str, Resource]:
        """What the proxy has of endpoints, by cluster."""
        (outbound, *_) = self._seat.facets
        return outbound.parts[envoy.ENDPOINTS].resources

    def hear(self, name: str, body: str) -> None:
        """One service was read: the body of Consul's answer."""
        self._notes.put(name, mapped(name, json.loads(body), _SETTINGS, "dc1"))

    def turn(self) -> None:
        """What was heard goes all the way."""
        self.take(self._draft.answer())

    def take(self, answer: Answer) -> None:
        """What a registry says goes all the way."""
        believed = self.guard.take(answer, Moment.of(self._clock))
        services = self._networks.catalogue(self.catalogues, (believed,), {}, self._config.mesh)
        self._turns += 1
        world = World(revision=str(self._turns), config=self._config, services=services)
        (self._seat,) = self.workshop.turn(world, [self._seat])
        self.workshop.serve()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Resident megabytes of the process, and milliseconds. ``kept_mb`` is what the registry has added."""

    services: int
    endpoints: int
    python: str
    resident_mb: float
    kept_mb: float
    resident_max_mb: float
    first_turn_ms: float
    change: Spread
    """From the body of Consul's answer to the bytes of the load assignment."""


def body(service: int, endpoints: int, *, moved: int = 0) -> str:
    """What Consul says of one service; its first instance is at port 8080 and as many further on."""
    return json.dumps(
        [_entry(service, number, 8080 + (0 if number else moved)) for number in range(endpoints)]
    )


def measure(services: int, endpoints: int, changes: int, clock: Clock) -> Measured:
    """Fill a pipeline, and then change one instance again and again."""
    before = usage(os.getpid()).resident_mb
    pipeline = Pipeline(clock)
    for service in range(services):
        pipeline.hear(f"s{service}", body(service, endpoints))
    began = clock.monotonic()
    pipeline.turn()
    first, took = clock.monotonic() - began, []
    for change in range(1, changes + 1):
        service = change % services
        said = body(service, endpoints, moved=change)
        began = clock.monotonic()
        pipeline.hear(f"s{service}", said)
        pipeline.turn()
        took.append(clock.monotonic() - began)
    after = usage(os.getpid())
    return Measured(
        services=services,
        endpoints=endpoints,
        python=platform.python_version(),
        resident_mb=round(after.resident_mb, 1),
        kept_mb=round(after.resident_mb - before, 1),
        resident_max_mb=round(after.resident_max_mb, 1),
        first_turn_ms=round(first * 1000, 1),
        change=Spread.of(took),
    )


def _entry(service: int, number: int, port: int) -> dict[str, Any]:
    node = f"node-{(service * 7 + number) % 1000}"
    check = {"Node": node, "CheckID": f"service:s{service}-{number}", "Status": "passing", "Output": "ok"}
    known = {
        "ID": f"s{service}-{number}",
        "Service": f"s{service}",
        "Address": f"10.{service // 250}.{service % 250}.{number + 1}",
        "Port": port,
        "Tags": ["blue"],
        "Meta": {"serviceAccount": f"a{service % 50}", "version": "v1"},
        "Weights": {"Passing": 1, "Warning": 1},
        "ModifyIndex": 1,
    }
    place = {"Node": node, "Address": "10.255.0.1", "Datacenter": "dc1", "Meta": {"zone": f"z{number % 3}"}}
    return {"Node": {**place, "ModifyIndex": 1}, "Service": known, "Checks": [check]}


@click.command()
@click.option("--services", default=1000, show_default=True)
@click.option("--endpoints", default=100, show_default=True, help="Of each service.")
@click.option("--changes", default=200, show_default=True, help="Of one instance each.")
def main(*, services: int, endpoints: int, changes: int) -> None:
    """Measure what a large registry costs. The answer is JSON."""
    measured = measure(services, endpoints, changes, SystemClock())
    click.echo(json.dumps(asdict(measured), indent=2))


if __name__ == "__main__":
    main()
