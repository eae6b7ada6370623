"""Puts a whole mesh up in one folder: repository, control plane, programs, and a proxy for each.

Nothing here is special to a demo but that all machines are this one: see ``proxies.py`` for what a
machine does. Everything that was started ends with the context, in whatever way that ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from mesh.clock import Clock
from reconciler.demo import envoy, places, preflight, repository, requests, share, workloads
from reconciler.demo.control_plane import ControlPlane, admin_socket, serving
from reconciler.demo.places import Place
from reconciler.demo.processes import Processes
from reconciler.demo.proxies import Machine, enrol_all
from reconciler.demo.repository import Push, Repository
from reconciler.demo.requests import Visitor
from reconciler.demo.run import Say
from reconciler.demo.steps import ROUTES
from reconciler.demo.workloads import LOOPBACK, Cast, Workload

START_LIMIT = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A mesh that is up."""

    place: Place[Cast]
    repository: Repository
    control_plane: ControlPlane
    machines: tuple[Machine, ...]
    visitor: Visitor
    envoy_version: str

    @property
    def sidecars(self) -> tuple[Machine, ...]:
        return tuple(machine for machine in self.machines if machine.workload.port)


@asynccontextmanager
async def stage(folder: Path, clock: Clock, say: Say) -> AsyncIterator[Stage]:
    """The mesh of ``examples/bookinfo``, less the routes of reviews: the first step pushes those."""
    state = folder / "state"
    binary = preflight.envoy_for(state)
    example = repository.files(share.find("examples/bookinfo"))
    with places.find(example, workloads.read) as place:
        async with (
            Processes(folder / "logs") as processes,
            requests.visitor(place.cast.url, clock) as visitor,
        ):
            version = await envoy.version(binary, processes)
            repo = Repository(folder, processes, clock)
            say("making the repository from examples/bookinfo")
            await repo.create(bell=admin_socket(state))
            push = await repo.push(_without_routes(place.files), "Bookinfo, with nothing said of reviews yet")
            say("starting the control plane")
            async with serving(repo.url, state, processes, clock) as control_plane:
                machines = tuple(
                    Machine(
                        workload=workload,
                        folder=folder / "machines" / workload.name,
                        envoy=binary,
                        control_plane=control_plane,
                        processes=processes,
                    )
                    for workload in place.cast.workloads
                )
                up = Stage(
                    place=place,
                    repository=repo,
                    control_plane=control_plane,
                    machines=machines,
                    visitor=visitor,
                    envoy_version=version,
                )
                await _raise_curtain(up, push, say)
                yield up


async def _raise_curtain(up: Stage, push: Push, say: Say) -> None:
    for machine in up.machines:
        machine.folder.mkdir(parents=True, mode=0o700)
        if machine.workload.port:  # a gateway has no program
            await machine.start_program(*program(machine.workload))
    await up.control_plane.until_ready(START_LIMIT)
    say(f"enrolling {len(up.machines)} proxies with one-time tokens")
    await enrol_all(up.machines)
    say(f"starting Envoy {up.envoy_version}: {len(up.sidecars)} sidecars and the ingress gateway")
    for machine in up.machines:
        await machine.start_proxy()
    await up.control_plane.until_live(push, len(up.machines), START_LIMIT)
    say(f"{push.commit[:7]} is live on {len(up.machines)} of {len(up.machines)} proxies")


def program(workload: Workload) -> tuple[str, ...]:
    """The bookinfo program of a workload, as :meth:`Machine.start_program` takes it."""
    proxy = f"{LOOPBACK}:{workload.http_proxy_port}"
    labels = workload.labels
    return (
        "reconciler.demo.services",
        labels["app"],
        "--version",
        labels["version"],
        "--http-proxy",
        proxy,
    )


def _without_routes(files: Mapping[str, str]) -> dict[str, str | None]:
    return {name: text for name, text in files.items() if name != ROUTES}
