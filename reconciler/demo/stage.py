"""Puts a whole mesh up in one folder: repository, control plane, programs, and a proxy for each.

Nothing here is special to a demo but that all machines are this one: see ``proxies.py`` for what a
machine does. Everything that was started ends with the context, in whatever way that ends.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from mesh.clock import Clock
from mesh.errors import Misconfigured, Refused
from reconciler.demo import envoy, places, repository, requests, share
from reconciler.demo.control_plane import ControlPlane, Ports, admin_socket, serving
from reconciler.demo.places import Place
from reconciler.demo.processes import Processes
from reconciler.demo.proxies import Machine
from reconciler.demo.repository import Push, Repository
from reconciler.demo.requests import Visitor
from reconciler.demo.standing import Status
from reconciler.demo.steps import ROUTES

Say = Callable[[str], None]

START_LIMIT = timedelta(seconds=60)
PUSH_LIMIT = timedelta(seconds=30)

# sockaddr_un has room for 107 bytes and a zero (Linux, unix(7)).
SOCKET_PATH_MAX = 107


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A mesh that is up."""

    place: Place
    repository: Repository
    control_plane: ControlPlane
    machines: tuple[Machine, ...]
    visitor: Visitor
    envoy_version: str

    @property
    def sidecars(self) -> tuple[Machine, ...]:
        return tuple(machine for machine in self.machines if machine.workload.port)

    async def until_live(self, push: Push, limit: timedelta = PUSH_LIMIT) -> int:
        """Wait until every proxy has acknowledged the commit: milliseconds since the push began."""

        def acknowledged_at_ms(status: Status) -> int | None:
            if status.is_held(push.commit):
                raise Refused(f"{push.commit[:7]} is held: {'; '.join(status.problems)}")
            return status.acknowledged_at_ms if status.is_live(push.commit, len(self.machines)) else None

        awaited = f"{push.commit[:7]} to be live on {len(self.machines)} proxies"
        return max(await self.control_plane.until(limit, awaited, acknowledged_at_ms) - push.began_at_ms, 0)

    async def until_held(self, push: Push) -> tuple[str, ...]:
        """Wait until the commit is held; the problems that hold it."""
        return await self.control_plane.until(
            PUSH_LIMIT,
            f"{push.commit[:7]} to be held",
            lambda status: status.problems if status.is_held(push.commit) else None,
        )


@asynccontextmanager
async def stage(folder: Path, clock: Clock, say: Say) -> AsyncIterator[Stage]:
    """The mesh of ``examples/bookinfo``, less the routes of reviews: the first step pushes those."""
    binary = envoy.find()
    for program in ("git", "openssl"):
        if shutil.which(program) is None:
            raise Misconfigured(f"no {program} on this machine", hint=f"install it: apt install {program}")
    state = folder / "state"
    if len(str(admin_socket(state)).encode()) > SOCKET_PATH_MAX:
        raise Misconfigured(
            f"the path of {str(state)!r} is too long for a unix socket in it", hint="choose a shorter --state"
        )
    example = repository.files(share.find("examples/bookinfo"))
    with places.find(example) as place:
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
            async with serving(repo.url, state, Ports.free(), processes, clock) as control_plane:
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
        await machine.start_program()
    await up.control_plane.until_ready(START_LIMIT)
    say(f"enrolling {len(up.machines)} proxies with one-time tokens")
    try:
        async with asyncio.TaskGroup() as group:
            for machine in up.machines:
                group.create_task(machine.enrol())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    say(f"starting Envoy {up.envoy_version}: {len(up.sidecars)} sidecars and the ingress gateway")
    for machine in up.machines:
        await machine.start_proxy()
    await up.until_live(push, START_LIMIT)
    say(f"{push.commit[:7]} is live on {len(up.machines)} of {len(up.machines)} proxies")


def _without_routes(files: Mapping[str, str]) -> dict[str, str | None]:
    return {name: text for name, text in files.items() if name != ROUTES}
