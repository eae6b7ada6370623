"""The servers of the hybrid demo as it asks them, and the programs that its proxies stand before."""

from __future__ import annotations

import http.client
import json
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mesh.clock import SystemClock
from mesh.errors import Misconfigured, Unavailable
from reconciler.demo.hybrid import consul_agent, kubernetes_api, patience, programs
from reconciler.demo.hybrid.door import Door
from reconciler.demo.hybrid.greeter import CALLER, Greeter
from reconciler.demo.processes import Processes
from reconciler.demo.services import Server
from registries import credentials


@asynccontextmanager
async def a_door(handler: web.Handler) -> AsyncIterator[Door]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        yield Door(name="consul", url=str(server.make_url("")).rstrip("/"), session=session, token="secret")


async def test_a_server_that_says_no_is_told_in_its_own_words() -> None:
    async def no(_: web.Request) -> web.Response:
        return web.Response(status=404, text="Unknown service ID\n")

    async with a_door(no) as door:
        with pytest.raises(Unavailable) as caught:
            await door.ask("PUT", "/v1/agent/service/deregister/cart")

    assert str(caught.value) == (
        "consul answered PUT /v1/agent/service/deregister/cart with 404: Unknown service ID"
    )
    assert "secret" not in repr(door)


async def test_a_server_begins_when_its_answer_is_not_empty(tmp_path: Path) -> None:
    """Consul says ``""`` as long as nobody leads."""
    answers = iter((web.Response(status=500), web.json_response(""), web.json_response("127.0.0.1:8300")))
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.headers["Authorization"])
        return next(answers)

    async with a_door(answer) as door, Processes(tmp_path) as processes:
        await door.until_answers("/v1/status/leader", processes, SystemClock())

    assert asked == ["Bearer secret"] * 3


async def test_patience_has_an_end() -> None:
    async def look() -> None:
        return None

    short = timedelta(milliseconds=5)
    with pytest.raises(Unavailable, match=r"^waited 0 s for a sign$"):
        await patience.until("a sign", look, SystemClock(), limit=short, beat=short)


def test_the_credentials_of_a_cluster_are_such_as_the_control_plane_takes(tmp_path: Path) -> None:
    folder = tmp_path / "k8s"
    folder.mkdir(mode=0o700)
    (tmp_path / "server.crt").write_bytes(b"a certificate")
    kubernetes_api._write_kubeconfig(
        folder / "kubeconfig", "https://127.0.0.1:6443", tmp_path / "server.crt", "a token"
    )

    found = credentials.read(tmp_path, "k8s").kubeconfig
    assert found is not None
    assert stat.S_IMODE(found.stat().st_mode) == 0o600
    assert json.loads(found.read_text())["users"] == [{"name": "demo", "user": {"token": "a token"}}]


@pytest.mark.parametrize(("version", "is_closed"), [((1, 8, 7), False), ((1, 14, 0), True)])
def test_consul_is_told_only_of_ports_that_it_knows(version: tuple[int, ...], *, is_closed: bool) -> None:
    ports = consul_agent._config(1, 2, 3, version)["ports"]

    assert ("grpc_tls" in ports) is is_closed
    assert (ports["http"], ports["serf_lan"], ports["server"]) == (1, 2, 3)


def test_a_version_is_read_out_of_what_a_program_says() -> None:
    assert programs.version("Consul v1.22.5\nProtocol 2 spoken\n", Path("consul")) == (1, 22, 5)
    with pytest.raises(Misconfigured, match=r"^'consul' does not say which version it is$"):
        programs.version("no idea", Path("consul"))


@pytest.fixture
def greeter() -> Iterator[http.client.HTTPConnection]:
    with Server(("127.0.0.1", 0), type("Instance", (Greeter,), {"name": "cart-1"})) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
        try:
            yield connection
        finally:
            connection.close()
            server.shutdown()
            thread.join(timeout=5)


def test_a_program_says_who_it_is_and_by_whom_it_was_asked(greeter: http.client.HTTPConnection) -> None:
    greeter.request("GET", "/", headers={CALLER: "URI=spiffe://cluster.local/ns/shop/sa/front"})
    assert json.loads(greeter.getresponse().read()) == {
        "instance": "cart-1",
        "caller": "URI=spiffe://cluster.local/ns/shop/sa/front",
    }

    greeter.request("GET", "/")
    assert json.loads(greeter.getresponse().read()) == {"instance": "cart-1", "caller": ""}
