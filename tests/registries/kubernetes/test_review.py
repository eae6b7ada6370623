"""Whose a token is, by the word of the cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from mesh.errors import Misconfigured, Refused, Unavailable
from registries.kubernetes.review import Reviewed, TokenReviews
from tests.support.cluster_registries import GivenAccess
from tests.support.cluster_server import ClusterServer, status

OURS = "meshwright-ca"
TOKEN = "a.b.c"
EXTRA = {
    "authentication.kubernetes.io/pod-name": ["web-1"],
    "authentication.kubernetes.io/pod-uid": ["uid-1"],
}


def a_status(**fields: Any) -> dict[str, Any]:
    user = {"username": "system:serviceaccount:shop:web", "extra": EXTRA}
    return {"authenticated": True, "audiences": [OURS], "user": user, **fields}


async def test_a_token_for_us_speaks_for_a_pod() -> None:
    asked: list[Any] = []

    def answer(review: Any) -> dict[str, Any]:
        asked.append(review["spec"])
        return {"status": a_status()}

    async with ClusterServer() as server:
        server.reviews = answer
        found = await TokenReviews(GivenAccess(server.credentials)).review(TOKEN, OURS)

    assert asked == [{"token": TOKEN, "audiences": [OURS]}]
    assert found == Reviewed(namespace="shop", account="web", pod="web-1", uid="uid-1")


async def test_a_token_that_is_bound_to_no_pod_speaks_for_an_account() -> None:
    async with ClusterServer() as server:
        server.reviews = lambda review: {
            "status": a_status(user={"username": "system:serviceaccount:shop:web"})
        }
        found = await TokenReviews(GivenAccess(server.credentials)).review(TOKEN, OURS)

    assert found == Reviewed(namespace="shop", account="web", pod="", uid="")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (a_status(authenticated=False), "the cluster does not accept it"),
        (a_status(authenticated="true"), "the cluster does not accept it"),
        (a_status(audiences=["vault"]), "it is for another audience"),
        (a_status(audiences=None), "it is for another audience"),
        (a_status(user={"username": "admin"}), "it is not that of a ServiceAccount"),
        (a_status(user={"username": "system:serviceaccount:shop"}), "it is not that of a ServiceAccount"),
    ],
)
async def test_any_other_token_is_refused(said: dict[str, Any], reason: str) -> None:
    async with ClusterServer() as server:
        server.reviews = lambda review: {"status": said}
        with pytest.raises(Refused) as refused:
            await TokenReviews(GivenAccess(server.credentials)).review(TOKEN, OURS)

    assert str(refused.value) == f"the ServiceAccount token is refused: {reason}"
    assert refused.value.hint == (
        "project a token with the audience of the mesh into the Pod, as meshwright inject does"
    )


@pytest.mark.parametrize("token", ["", "a b\n", "ü", "x" * 20_000])
async def test_what_is_no_token_is_not_even_asked_about(token: str) -> None:
    async with ClusterServer() as server:
        with pytest.raises(Refused, match=r"^the ServiceAccount token is refused: it is no token$"):
            await TokenReviews(GivenAccess(server.credentials)).review(token, OURS)

        assert server.asked == []


async def test_our_own_token_may_have_been_rotated_meanwhile() -> None:
    async with ClusterServer() as server:
        server.tokens = {"new"}
        server.reviews = lambda review: {"status": a_status()}
        access = GivenAccess(replace(server.credentials, token="old"))
        access.on_refusal = lambda: setattr(
            access,
            "credentials",
            replace(server.credentials, token="new"),
        )

        assert (await TokenReviews(access).review(TOKEN, OURS)).account == "web"


async def test_a_cluster_that_cannot_be_asked_refuses_nobody() -> None:
    async with ClusterServer() as server:
        credentials = server.credentials
        server.faults.append(lambda request: status(503, "starting"))
        with pytest.raises(Unavailable, match=r"^the API server answered 503 to the POST of /apis/"):
            await TokenReviews(GivenAccess(credentials)).review(TOKEN, OURS)
        server.faults[:] = [lambda request: web.json_response([], status=201)]
        with pytest.raises(Unavailable, match=r"is no object$"):
            await TokenReviews(GivenAccess(credentials)).review(TOKEN, OURS)
    with pytest.raises(Unavailable, match=r"does not answer: no connection: "):
        await TokenReviews(GivenAccess(credentials)).review(TOKEN, OURS)


async def test_an_account_that_may_not_ask_is_our_operators_business() -> None:
    async with ClusterServer() as server:
        server.faults.append(lambda request: status(403, "tokenreviews is forbidden"))
        with pytest.raises(Misconfigured, match=r"tokenreviews is forbidden$") as refused:
            await TokenReviews(GivenAccess(server.credentials)).review(TOKEN, OURS)

    assert refused.value.hint == (
        "grant what examples/kubernetes/token-reviews.yaml grants to the account of the kubeconfig"
    )
