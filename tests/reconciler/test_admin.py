from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from mesh.errors import Misconfigured, Refused, Unavailable
from reconciler import admin
from reconciler.asking import ask
from xds import envoy


@asynccontextmanager
async def a_port(registry: CollectorRegistry, readiness: admin.Readiness) -> AsyncIterator[str]:
    runner, port = await admin.serve_port(admin.public(registry, readiness), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def got(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


async def test_readiness_says_what_is_awaited() -> None:
    readiness = admin.Readiness("repository", "world", "ports")
    async with a_port(CollectorRegistry(), readiness) as url:
        assert await got(f"{url}/ready") == (503, "waiting for repository, world, ports\n")
        readiness.done("world")
        readiness.done("world")
        assert await got(f"{url}/ready") == (503, "waiting for repository, ports\n")
        readiness.done("repository")
        readiness.done("ports")
        assert await got(f"{url}/ready") == (200, "ready\n")


async def test_it_is_healthy_as_soon_as_it_answers() -> None:
    async with a_port(CollectorRegistry(), admin.Readiness("world")) as url:
        assert await got(f"{url}/healthz") == (200, "ok\n")


async def test_metrics_are_those_of_the_registry() -> None:
    registry = CollectorRegistry()
    Counter("pushes", "Pushes.", registry=registry).inc()
    async with a_port(registry, admin.Readiness()) as url:
        status, text = await got(f"{url}/metrics")

    assert status == 200
    assert "pushes_total 1.0" in text


@pytest.mark.parametrize("path", ["/status", "/proxies", "/poll"])
async def test_what_faces_the_network_tells_nothing_of_the_mesh(path: str) -> None:
    async with a_port(CollectorRegistry(), admin.Readiness()) as url:
        assert (await got(url + path))[0] == 404


async def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Misconfigured) as error:
            await admin.serve_port(admin.public(CollectorRegistry(), admin.Readiness()), "127.0.0.1", port)

    assert str(error.value).startswith(f"cannot listen on 127.0.0.1:{port}: ")
    assert error.value.hint == "choose another port or address"


RESOURCE = {"name": "a", "version": "1"}


@asynccontextmanager
async def a_socket(state: Path, polls: list[str]) -> AsyncIterator[Path]:
    def resources(name: str, type_url: str) -> list[dict[str, Any]] | None:
        return [{**RESOURCE, "type": type_url}] if name == "web-1.web" else None

    def release(name: str) -> dict[str, Any]:
        if name != "dc1":
            raise Refused(f"no registry is called {name!r}", hint="known registries are dc1")
        return {"registry": name, "was_awaited": False, "held": 7}

    app = admin.private(
        status=lambda: {"state": "ready"},
        proxies=lambda: {"proxies": []},
        resources=resources,
        poll=lambda: polls.append("now"),
        registries=lambda: {"registries": []},
        release=release,
    )
    runner = await admin.serve_socket(app, state / "admin.sock")
    try:
        yield state / "admin.sock"
    finally:
        await runner.cleanup()


async def asked(state: Path, path: str, method: str = "GET") -> Any:
    return await asyncio.to_thread(ask, state, path, method=method)


async def test_the_command_line_is_answered(tmp_path: Path) -> None:
    polls: list[str] = []
    async with a_socket(tmp_path, polls):
        assert await asked(tmp_path, "/status") == {"state": "ready"}
        assert await asked(tmp_path, "/proxies") == {"proxies": []}
        assert await asked(tmp_path, "/proxies/web-1.web/clusters") == {
            "proxy": "web-1.web",
            "clusters": [{**RESOURCE, "type": envoy.CLUSTER}],
        }
        await asked(tmp_path, "/poll", "POST")

    assert polls == ["now"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/proxies/web-1.web/secrets", "no such kind of resource: 'secrets'"),
        ("/proxies/web-2.web/clusters", "no proxy 'web-2.web' is connected"),
    ],
)
async def test_what_is_not_there_is_said(tmp_path: Path, path: str, message: str) -> None:
    async with a_socket(tmp_path, []):
        with pytest.raises(Misconfigured) as error:
            await asked(tmp_path, path)

    assert str(error.value) == message


async def test_a_word_about_a_registry_is_answered_or_refused_with_what_to_do(tmp_path: Path) -> None:
    async with a_socket(tmp_path, []):
        assert await asked(tmp_path, "/registries") == {"registries": []}
        said = await asked(tmp_path, "/registries/dc1/release", "POST")
        with pytest.raises(Refused) as error:
            await asked(tmp_path, "/registries/dc2/release", "POST")

    assert said == {"registry": "dc1", "was_awaited": False, "held": 7}
    assert (str(error.value), error.value.hint) == (
        "no registry is called 'dc2'",
        "known registries are dc1",
    )


async def test_the_socket_is_for_its_owner_and_replaces_that_of_a_dead_daemon(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "admin.sock"))
    async with a_socket(tmp_path, []) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await asked(tmp_path, "/status") == {"state": "ready"}


async def test_without_a_daemon_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as error:
        await asked(tmp_path, "/status")

    assert str(error.value) == f"no control plane answers at {tmp_path}/admin.sock"


async def test_a_path_that_is_too_long_for_a_socket_is_said(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    with pytest.raises(Misconfigured) as error:
        await admin.serve_socket(web.Application(), path)

    assert str(error.value) == f"cannot listen on {path}: AF_UNIX path too long"
    assert error.value.hint == "choose another directory with --state, or a shorter path"
