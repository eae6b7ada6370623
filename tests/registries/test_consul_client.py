"""Asking one agent: what goes to whom, how much is read, and where it is understood."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from mesh.errors import Unavailable
from mesh.kinds.registry_consul import Consul
from registries.consul import client as clients
from registries.consul import reading
from registries.consul.access import Access
from registries.consul.client import Client
from registries.consul.mapping import Mapped, mapped
from registries.consul.pace import AT_LEISURE
from tests.support.consul_registries import listening
from tests.support.fake_consul import an_entry, fake_consul, refusing

SERVICES = "/v1/catalog/services"


@asynccontextmanager
async def serving(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A server that answers everything so; its URL."""
    application = web.Application()
    application.router.add_get("/{rest:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def client_of(url: str, token: str = "", limit_s: float = 5.0) -> Client:
    return Client(Access(address=url, token=token), Consul(), limit=timedelta(seconds=limit_s))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_does_not_take_the_token_to_another_host(status: int) -> None:
    """aiohttp strips ``Authorization`` on the way to another host, and no header of Consul's."""
    taken: list[str] = []

    async def thief(request: web.Request) -> web.Response:
        taken.append(request.headers.get("X-Consul-Token", ""))
        return web.json_response({"consul": []}, headers={"X-Consul-Index": "5"})

    async with serving(thief) as elsewhere:

        async def redirect(request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": f"{elsewhere}/v1/catalog/services"})

        async with serving(redirect) as url, client_of(url, token="s3cret") as client:
            with pytest.raises(Unavailable) as raised:
                await client.ask(SERVICES)

    assert str(raised.value) == f"Consul at {url} answered {status}, a redirect, which is not followed"
    assert raised.value.hint == "write the URL of the agent itself into the address of the registry"
    assert taken == []


async def test_a_proxy_of_the_environment_does_not_see_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    async def thief(request: web.Request) -> web.Response:
        taken.append(request.headers.get("X-Consul-Token", ""))
        return web.Response()

    async with serving(thief) as proxy, fake_consul() as consul:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        async with client_of(consul.url, token="s3cret") as client:
            await client.ask(SERVICES)

    assert (taken, len(consul.asked)) == ([], 1)


@pytest.mark.parametrize(("status", "most"), [(200, 4096), (500, 64 * 1024)])
async def test_an_answer_without_end_does_not_take_the_memory(
    status: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "ANSWER_BYTES_MAX", 4096)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"X-Consul-Index": "5"})
        await response.prepare(request)
        while request.transport is not None:
            await response.write(b" " * 8192)
        return response

    async with serving(endless) as url, client_of(url) as client:
        with pytest.raises(Unavailable) as raised:
            await client.ask(SERVICES)

    assert str(raised.value) == f"what Consul at {url} answers to {SERVICES} has more than {most} bytes"
    assert raised.value.hint == "check the address of the registry"


async def test_an_answer_nested_without_end_is_not_consuls() -> None:
    async def deep(_: web.Request) -> web.Response:
        return web.Response(text="[" * 50_000, headers={"X-Consul-Index": "5"})

    async with serving(deep) as url, client_of(url) as client:
        with pytest.raises(Unavailable, match="is not Consul: no index, or no JSON"):
            await client.ask(SERVICES)


async def test_a_request_that_hangs_leaves_nothing_behind_when_its_client_ends() -> None:
    """An unclosed transport at the end: what was cancelled had not been waited for."""
    arrived = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        arrived.set()
        await asyncio.Event().wait()
        return web.Response()

    async with serving(hang) as url:
        before = asyncio.all_tasks()
        async with client_of(url, limit_s=60) as client:
            asked = asyncio.create_task(client.ask(SERVICES))
            await arrived.wait()
            asked.cancel()
            await asyncio.wait([asked])
        left = {task for task in asyncio.all_tasks() - before if "RequestHandler" not in repr(task)}

    assert left == set()


async def test_a_large_answer_is_understood_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 3,000 instances, or of 10,000 nodes, every proxy would wait for a tenth of a second."""
    threads: dict[str, set[threading.Thread]] = {"json": set(), "mapped": set()}

    def hook(found: dict[str, Any]) -> dict[str, Any]:
        threads["json"].add(threading.current_thread())
        return found

    def mapping(name: str, entries: Any, settings: Consul, registry: str) -> Mapped:
        threads["mapped"].add(threading.current_thread())
        return mapped(name, entries, settings, registry)

    monkeypatch.setattr(reading, "mapped", mapping)
    monkeypatch.setattr(clients, "_itself", hook)
    async with fake_consul() as consul:
        for number in range(600):
            consul.entries[f"n{number}", f"a-{number}"] = an_entry(f"n{number}", f"a-{number}", "a")
        assert len(json.dumps(list(consul.entries.values()))) > 64 * 1024
        async with listening(consul.url) as heard:
            await heard.until("all", lambda: len(heard.said.get("a", [])) == 600)
            threads["mapped"].discard(threading.main_thread())
            assert threads["mapped"]
            assert threads["json"] - {threading.main_thread()}
            assert len(heard.registry.answer.value.said("default").offers) == 1  # type: ignore[union-attr]


def test_no_word_of_an_idle_consul_is_older_than_35_seconds() -> None:
    assert AT_LEISURE.silence_max <= timedelta(seconds=35)
    assert AT_LEISURE.wait * 17 / 16 < timedelta(seconds=35)


async def test_a_reason_that_changes_is_still_told(caplog: pytest.LogCaptureFixture) -> None:
    """The change of a state is told by whoever listens to all registries, and the reason only with it."""
    async with fake_consul() as consul:
        consul.faults["/v1/"] = refusing(500, "No cluster leader")
        async with listening(consul.url) as heard:
            version = heard.registry.freshness.version
            async with asyncio.timeout(10):
                while not heard.registry.freshness.value.error:
                    version, _ = await heard.registry.freshness.newer_than(version)
            consul.faults.clear()
            await heard.until("an answer", lambda: True)

    told = [record for record in caplog.records if record.name == "registries.consul.registry"]
    assert [(one.message, one.__dict__["reason"]) for one in told] == [
        ("registry still fails", f"Consul at {consul.url} answered 500: No cluster leader")
    ]
