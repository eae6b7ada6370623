"""The control plane of a demo: ``meshwright serve`` as a process of its own, asked over its admin socket.

The demo knows of it what any operator can know: its commands, its ports, and what it says of itself.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp

from mesh.clock import Clock
from mesh.errors import Refused, Unavailable
from mesh.identity import SpiffeId
from reconciler.demo.places import free_ports
from reconciler.demo.processes import Processes, ours
from reconciler.demo.repository import Push
from reconciler.demo.standing import Status
from reconciler.demo.workloads import LOOPBACK

log = logging.getLogger(__name__)

T = TypeVar("T")

MESHWRIGHT = (sys.executable, "-m", "reconciler.cli")

# A user's push rings (see repository.py); this is for what did not ring.
POLL_S = 1
ASK_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 30.0
PUSH_LIMIT = timedelta(seconds=30)
_BEAT = timedelta(milliseconds=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the control plane listens, on 127.0.0.1."""

    token: int
    xds: int
    est: int
    metrics: int

    @classmethod
    def free(cls) -> Self:
        """Four that nobody uses now."""
        token, xds, est, metrics = free_ports(4)
        return cls(token=token, xds=xds, est=est, metrics=metrics)


@dataclass(slots=True)
class ControlPlane:
    """A running control plane. Owned by the task that runs the demo."""

    state: Path
    ports: Ports
    processes: Processes
    clock: Clock
    session: aiohttp.ClientSession = field(repr=False)

    async def status(self) -> Status:
        """What it says now."""
        return Status.parse(await self._ask("GET", "/status"))

    async def poll(self) -> None:
        """Have it look at the repository now."""
        await self._ask("POST", "/poll")

    async def beats(self) -> AsyncGenerator[Status, None]:
        """Its status again and again, whenever it answers, as long as all programs run."""
        while True:
            self.processes.check()
            try:
                status = await self.status()
            except Unavailable as error:
                log.debug("no status", extra={"reason": str(error)})
            else:
                yield status
            await self.clock.sleep(_BEAT)

    async def until(self, limit: timedelta, awaited: str, found: Callable[[Status], T | None]) -> T:
        """The first thing that ``found`` finds in its status; ``awaited`` names it, should it never come."""
        try:
            async with asyncio.timeout(limit.total_seconds()), aclosing(self.beats()) as beats:
                async for status in beats:
                    if (it := found(status)) is not None:
                        return it
        except TimeoutError:
            pass
        raise Unavailable(f"waited {limit.total_seconds():.0f} s for {awaited}", hint="the logs say more")

    async def until_live(self, push: Push, proxies: int, limit: timedelta = PUSH_LIMIT) -> int:
        """Wait until all of ``proxies`` have acknowledged the commit: milliseconds since the push began."""

        def acknowledged_at_ms(status: Status) -> int | None:
            if status.is_held(push.commit):
                raise Refused(f"{push.commit[:7]} is held: {'; '.join(status.problems)}")
            return status.acknowledged_at_ms if status.is_live(push.commit, proxies) else None

        awaited = f"{push.commit[:7]} to be live on {proxies} proxies"
        return max(await self.until(limit, awaited, acknowledged_at_ms) - push.began_at_ms, 0)

    async def until_held(self, push: Push) -> tuple[str, ...]:
        """Wait until the commit is held; the problems that hold it."""
        return await self.until(
            PUSH_LIMIT,
            f"{push.commit[:7]} to be held",
            lambda status: status.problems if status.is_held(push.commit) else None,
        )

    async def until_ready(self, limit: timedelta) -> None:
        """Return when it says that nothing is awaited any more."""
        url = f"http://{LOOPBACK}:{self.ports.metrics}/ready"
        try:
            async with asyncio.timeout(limit.total_seconds()), aiohttp.ClientSession() as session:
                while not await _is_ready(session, url):
                    self.processes.check()
                    await self.clock.sleep(_BEAT)
        except TimeoutError:
            raise Unavailable(
                f"the control plane was not ready after {limit.total_seconds():.0f} s",
                hint="its log says more",
            ) from None

    async def token(self, identity: SpiffeId, name: str) -> str:
        """A one-time join token for one proxy."""
        said = await self.processes.run(
            "meshwright ca token",
            *MESHWRIGHT,
            "ca",
            "token",
            "--identity",
            f"{identity.namespace}/{identity.service_account}",
            "--name",
            name,
            "--state",
            str(self.state),
            folder=self.state,
            timeout_s=COMMAND_TIMEOUT_S,
            environment=ours(),
        )
        return said.decode().strip()

    async def _ask(self, method: str, path: str) -> Any:
        try:
            async with (
                asyncio.timeout(ASK_TIMEOUT_S),
                self.session.request(method, f"http://meshwright{path}") as response,
            ):
                response.raise_for_status()
                return await response.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"the control plane did not answer {method} {path}: {error!r}") from error


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


@asynccontextmanager
async def serving(
    url: str,
    state: Path,
    processes: Processes,
    clock: Clock,
    *options: str | Path,
    ports: Ports | None = None,
) -> AsyncIterator[ControlPlane]:
    """A control plane that serves the repository at ``url``; ``options`` are further ones of ``serve``.

    ``ports`` are those of one that ran here before, where its proxies come back to.
    """
    ports = ports or Ports.free()
    await processes.start(
        "control-plane",
        *MESHWRIGHT,
        "serve",
        "--repo",
        url,
        "--branch",
        "main",
        "--state",
        str(state),
        "--listen-address",
        LOOPBACK,
        "--token-port",
        str(ports.token),
        "--xds-port",
        str(ports.xds),
        "--est-port",
        str(ports.est),
        "--metrics-port",
        str(ports.metrics),
        "--poll",
        str(POLL_S),
        *options,
        folder=state.parent,
        environment=ours(),
    )
    connector = aiohttp.UnixConnector(path=str(admin_socket(state)))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield ControlPlane(state, ports, processes, clock, session)


def admin_socket(state: Path) -> Path:
    """Where a control plane with this state answers."""
    return state / "admin.sock"
