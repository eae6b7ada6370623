"""Who may connect, word for word; and how many at once."""

from __future__ import annotations

import asyncio

import pytest

from mesh.identity import SpiffeId
from mesh.proxies import NodeId, Proxy, Role
from tests.support.memberships import a_proxy, node_id
from xds.admission import ByteBudget, NotAdmitted, Reason, Turnstile, admit
from xds.directory import Caller

DB = a_proxy("db-1", "db", "postgres")


def a_caller(namespace: str = "db", account: str = "postgres", machine: str = "db-1") -> Caller:
    return Caller(SpiffeId("cluster.local", namespace, account), machine)


def a_node(proxy: Proxy = DB) -> NodeId:
    return NodeId.parse(node_id(proxy))


def test_the_proxy_itself_is_admitted() -> None:
    assert admit(a_node(), a_caller(), DB) is DB


REFUSED = [
    (
        a_node(),
        a_caller("web", "front"),
        DB,
        Reason.IDENTITY,
        "machine db-1 presented a certificate of ns/web/sa/front but connects as ns/db: refused",
    ),
    (
        a_node(),
        a_caller(account="backup"),
        DB,
        Reason.IDENTITY,
        "machine db-1 presented a certificate of ns/db/sa/backup but connects as ns/db/sa/postgres: refused",
    ),
    (
        a_node(),
        a_caller(machine="db-2"),
        DB,
        Reason.MACHINE,
        "machine db-2 presented a certificate of ns/db/sa/postgres but connects as proxy db-1: refused",
    ),
    (a_node(), a_caller(), None, Reason.UNKNOWN, "no proxy db-1 is known in ns/db: refused"),
    (
        NodeId(role=Role.GATEWAY, address="10.0.0.1", name="db-1", namespace="db", domain="cluster.local"),
        a_caller(),
        DB,
        Reason.IDENTITY,
        "proxy db-1.db is a sidecar but connects as router: refused",
    ),
    (
        a_node(),
        a_caller(machine="db-2"),
        None,
        Reason.MACHINE,
        "machine db-2 presented a certificate of ns/db/sa/postgres but connects as proxy db-1: refused",
    ),
]


@pytest.mark.parametrize(("node", "caller", "known", "reason", "message"), REFUSED)
def test_everybody_else_is_refused_with_the_reason(
    node: NodeId, caller: Caller, known: Proxy | None, reason: Reason, message: str
) -> None:
    with pytest.raises(NotAdmitted) as refused:
        admit(node, caller, known)
    assert (refused.value.reason, str(refused.value)) == (reason, message)


async def test_those_without_configuration_pass_first() -> None:
    turnstile, passed = Turnstile(1), []
    leave = asyncio.Event()

    async def come(name: str, *, is_urgent: bool) -> None:
        async with turnstile.place(is_urgent=is_urgent):
            passed.append(name)
            await leave.wait()

    async with asyncio.TaskGroup() as group:
        for name, is_urgent in [("first", False), ("has some", False), ("has none", True), ("gone", True)]:
            task = group.create_task(come(name, is_urgent=is_urgent))
            await asyncio.sleep(0)  # noqa: TID251 (yields; no time passes)
        assert (passed, turnstile.waiting) == (["first"], 3)
        task.cancel()
        leave.set()
    assert passed == ["first", "has none", "has some"]
    assert turnstile.waiting == 0


async def test_large_writes_share_a_budget_and_small_ones_do_not_wait() -> None:
    budget, began = ByteBudget(100, free_below=10), []
    leave = asyncio.Event()

    async def write(size: int) -> None:
        async with budget.spend(size):
            began.append(size)
            await leave.wait()

    async with asyncio.TaskGroup() as group:
        for size in (60, 50, 5, 1000):
            group.create_task(write(size))
        for _ in range(3):
            await asyncio.sleep(0)  # noqa: TID251 (yields; no time passes)
        assert began == [60, 5]
        leave.set()
    assert began == [60, 5, 50, 1000]
