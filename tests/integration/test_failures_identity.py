"""Who may connect as whom; what becomes of certificates; what a proxy shows of itself to others."""

from __future__ import annotations

import asyncio
import importlib.util
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import grpc
import grpc.aio
import pytest

from mesh.clock import SystemClock
from reconciler.demo import share
from tests.support.ads_client import AdsClient
from tests.support.daemons import until
from tests.support.issued import Issued, channel
from tests.support.live_meshes import (
    EVERYBODY,
    FRONT,
    ORDERS,
    ORDERS_1,
    SERVERS,
    LiveMesh,
)
from xds import envoy

pytestmark = pytest.mark.envoy

FRONT_NODE = "sidecar~127.0.80.10~front-1.shop~shop.svc.cluster.local"
GHOST_NODE = "sidecar~127.0.80.10~ghost-1.shop~shop.svc.cluster.local"


PRESENTED = "machine {} presented a certificate of ns/{}/sa/{} but connects as {}: refused"


@pytest.mark.parametrize(
    ("account", "machine", "node", "label", "reason"),
    [
        (
            "bank/ledger",
            "ledger-1",
            FRONT_NODE,
            "identity",
            PRESENTED.format("ledger-1", "bank", "ledger", "ns/shop"),
        ),
        (
            "shop/orders",
            "front-1",
            FRONT_NODE,
            "identity",
            PRESENTED.format("front-1", "shop", "orders", "ns/shop/sa/front"),
        ),
        (
            "shop/front",
            "front-2",
            FRONT_NODE,
            "machine",
            PRESENTED.format("front-2", "shop", "front", "proxy front-1"),
        ),
        (
            "shop/front",
            "ghost-1",
            GHOST_NODE,
            "unknown",
            "no proxy ghost-1 is known in ns/shop: refused",
        ),
    ],
    ids=["another namespace", "another account", "another machine", "nobody knows it"],
)
async def test_a_proxy_that_is_not_who_it_says_is_refused_with_the_reason(
    mesh: LiveMesh, account: str, machine: str, node: str, label: str, reason: str
) -> None:
    counter = f'meshwright_xds_refused_streams_total{{reason="{label}"}}'
    before = (await mesh.daemon.metrics()).get(counter, 0)
    async with (
        Issued(mesh.daemon.state).channel(mesh.daemon.ports.xds, account, machine) as door,
        AdsClient(door, node) as stream,
    ):
        await stream.ask(envoy.CLUSTER)
        code, words = await stream.end()

    assert (code, words) == (grpc.StatusCode.PERMISSION_DENIED, reason)
    assert f"stream refused reason='{reason}'" in mesh.daemon.log
    assert (await mesh.daemon.metrics())[counter] == before + 1
    assert len(await mesh.daemon.proxies()) == len(EVERYBODY)


@pytest.mark.parametrize("kind", ["none", "of another CA", "expired"])
async def test_without_a_certificate_that_holds_no_word_is_spoken(
    mesh: LiveMesh, tmp_path: Path, kind: str
) -> None:
    """TLS ends such a connection before a stream begins."""
    roots = Issued(mesh.daemon.state).roots
    match kind:
        case "none":
            pair = None
        case "of another CA":
            pair = Issued(tmp_path).pair("shop/front", FRONT)
        case _:
            pair = Issued(mesh.daemon.state, timedelta(seconds=1)).pair("shop/front", FRONT)
            await SystemClock().sleep(timedelta(seconds=1.2))
    async with channel(mesh.daemon.ports.xds, roots, pair) as door, AdsClient(door, FRONT_NODE) as stream:
        async with asyncio.timeout(10):
            code, _ = await stream.end()

    assert code is grpc.StatusCode.UNAVAILABLE
    assert len(await mesh.daemon.proxies()) == len(EVERYBODY)


async def test_every_certificate_is_replaced_under_load_and_no_request_fails(mesh: LiveMesh) -> None:
    servers = [mesh.machines[name] for name in SERVERS]
    shown = [await machine.shown_certificate() for machine in servers]
    before, pushes = await mesh.updates(), await mesh.daemon.pushes()

    async def all_are_new() -> bool:
        now = [await machine.shown_certificate() for machine in servers]
        return all(old != new for old, new in zip(shown, now, strict=True))

    async with mesh.load() as load:
        async with asyncio.TaskGroup() as group:
            for machine in mesh.machines.values():
                group.create_task(machine.renew())
        await until("every server to show a new certificate", all_are_new)
        await load.goes_on()

    assert load.failed == {}
    assert (await mesh.updates(), await mesh.daemon.pushes()) == (before, pushes)


async def test_a_proxy_whose_certificate_has_expired_stays_out_until_its_machine_enrols_again(
    mesh: LiveMesh,
) -> None:
    machine = mesh.machines[FRONT]
    await mesh.end_proxy(FRONT)
    issued = Issued(mesh.daemon.state, timedelta(seconds=1))
    key, chain = issued.pair("shop/front", FRONT)
    enrolment_program().Credentials(machine.folder).publish(key, chain.decode(), issued.roots.decode())
    await SystemClock().sleep(timedelta(seconds=1.2))
    await machine.start_proxy()

    async def was_turned_away() -> bool:
        return (await mesh.statistics(FRONT)).get("cluster.xds-grpc.upstream_cx_total", 0) >= 2

    await until("the proxy to try more than once", was_turned_away)
    status = await mesh.daemon.status() or {}
    assert status["live"]["disconnected"] == ["front-1.shop"]
    assert await mesh.readiness(FRONT, limit_s=1) == 0

    await machine.enrol()
    await mesh.until_connected()
    assert await mesh.readiness(FRONT) == 200
    assert (await mesh.ask())[0] == "200"


def enrolment_program() -> ModuleType:
    """The program that machines run, to lay out files as it does."""
    spec = importlib.util.spec_from_file_location(
        "meshwright_enrol", share.find("playbooks/files/meshwright_enrol.py")
    )
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    return program


@pytest.mark.parametrize("name", EVERYBODY)
async def test_every_proxy_says_that_it_is_ready_and_what_it_counts(mesh: LiveMesh, name: str) -> None:
    assert await mesh.readiness(name) == 200
    assert "envoy_server_live 1\n" in (await mesh.prometheus(name)).replace("{} ", " ")


async def test_requests_are_counted_by_the_service_they_were_for(mesh: LiveMesh) -> None:
    assert (await mesh.ask())[0] == "200"

    lines = (await mesh.prometheus(FRONT)).splitlines()
    counted = [line for line in lines if line.startswith("envoy_cluster_upstream_rq_total{")]
    (orders,) = [line for line in counted if 'cluster_name="outbound|9080||orders.shop' in line]
    assert int(orders.rpartition(" ")[2]) >= 1
    assert [line for line in lines if "ledger.bank" in line] == []


async def test_requests_are_logged_on_both_sides_as_the_mesh_says(mesh: LiveMesh) -> None:
    """Envoy writes its log every ten seconds."""
    await mesh.ask(url=f"{ORDERS}?loud")

    async def is_logged() -> bool:
        return all('"GET /details/0?loud HTTP/' in mesh.envoy_log(name) for name in (FRONT, ORDERS_1))

    await until("both sides to log it", is_logged)
