"""Scenarios: a folder of plain Istio YAML, and what some proxies are told because of it.

``scenario.yaml`` says in one sentence what is shown, and which proxies are looked at. Everything between
the files and the resources is what the control plane itself does: reader, catalogue, fleet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mesh.clock import SystemClock
from mesh.identity import SpiffeId
from mesh.latest import Latest
from mesh.problems import Severity
from mesh.proxies import Interception, NodeId, Role
from mesh.world import Trust, World
from reconciler.reading import Reader, Reading, TextFile
from tests.support import golden, scenarios_registries
from tests.support.catalogues import Declared
from xds import envoy
from xds.directory import Caller
from xds.fleet import Fleet
from xds.resources import Resource, check_consistent

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "scenarios"
HTTP_PROXY_PORT = 15080
TYPES = {
    "clusters": envoy.CLUSTER,
    "endpoints": envoy.ENDPOINTS,
    "listeners": envoy.LISTENER,
    "routes": envoy.ROUTES,
    "secrets": envoy.SECRET,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One proxy that is looked at. ``shows``: the types of resources that are compared, all if not said."""

    name: str
    namespace: str = "bookinfo"
    role: Role = Role.SIDECAR
    interception: Interception = Interception.NONE
    shows: tuple[str, ...] = tuple(TYPES)

    @classmethod
    def parse(cls, written: Mapping[str, Any]) -> Watched:
        read = {"role": Role, "interception": Interception, "shows": tuple}
        return cls(**{key: read.get(key, str)(value) for key, value in written.items()})

    @property
    def can_be_called(self) -> bool:
        """Whether it binds what it serves. What needs redirected packets is not called here."""
        return self.role is Role.GATEWAY or self.interception is Interception.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One folder. ``reads``: what it reads besides its own ``config``, from the root of the repository.
    What other registries than Git say stands in its ``registries.yaml``.

    ``problems`` are all that reading reports above informations. ``credentials`` (by namespace and name)
    and ``applications`` with a ``certificate`` are for the DNS name they give; ``names`` stand for DNS.
    ``uncalled`` is the reason why there are no calls.
    """

    folder: Path
    description: str
    proxies: tuple[Watched, ...]
    reads: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    credentials: Mapping[str, str] = field(default_factory=dict)
    applications: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    uncalled: str = ""

    @classmethod
    def load(cls, folder: Path) -> Scenario:
        written = yaml.safe_load((folder / "scenario.yaml").read_text())
        proxies = tuple(Watched.parse(proxy) for proxy in written.pop("proxies"))
        reads, known = tuple(written.pop("reads", ())), tuple(written.pop("problems", ()))
        return cls(folder=folder, proxies=proxies, reads=reads, problems=known, **written)

    @property
    def reading(self) -> Reading:
        """What the files say."""
        sources = [*(ROOT / path for path in self.reads), self.folder / "config"]
        paths = [path for source in sources for path in _files(source)]
        return Reader()(TextFile(path.name, path.read_bytes()) for path in paths)

    def world(self, trust: Trust) -> World:
        config = self.reading.config
        said = scenarios_registries.answers(self.folder)
        services = Declared().catalogue(config, (), *said, shares=scenarios_registries.shares(config))
        return World(revision="scenario", config=config, services=services, trust=trust)


def _files(source: Path) -> list[Path]:
    return [source] if source.is_file() else sorted(source.glob("*.yaml"))


def names() -> list[str]:
    """The names of all scenarios."""
    return sorted(path.parent.name for path in FOLDER.glob("*/scenario.yaml"))


def problems(reading: Reading) -> tuple[str, ...]:
    """What a user should look at. A repository without a Mesh document is fine here."""
    return tuple(str(problem) for problem in reading.problems if problem.severity is not Severity.INFO)


def assigned(world: World, proxies: Iterable[Watched]) -> dict[Watched, tuple[Resource, ...]]:
    """What each proxy is told, as the fleet composes it for one that has just connected."""
    return asyncio.run(_assigned(world, tuple(proxies)))


async def _assigned(world: World, proxies: tuple[Watched, ...]) -> dict[Watched, tuple[Resource, ...]]:
    fleet = Fleet(SystemClock(), Latest(world))
    made = {}
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        following = tasks.create_task(fleet.run())
        for proxy in proxies:
            member = await fleet.join(*_hello(world, proxy))
            parts = member.assignment.value.parts
            check_consistent(parts)
            made[proxy] = tuple(
                resource
                for of_type in parts.values()
                for part in of_type
                for resource in part.resources.values()
            )
        following.cancel()
    assert not fleet.memo.broken, fleet.memo.broken
    return made


def _hello(world: World, proxy: Watched) -> tuple[NodeId, dict[str, str], Caller]:
    """What the proxy says of itself, and what its certificate says."""
    workload = world.services.workloads[proxy.namespace, proxy.name]
    node = NodeId(
        role=proxy.role,
        address=workload.address,
        name=proxy.name,
        namespace=proxy.namespace,
        domain=world.trust.trust_domain,
    )
    metadata = {"INTERCEPTION_MODE": str(proxy.interception)}
    if proxy.role is Role.SIDECAR and proxy.interception is Interception.NONE:
        metadata["HTTP_PROXY_PORT"] = str(HTTP_PROXY_PORT)
    identity = SpiffeId(world.trust.trust_domain, proxy.namespace, workload.service_account)
    return node, metadata, Caller(identity, proxy.name)


def shown(made: Mapping[Watched, Iterable[Resource]]) -> dict[str, str]:
    """The golden files: one per proxy and type that it shows, resources by name."""
    return dict(_shown(made))


def _shown(made: Mapping[Watched, Iterable[Resource]]) -> Iterator[tuple[str, str]]:
    for proxy, resources in made.items():
        for kind in proxy.shows:
            found = sorted((one.name, one) for one in resources if one.type_url == TYPES[kind])
            literals = [envoy.as_dict(resource.message) for _, resource in found]
            yield f"{proxy.name}.{kind}.yaml", golden.as_yaml(literals)
