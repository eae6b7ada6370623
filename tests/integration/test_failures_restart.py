"""The control plane, its repository and single proxies go away and come back; requests go on."""

from __future__ import annotations

import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.daemons import until
from tests.support.live_meshes import EVERYBODY, FRONT, ORDERS_1, LiveMesh, routes

pytestmark = pytest.mark.envoy


@asynccontextmanager
async def repository_gone(mesh: LiveMesh) -> AsyncIterator[None]:
    away = mesh.folder / "elsewhere.git"
    mesh.repository.bare.rename(away)
    try:
        yield
    finally:
        away.rename(mesh.repository.bare)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_restart_under_load_fails_no_request_and_sends_no_resource_again(
    mesh: LiveMesh, number: signal.Signals
) -> None:
    """Proxies keep what they have, and what they report on their return is all that they need.

    Their services are ServiceEntries of WorkloadEntries, which istio#34465 lost with every restart (503).
    """
    before = await mesh.updates()
    async with mesh.load() as load:
        await load.goes_on()
        code = await mesh.daemon.end(number)
        await load.goes_on()
        await mesh.daemon.start()
        await mesh.until_connected()
        await load.goes_on()

    assert code == (0 if number is signal.SIGTERM else -number)
    assert load.failed == {}
    assert await mesh.daemon.pushes() == {}
    assert await mesh.updates() == before


async def test_a_commit_made_during_the_outage_is_all_that_is_sent_after_it(mesh: LiveMesh) -> None:
    await mesh.daemon.end(signal.SIGKILL)
    push = await mesh.push({"shop/routes.yaml": routes("meanwhile")})
    await mesh.daemon.start()
    await mesh.until_live(push)

    await mesh.answers("meanwhile")
    # Two proxies are told of a route in shop; what the gateway and those in bank have is as before.
    assert await mesh.daemon.pushes() == {"rds": 2}


async def test_a_proxy_that_starts_while_nobody_serves_is_not_ready_until_somebody_does(
    mesh: LiveMesh,
) -> None:
    """Until its first configuration Envoy does not even answer at the port that is asked for readiness."""
    await mesh.daemon.end(signal.SIGKILL)
    await mesh.end_proxy(FRONT)
    await mesh.machines[FRONT].start_proxy()

    async def is_waiting() -> bool:
        return await mesh.admin(FRONT, "/ready") == "PRE_INITIALIZING\n"

    await until("Envoy to wait for its configuration", is_waiting)
    assert await mesh.readiness(FRONT, limit_s=1) == 0
    await mesh.daemon.start()
    await mesh.until_connected()

    assert await mesh.readiness(FRONT) == 200
    assert (await mesh.ask())[0] == "200"


async def test_without_its_repository_a_restarted_control_plane_serves_what_it_had_accepted(
    mesh: LiveMesh,
) -> None:
    await mesh.daemon.end(signal.SIGKILL)
    async with repository_gone(mesh):
        await mesh.daemon.start()
        await mesh.daemon.until_ready()
        status = await mesh.until_connected()
        assert (await mesh.ask())[0] == "200"
        assert await mesh.daemon.pushes() == {}
    assert status["state"] == "retrying"
    assert status["reason"].startswith(f"could not fetch 'main' of {mesh.repository.url}: fatal: ")
    assert status["since"]
    assert status["live"]["revision"] == status["accepted"]
    assert status["git"]["fetched_at"] is None

    await mesh.daemon.until_status("recovery", lambda status: status["state"] == "ready")
    await mesh.push_live({"shop/routes.yaml": routes("recovered")})
    await mesh.answers("recovered")


async def test_a_control_plane_that_never_accepted_anything_takes_nothing_from_proxies(
    mesh: LiveMesh, tmp_path: Path
) -> None:
    """An empty mesh is not the same as no mesh: the port stays shut until there is something to serve."""
    daemon, usual = mesh.daemon, mesh.daemon.state
    before = await mesh.updates()
    await daemon.end(signal.SIGKILL)
    shutil.copytree(usual / "ca", tmp_path / "state" / "ca")
    daemon.state = tmp_path / "state"
    try:
        async with repository_gone(mesh), mesh.load() as load:
            await daemon.start()
            status = await daemon.until_status("a first turn", lambda status: status["state"] == "retrying")
            await load.goes_on()
            assert await daemon.ready() == (
                503,
                "waiting for repository, registries, certificates, world, ports\n",
            )
            assert status["live"]["connected"] == 0
            assert status["accepted"] == ""
            assert await mesh.updates() == before
        assert load.failed == {}
    finally:
        await daemon.end(signal.SIGKILL)
        daemon.state = usual
        await daemon.start()
    await mesh.until_connected()
    assert await mesh.updates() == before


async def test_a_proxy_that_stands_still_delays_nobody_else_and_catches_up(mesh: LiveMesh) -> None:
    """linkerd2#11480: one slow reader froze discovery for everybody."""
    mesh.signal(FRONT, signal.SIGSTOP)
    try:
        for number in range(3):
            push = await mesh.push({"shop/routes.yaml": routes(f"stopped-{number}")})
            await mesh.daemon.until_status(
                "all others to have it",
                lambda status, push=push: (
                    (status["live"]["revision"], status["live"]["behind"]) == (push.commit, ["front-1.shop"])
                ),
                limit_s=5,
            )
            await mesh.answers(f"stopped-{number}", ORDERS_1)
    finally:
        mesh.signal(FRONT, signal.SIGCONT)
    await mesh.until_live(push)

    await mesh.answers("stopped-2")


async def test_a_proxy_that_is_killed_is_missed_by_name_and_comes_back_alone(mesh: LiveMesh) -> None:
    before = {name: counted for name, counted in (await mesh.updates()).items() if name != FRONT}
    await mesh.end_proxy(FRONT)
    status = await mesh.daemon.until_status("one to be missed", lambda status: status["live"]["disconnected"])
    await mesh.machines[FRONT].start_proxy()
    await mesh.until_connected()

    assert status["live"]["disconnected"] == ["front-1.shop"]
    assert status["live"]["connected"] == len(EVERYBODY) - 1
    assert {name: counted for name, counted in (await mesh.updates()).items() if name != FRONT} == before
    assert (await mesh.ask())[0] == "200"
