"""One control plane as an operator meets it: what it cannot work with it says, and it ends as it is told."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mesh.clock import SystemClock
from reconciler.demo.repository import Repository
from tests.support.daemons import Daemon, NamedProcesses, running_in
from tests.support.live_meshes import service, workload

FILES = {
    "orders.yaml": workload("orders", "shop", "127.0.80.20", 19081) + "---\n" + service("orders", "shop")
}


@asynccontextmanager
async def control_plane(folder: Path) -> AsyncIterator[tuple[Daemon, Repository]]:
    """One that is not started yet, and its repository, which has a mesh in it."""
    async with NamedProcesses(folder / "logs") as processes:
        repository = Repository(folder, processes, SystemClock())
        await repository.create(bell=folder / "state" / "admin.sock")
        await repository.push(dict(FILES), "The mesh")
        yield Daemon(repository.url, folder / "state", processes), repository
    assert running_in(folder) == []


def complaint(daemon: Daemon) -> str:
    """What it said to the operator last, without the log."""
    return re.sub(r"(?m)^\d{4}-.*\n", "", daemon.log)


async def test_a_second_control_plane_on_one_state_directory_says_so_and_ends(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as (first, _):
        await first.start()
        await first.until_ready()
        second = Daemon(first.url, first.state, NamedProcesses(tmp_path / "more logs"))
        async with second.processes:
            await second.start()

            assert await second.ended() == 2
        assert complaint(second) == (
            f"error: another control plane runs with the state directory {first.state}\n"
            "hint: stop it, or choose another directory with --state\n"
        )
        assert (await first.ready())[0] == 200
        assert await first.status() is not None


async def test_a_state_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with control_plane(tmp_path) as (daemon, _):
        await daemon.start("--state", tmp_path / "file" / "state")

        assert await daemon.ended() == 2
        assert complaint(daemon) == (
            f"error: cannot use the state directory {tmp_path / 'file' / 'state'}: Not a directory\n"
            "hint: choose another with --state\n"
        )


SAYS = "error: cannot listen on {}\nhint: {}\n"
IN_USE = SAYS.format("127.0.0.1:{}: Address already in use", "choose another port or address")


@pytest.mark.parametrize(
    ("door", "says"),
    [
        ("xds", SAYS.format("'127.0.0.1:{}'", "is the port in use?")),
        ("est", IN_USE),
        ("metrics", IN_USE),
    ],
)
async def test_a_port_that_is_taken_is_named(tmp_path: Path, door: str, says: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        async with control_plane(tmp_path) as (daemon, _):
            await daemon.start(f"--{door}-port", port)

            assert await daemon.ended() == 2
            assert complaint(daemon).endswith(says.format(port))


async def test_a_url_that_is_none_ends_it(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as (daemon, _):
        await daemon.start("--repo", "ext::sh -c date")

        assert await daemon.ended() == 2
        assert complaint(daemon) == (
            "error: not the URL of a repository: 'ext::sh -c date'\n"
            "hint: use a path, file://, ssh://, git@host:path, https:// or git://\n"
        )


async def test_a_branch_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as (daemon, repository):
        await daemon.start("--branch", "production")
        status = await daemon.until_status("a first turn", lambda status: status["state"] != "starting")

        assert status["state"] == "stalled"
        assert status["reason"] == f"there is no branch 'production' in {repository.url}"
        assert status["since"]
        assert await daemon.ready() == (
            503,
            "waiting for repository, registries, certificates, world, ports\n",
        )

        await repository.push({"more.txt": "."}, "More")
        head = repository.bare / "refs" / "heads"
        (head / "production").write_bytes((head / "main").read_bytes())
        await daemon.until_ready()
        status = await daemon.until_status("recovery", lambda status: status["state"] == "ready")
        assert status["reason"] == ""


async def test_until_its_repository_can_be_reached_nothing_is_served_and_ready_says_why(
    tmp_path: Path,
) -> None:
    async with control_plane(tmp_path) as (daemon, repository):
        away = tmp_path / "elsewhere.git"
        repository.bare.rename(away)
        await daemon.start()
        status = await daemon.until_status("a first turn", lambda status: status["state"] != "starting")

        assert status["state"] == "retrying"
        assert status["reason"].startswith(f"could not fetch 'main' of {repository.url}: fatal: ")
        assert await daemon.ready() == (
            503,
            "waiting for repository, registries, certificates, world, ports\n",
        )
        for port in (daemon.ports.xds, daemon.ports.est):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=5)

        away.rename(repository.bare)
        await daemon.until_ready()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_end_it_ends_well_and_leaves_no_door_open(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with control_plane(tmp_path) as (daemon, _):
        await daemon.start()
        await daemon.until_ready()

        assert await daemon.end(number) == 0
        assert not (daemon.state / "admin.sock").exists()
        assert "Traceback" not in daemon.log
        for port in (daemon.ports.xds, daemon.ports.est, daemon.ports.metrics):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=5)
