"""Puts the hybrid mesh up in one folder: Consul, a cluster, repository, control plane, and proxies.

Everything that was started ends with the context, in whatever way that ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import aiohttp

from mesh.clock import Clock
from reconciler.demo import envoy, places, preflight, repository, share, workloads
from reconciler.demo.control_plane import ControlPlane, admin_socket, serving
from reconciler.demo.hybrid import cast, cluster, consul_agent, kubernetes_api, programs
from reconciler.demo.hybrid.cast import Cast
from reconciler.demo.hybrid.consul_agent import ConsulAgent
from reconciler.demo.hybrid.kubernetes_api import KubernetesApi
from reconciler.demo.hybrid.shopper import Shopper, shopper
from reconciler.demo.hybrid.sidecars import Admin
from reconciler.demo.places import Place
from reconciler.demo.processes import Processes
from reconciler.demo.proxies import Machine, enrol_all
from reconciler.demo.repository import Push, Repository
from reconciler.demo.run import Say
from reconciler.demo.workloads import LOOPBACK, Workload

START_LIMIT = timedelta(seconds=60)
ROUTES = ("catalog.yaml", "cart.yaml")
_ACCOUNT = "examples/kubernetes/read-only.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A mesh that is up. The last of ``machines`` is the newcomer, which is not there at first."""

    place: Place[Cast]
    repository: Repository
    control_plane: ControlPlane
    machines: tuple[Machine, ...]
    consul: ConsulAgent
    cluster: KubernetesApi
    shopper: Shopper
    admin: Admin
    envoy_version: str

    @property
    def cast(self) -> Cast:
        return self.place.cast

    @property
    def client(self) -> Workload:
        return self.cast.client.workload

    @property
    def at_first(self) -> tuple[Machine, ...]:
        return self.machines[:-1]

    @property
    def newcomer(self) -> Machine:
        return self.machines[-1]


@asynccontextmanager
async def stage(folder: Path, clock: Clock, say: Say) -> AsyncIterator[Stage]:
    """The mesh of ``examples/hybrid``, less the routes: the first step pushes those."""
    state = folder / "state"
    binary = preflight.envoy_for(state)
    for server in (consul_agent.NAME, kubernetes_api.ETCD, kubernetes_api.API_SERVER):
        programs.find(server)
    example = repository.files(share.find("examples/hybrid"))
    read = partial(cast.read, pods_at=places.outward_address())
    async with AsyncExitStack() as house:
        place = house.enter_context(places.find(example, read))
        processes = await house.enter_async_context(Processes(folder / "logs"))
        session = await house.enter_async_context(aiohttp.ClientSession())
        proxy = f"http://{LOOPBACK}:{place.cast.client.workload.http_proxy_port}"
        asks = await house.enter_async_context(shopper(proxy, clock))
        version = await envoy.version(binary, processes)
        say("starting Consul, and the API server of Kubernetes on etcd")
        consul = await house.enter_async_context(consul_agent.running(folder / "consul", processes, clock))
        api = await house.enter_async_context(kubernetes_api.running(folder / "kubernetes", processes, clock))
        credentials = await _fill(consul, api, place.cast, folder)
        say("making the repository from examples/hybrid")
        repo = Repository(folder, processes, clock)
        await repo.create(bell=admin_socket(state))
        push = await repo.push(_without_routes(place.files), "A shop, with nothing said of its routes yet")
        say("starting the control plane")
        control_plane = await house.enter_async_context(
            serving(repo.url, state, processes, clock, "--registries-directory", credentials)
        )
        up = Stage(
            place=place,
            repository=repo,
            control_plane=control_plane,
            machines=tuple(
                Machine(
                    workload=member.workload,
                    folder=folder / "machines" / member.workload.name,
                    envoy=binary,
                    control_plane=control_plane,
                    processes=processes,
                )
                for member in (*place.cast.at_first, place.cast.newcomer)
            ),
            consul=consul,
            cluster=api,
            shopper=asks,
            admin=Admin(clock, session),
            envoy_version=version,
        )
        await _raise_curtain(up, push, say)
        yield up


async def _fill(consul: ConsulAgent, api: KubernetesApi, of: Cast, folder: Path) -> Path:
    """What both registries know. Returns where the control plane finds what it is to show them."""
    for machine in of.machines:
        await consul.register(machine.definition)
    for document in workloads.documents({_ACCOUNT: share.find(_ACCOUNT).read_text()}):
        await api.apply(document)
    token = await api.token(cluster.NAMESPACE, cluster.ACCOUNT)
    await cluster.fill(api, of)
    return _credentials(consul, api, token, folder / "registries")


def _credentials(consul: ConsulAgent, api: KubernetesApi, token: str, folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    consul.write_credentials(folder / cast.CONSUL)
    api.write_credentials(folder / cast.KUBERNETES, token)
    return folder


async def _raise_curtain(up: Stage, push: Push, say: Say) -> None:
    for machine in up.machines:
        machine.folder.mkdir(parents=True, mode=0o700)
        await machine.start_program("reconciler.demo.hybrid.greeter", machine.name)
    await up.control_plane.until_ready(START_LIMIT)
    say(f"enrolling {len(up.at_first)} proxies with one-time tokens")
    await enrol_all(up.at_first)
    machines, pods = len(up.cast.machines), len(up.cast.pods)
    say(
        f"starting Envoy {up.envoy_version}: sidecars of {machines} instances in Consul, {pods} Pods, "
        "and one machine of Git"
    )
    for machine in up.at_first:
        await machine.start_proxy()
    await up.control_plane.until_live(push, len(up.at_first), START_LIMIT)
    say(f"{push.commit[:7]} is live on {len(up.at_first)} of {len(up.at_first)} proxies")


def _without_routes(files: Mapping[str, str]) -> dict[str, str | None]:
    return {name: text for name, text in cast.of_git(files).items() if name not in ROUTES}
