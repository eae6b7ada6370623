"""Which index moves on which change: what listening to Consul rests upon, real and in our fake."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from mesh.clock import SystemClock
from tests.servers.consul import ConsulAgent
from tests.support.fake_consul import FakeConsul, an_entry, fake_consul

PATHS = {
    "services": "/v1/catalog/services",
    "nodes": "/v1/catalog/nodes",
    "checks": "/v1/health/state/any",
    "unhealthy": '/v1/health/state/any?filter=Status != "passing"',
    "a": "/v1/health/service/a",
    "a's index": '/v1/health/service/a?filter=Service.ID == ""',
    "b": "/v1/health/service/b",
}
HEALTH = {"checks", "unhealthy"}
A = {"a", "a's index"}


async def indexes(url: str) -> dict[str, tuple[int, Any]]:
    """The index and the body of each."""
    found = {}
    async with aiohttp.ClientSession() as session:
        for name, path in PATHS.items():
            where, _, query = path.partition("?")
            asked = dict([query.split("=", 1)]) if query else {}
            async with session.get(url + where, params=asked) as answer:
                found[name] = int(answer.headers["X-Consul-Index"]), json.loads(await answer.text())
    return found


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of ``a`` on node ``n1``, as a test wants it."""

    port: int = 80
    status: str = "passing"
    zone: str = "z1"


@dataclass(frozen=True, slots=True)
class Subject:
    """A Consul in which that instance can be set, and taken away."""

    url: str
    set: Callable[[Instance], None]
    remove: Callable[[], None]


def real(agent: ConsulAgent) -> Subject:
    def set_to(one: Instance) -> None:
        agent.register_external({"Node": "n1", "Address": "10.9.0.1", "NodeMeta": {"zone": one.zone}})
        check = {"Node": "n1", "CheckID": "service:a-1", "Status": one.status, "ServiceID": "a-1"}
        service = {"ID": "a-1", "Service": "a", "Port": one.port}
        agent.write([
            {"Service": {"Verb": "set", "Node": "n1", "Service": service}},
            {"Check": {"Verb": "set", "Check": check | {"Name": "ttl", "ServiceName": "a"}}},
        ])  # fmt: skip

    return Subject(agent.url, set_to, lambda: agent.deregister_external("n1", "a-1"))


def faked(fake: FakeConsul) -> Subject:
    def set_to(one: Instance) -> None:
        entry = an_entry("n1", "a-1", "a", port=one.port, status=one.status)
        entry["Node"]["Meta"] = {"zone": one.zone}
        fake.put(entry)

    return Subject(fake.url, set_to, lambda: fake.remove("n1", "a-1"))


@asynccontextmanager
async def subject(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """With an instance of ``a``, and one of another service on another node."""
    if kind == "fake":
        async with fake_consul() as fake:
            fake.put(an_entry("n2", "b-1", "b"))
            made = faked(fake)
            made.set(Instance())
            yield made
        return
    agent: ConsulAgent = request.getfixturevalue("consul_agent")
    service = {"ID": "b-1", "Service": "b", "Port": 80}
    agent.register_external({"Node": "n2", "Address": "10.9.0.2", "Service": service})
    made = real(agent)
    made.set(Instance())
    yield made


CHANGES: Mapping[str, tuple[Callable[[Subject], None], set[str]]] = {
    "nothing": (lambda it: it.set(Instance()), set()),
    "registration": (lambda it: it.set(Instance(port=81)), {"services"} | A),
    "check": (lambda it: it.set(Instance(status="critical")), HEALTH | A),
    "node": (lambda it: it.set(Instance(zone="z2")), {"nodes"} | A),
    "removal": (lambda it: it.remove(), {"services"} | HEALTH),
}


@pytest.mark.parametrize("kind", ["real", "fake"])
@pytest.mark.parametrize("change", list(CHANGES))
async def test_each_change_moves_the_indexes_that_are_listened_to(
    kind: str, change: str, request: pytest.FixtureRequest
) -> None:
    act, expected = CHANGES[change]
    async with subject(kind, request) as it:
        before = await indexes(it.url)
        act(it)
        after = await indexes(it.url)
        moved = {name for name in PATHS if before[name][0] != after[name][0]}

        assert expected <= moved
        # No change of one service moves the index of another: that is what a sweep rests upon.
        assert "b" not in moved
        if change == "check":
            assert not moved & {"services", "nodes"}
        if change == "node":
            assert not moved & ({"services"} | HEALTH)


@pytest.mark.parametrize("kind", ["real", "fake"])
async def test_a_filter_empties_the_body_and_leaves_the_index(
    kind: str, request: pytest.FixtureRequest
) -> None:
    async with subject(kind, request) as it:
        found = await indexes(it.url)
        assert found["a's index"] == (found["a"][0], [])
        assert len(found["a"][1]) == 1
        it.set(Instance(status="critical"))
        sick = (await indexes(it.url))["unhealthy"][1]

        assert [(check["Node"], check["CheckID"], check["ServiceName"]) for check in sick] == [
            ("n1", "service:a-1", "a")
        ]


@pytest.mark.parametrize("kind", ["real", "fake"])
async def test_a_query_blocks_until_its_index_moves(kind: str, request: pytest.FixtureRequest) -> None:
    async with subject(kind, request) as it, aiohttp.ClientSession() as session:
        index = (await indexes(it.url))["services"][0]
        asked = {"index": str(index), "wait": "5000ms"}
        clock = SystemClock()
        begun = clock.monotonic()
        query = asyncio.create_task(_index(session, it.url + PATHS["services"], asked))
        await indexes(it.url)
        assert not query.done()
        await asyncio.to_thread(it.set, Instance(port=82)) if kind == "real" else it.set(Instance(port=82))

        assert await query > index
        assert clock.monotonic() - begun < 4


async def _index(session: aiohttp.ClientSession, url: str, query: dict[str, str]) -> int:
    async with session.get(url, params=query) as answer:
        return int(answer.headers["X-Consul-Index"])
