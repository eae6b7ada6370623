"""Sixty proxies lose their control plane and come back at once."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import grpc.aio

from mesh.clock import SystemClock
from reconciler.demo.repository import Repository
from tests.support.ads_client import AdsClient
from tests.support.daemons import Daemon, NamedProcesses
from tests.support.issued import Issued
from tests.support.live_meshes import service, workload
from xds import envoy

PROXIES = 60
NAMESPACES = ("a", "b", "c")


def namespace(number: int) -> str:
    return NAMESPACES[number % len(NAMESPACES)]


def files() -> dict[str, str | None]:
    entries = [
        workload(f"w{number}", namespace(number), f"127.0.81.{number + 1}", 19080)
        for number in range(PROXIES)
    ]
    services = [service(f"w{number}", namespace(number)) for number in range(PROXIES)]
    return {"mesh.yaml": "---\n".join(entries + services)}


class Follower:
    """One proxy that takes all it is sent, and reports it when it comes back."""

    def __init__(self, number: int, channel: grpc.aio.Channel) -> None:
        name = f"w{number}-1.{namespace(number)}"
        self.node = f"sidecar~127.0.81.{number + 1}~{name}~{namespace(number)}.svc.cluster.local"
        self.channel = channel
        self.versions: dict[str, dict[str, str]] = {kind: {} for kind in (envoy.CLUSTER, envoy.LISTENER)}
        self.received = 0

    async def follow(self) -> None:
        """Until the stream ends."""
        try:
            async with AdsClient(self.channel, self.node) as stream:
                for kind, known in self.versions.items():
                    await stream.ask(kind, versions=known)
                while True:
                    response = await stream.take()
                    self.received += 1
                    for resource in response.resources:
                        self.versions[response.type_url][resource.name] = resource.version
        except grpc.aio.AioRpcError:
            return


async def test_sixty_proxies_that_come_back_at_once_are_all_current_and_are_sent_nothing(
    tmp_path: Path,
) -> None:
    state = tmp_path / "state"
    issued = Issued(state)
    async with NamedProcesses(tmp_path / "logs") as processes:
        repository = Repository(tmp_path, processes, SystemClock())
        await repository.create(bell=state / "admin.sock")
        await repository.push(files(), "Sixty")
        daemon = Daemon(repository.url, state, processes)
        channels = [
            issued.channel(daemon.ports.xds, f"{namespace(number)}/w{number}", f"w{number}-1")
            for number in range(PROXIES)
        ]
        followers = [Follower(number, channel) for number, channel in enumerate(channels)]

        async def until_current() -> None:
            await daemon.until_status(
                "all to be current",
                lambda status: status["live"]["connected"] == status["live"]["acknowledged"] == PROXIES,
            )

        await daemon.start()
        await daemon.until_ready()
        async with asyncio.TaskGroup() as group:
            for follower in followers:
                group.create_task(follower.follow())
            await until_current()
            assert all(len(known) > 1 for follower in followers for known in follower.versions.values())
            received = [follower.received for follower in followers]
            await daemon.end(signal.SIGKILL)

        await daemon.start()
        await daemon.until_ready()
        async with asyncio.TaskGroup() as group:
            for follower in followers:
                group.create_task(follower.follow())
            await until_current()
            assert await daemon.pushes() == {}
            await daemon.end(signal.SIGKILL)
        assert [follower.received for follower in followers] == received
        for channel in channels:
            await channel.close()
