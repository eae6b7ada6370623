"""The one door to HTTP believes nothing, and tells no secrets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aiohttp import web

from mesh.errors import Misconfigured, Unavailable
from registries.kubernetes.access import Credentials, Server
from registries.kubernetes.client import Client, Limits
from tests.support.cluster_server import ClusterServer

SECRET = "very-secret"


async def test_a_redirect_is_not_followed_for_it_would_take_the_token_along() -> None:
    async with ClusterServer() as server, ClusterServer() as other:
        server.faults.append(
            lambda request: web.Response(status=307, headers={"Location": f"http://127.0.0.1:{other.port}/"})
        )
        async with Client(replace(server.credentials, token=SECRET)) as client:
            with pytest.raises(Unavailable) as failed:
                await client.get("/api/v1/nodes", {})

        assert str(failed.value) == "the API server answered 307 to the GET of /api/v1/nodes"
        assert other.asked == []


async def test_a_token_that_is_replaced_is_used_from_the_next_request_on() -> None:
    async with ClusterServer() as server:
        server.tokens = {"new"}
        async with Client(replace(server.credentials, token="old")) as client:
            with pytest.raises(Unavailable, match=r"answered 401"):
                await client.get("/api/v1/nodes", {})
            client.token = "new"

            assert (await client.get("/api/v1/nodes", {}))["items"] == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", "the API server's answer to GET of /api/v1/nodes is not JSON"),
        (b"[1]", "the API server's answer to GET of /api/v1/nodes is no object"),
        (b"[" * 100_000, "the API server's answer to GET of /api/v1/nodes is not JSON"),
        (b"x" * 300_000, "the API server's answer has more than 200000 bytes"),
    ],
)
async def test_an_answer_that_makes_no_sense_is_a_failure_of_the_server(body: bytes, message: str) -> None:
    async with ClusterServer() as server:
        server.faults.append(lambda request: web.Response(body=body))
        async with Client(server.credentials, Limits(answer_bytes=200_000)) as client:
            with pytest.raises(Unavailable) as failed:
                await client.get("/api/v1/nodes", {})

    assert str(failed.value) == message


async def test_an_answer_that_does_not_come_is_given_up() -> None:
    async with ClusterServer() as server, Client(server.credentials, Limits(agreement=0.1)) as client:
        server.suspend()
        with pytest.raises(Unavailable) as failed:
            async with client.watch("/api/v1/nodes", {"resourceVersion": "1", "watch": "true"}):
                pass

    assert (
        str(failed.value)
        == f"the API server at {server.credentials.server.url} does not answer: it did not answer in time"
    )


@pytest.mark.parametrize(
    "server",
    [
        Server(url="https://127.0.0.1", ca="not PEM"),
        Server(url="https://127.0.0.1", certificate=b"not PEM", key=b"not PEM either"),
    ],
)
def test_certificates_that_cannot_be_used_are_the_operators_business(server: Server) -> None:
    with pytest.raises(Misconfigured) as refused:
        Client(Credentials(server=server))

    assert str(refused.value) == "the certificates of the kubeconfig cannot be used"
    assert (
        refused.value.hint == "expected PEM: the CA's, and the client's with its key, which has no password"
    )
