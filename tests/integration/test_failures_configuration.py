"""What somebody pushes is wrong: the rest of it arrives, everybody else is left alone, and the fix heals."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.daemons import Said, meshwright
from tests.support.live_meshes import (
    EVERYBODY,
    FILES,
    GATEWAY,
    LEDGER,
    LEDGER_1,
    LiveMesh,
    bank_routes,
    routes,
)

pytestmark = pytest.mark.envoy

# What an Envoy may receive of HTTP/2's own while a test runs; a route table is several times as long.
PINGS = 150

MORE = """\
  - port: {{number: {port}, name: more, protocol: HTTP}}
    bind: 127.0.0.1
    hosts: ["*"]
"""


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def status_text(mesh: LiveMesh) -> Said:
    return await meshwright("status", "--state", mesh.daemon.state)


async def test_what_one_proxy_refuses_is_named_with_its_line_and_everything_else_arrives(
    mesh: LiveMesh, taken: int, free: int
) -> None:
    """The address of one server of a gateway is in use on its machine; Envoy alone can know."""
    door = GATEWAY + MORE.format(port=taken) + MORE.format(port=free).replace("more", "other")
    push = await mesh.push({"gateway.yaml": door, "shop/routes.yaml": routes("beside a refusal")})
    status = await mesh.daemon.until_status("a refusal", lambda status: status["live"]["refused"])

    (refusal,) = status["live"]["refused"]
    assert (refusal["proxy"], refusal["type"]) == ("ingress.istio-system", "lds")
    assert refusal["resource"] == f"127.0.0.1_{taken}"
    assert "Address already in use" in refusal["message"]
    assert [(source["file"], source["line"], source["object"]) for source in refusal["sources"]] == [
        ("gateway.yaml", 1, "Gateway/istio-system/door")
    ]
    # The good ones of the same response, and what others were sent.
    await mesh.answers("beside a refusal")
    assert await mesh.is_open(free)
    assert (await mesh.visit())[0] == "200"
    said = await status_text(mesh)
    assert f"refused     proxy ingress.istio-system refused lds 127.0.0.1_{taken} at " in said.out
    assert "            from gateway.yaml:1 Gateway/istio-system/door\n" in said.out
    proxies = await meshwright("proxies", "--state", mesh.daemon.state)
    (row,) = [line for line in proxies.out.splitlines() if line.startswith("ingress.istio-system ")]
    assert row.split()[1:6] == ["SYNCED", "SYNCED", "NACK", "SYNCED", "SYNCED"]
    assert f"  ingress.istio-system lds: 127.0.0.1_{taken}: " in proxies.out
    waited = await meshwright("status", "--wait", "--timeout", 0, "--state", mesh.daemon.state)
    assert waited.code == 1
    metrics = await mesh.daemon.metrics()
    assert metrics["pilot_total_xds_rejects"] >= 1
    assert metrics["pilot_xds_lds_reject"] >= 1
    assert [name for name in metrics if "_created" in name] == []

    fixed = await mesh.push({"gateway.yaml": GATEWAY})
    status = await mesh.until_live(fixed)
    assert status["live"]["refused"] == []
    assert (await mesh.daemon.proxies())["ingress.istio-system"]["types"]["lds"]["sync"] == "SYNCED"
    assert push.commit != fixed.commit


async def test_a_refusal_that_was_the_hosts_own_heals_without_a_push(mesh: LiveMesh) -> None:
    """Somebody else had the port, and has it no more: the same bytes are tried again and taken."""
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        await mesh.push({"gateway.yaml": GATEWAY + MORE.format(port=taken)})
        await mesh.daemon.until_status("a refusal", lambda status: status["live"]["refused"])
    status = await mesh.daemon.until_status("no refusal", lambda status: not status["live"]["refused"])

    assert await mesh.is_open(taken)
    assert status["live"]["behind"] == []


async def test_a_broken_unit_is_held_while_another_lives(mesh: LiveMesh) -> None:
    good = await mesh.push_live({"shop/routes.yaml": routes("good"), "bank/routes.yaml": bank_routes("good")})
    broken = await mesh.push(
        {"shop/routes.yaml": routes("broken", indent=" "), "bank/routes.yaml": bank_routes("alive")}
    )
    status = await mesh.until_live(broken)

    await mesh.answers("alive", LEDGER_1, LEDGER)
    await mesh.answers("good")
    units = {unit["name"]: unit for unit in status["units"]}
    assert {name: (unit["seen"], unit["accepted"]) for name, unit in units.items()} == {
        "mesh": (broken.commit, broken.commit),
        "bank": (broken.commit, broken.commit),
        "shop": (broken.commit, good.commit),
    }
    shop = units["shop"]
    since = datetime.fromisoformat(shop["held_since"])
    assert since.utcoffset() == timedelta(0)
    assert shop["problems"] == [
        {
            "code": "MW0001",
            "severity": "error",
            "file": "shop/routes.yaml",
            "line": 6,
            "path": "",
            "object": None,
            "message": "not readable as YAML: did not find expected key",
            "hint": "",
        }
    ]
    assert units["bank"]["held_since"] is None
    said = await status_text(mesh)
    assert said.code == 0
    assert said.out.splitlines()[-5:] == [
        "UNIT  SEEN     ACCEPTED",
        f"mesh  {broken.commit[:7]}  {broken.commit[:7]}",
        f"bank  {broken.commit[:7]}  {broken.commit[:7]}",
        f"shop  {broken.commit[:7]}  {good.commit[:7]}   held since {since:%Y-%m-%d %H:%M:%S}Z",
        "  shop/routes.yaml:6: error MW0001: not readable as YAML: did not find expected key",
    ]

    (told,) = [
        line for line in mesh.daemon.log.splitlines() if f"unit=shop revision={broken.commit[:7]}" in line
    ]
    assert told.endswith(
        f"Z WARNING unit held unit=shop revision={broken.commit[:7]} served={good.commit[:7]}"
        " at=shop/routes.yaml:6 code=MW0001 reason='not readable as YAML: did not find expected key'"
    )

    await mesh.push_live({"shop/routes.yaml": routes("fixed")})
    await mesh.answers("fixed")
    assert "held" not in (await status_text(mesh)).out


async def test_a_mass_of_broken_pushes_disturbs_no_request_and_sends_nothing(mesh: LiveMesh) -> None:
    before, pushes = await mesh.updates(), await mesh.daemon.pushes()
    async with mesh.load() as load:
        for number in range(12):
            broken = await mesh.push({"shop/routes.yaml": routes(f"broken-{number}", indent=" ")})
        await mesh.daemon.until_status(
            "the last one to be held", lambda status: _held(status) == {"shop": broken.commit}
        )
        await load.goes_on()

    assert load.failed == {}
    assert await mesh.updates() == before
    assert await mesh.daemon.pushes() == pushes
    await mesh.push_live({"shop/routes.yaml": routes("whole")})
    await mesh.answers("whole")


def _held(status: dict[str, Any]) -> dict[str, str]:
    return {unit["name"]: unit["seen"] for unit in status["units"] if unit["held_since"]}


async def test_a_push_that_removes_everything_takes_nothing_from_anybody(mesh: LiveMesh) -> None:
    """As a pipeline does whose templates rendered nothing."""
    before, pushes = await mesh.updates(), await mesh.daemon.pushes()
    async with mesh.load() as load:
        empty = await mesh.push({**dict.fromkeys(FILES), "NOTES.txt": "nothing is left\n"})
        status = await mesh.daemon.until_status("it to be held", lambda status: len(_held(status)) == 3)
        await load.goes_on()

    assert load.failed == {}
    assert await mesh.updates() == before
    assert await mesh.daemon.pushes() == pushes
    assert _held(status) == dict.fromkeys(("mesh", "bank", "shop"), empty.commit)
    problems = [problem for unit in status["units"] for problem in unit["problems"]]
    assert {problem["code"] for problem in problems} == {"MW0019"}
    assert [problem["file"] for problem in problems] == ["mesh.yaml", "bank", "shop"]

    await mesh.until_live(await mesh.repository.revert())
    assert "held" not in (await status_text(mesh)).out


async def test_a_change_in_one_namespace_is_not_sent_to_proxies_of_others(mesh: LiveMesh) -> None:
    before, pushes = await mesh.updates(), await mesh.daemon.pushes()
    received = {name: await mesh.received_bytes(name) for name in EVERYBODY}
    await mesh.push_live({"bank/routes.yaml": bank_routes("banks alone")})
    await mesh.answers("banks alone", LEDGER_1, LEDGER)

    after = await mesh.daemon.pushes()
    assert {kind: after[kind] - pushes.get(kind, 0) for kind in after if after[kind] != pushes.get(kind)} == {
        "rds": 1
    }
    assert await mesh.updates() == before
    told = {name for name in EVERYBODY if await mesh.received_bytes(name) - received[name] > PINGS}
    assert told == {LEDGER_1}


async def test_a_change_that_concerns_nobody_is_live_at_once_and_sends_nothing(mesh: LiveMesh) -> None:
    pushes = await mesh.daemon.pushes()
    await mesh.push_live({"NOTES.txt": "nothing to do with a mesh\n"})

    assert await mesh.daemon.pushes() == pushes
