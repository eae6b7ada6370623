"""A ServiceAccount token is shown to its own cluster and to no other, and what that says is what counts."""

from __future__ import annotations

import base64

import pytest

from ca.accounts import AUDIENCE, Cluster, pod_behind
from ca.callers import Unproven
from mesh.errors import Refused, Unavailable
from tests.support.certificates import TRUST_DOMAIN
from tests.support.service_accounts import AnApiServer, a_token


def named(**judges: AnApiServer) -> list[Cluster]:
    return [Cluster(name=name, judge=judge) for name, judge in judges.items()]


async def test_the_pod_is_the_one_that_the_cluster_names() -> None:
    token = a_token(sub="system:serviceaccount:bank:ledger")

    caller = await pod_behind(token, named(one=AnApiServer()), TRUST_DOMAIN)

    assert str(caller.identity) == "spiffe://cluster.local/ns/shop/sa/orders"
    assert caller.name == "orders-1"


async def test_of_several_clusters_only_that_of_the_issuer_sees_the_token() -> None:
    one, other = AnApiServer(), AnApiServer("https://other.example")

    await pod_behind(a_token(iss="https://other.example"), named(one=one, other=other), TRUST_DOMAIN)

    assert (len(one.shown), len(other.shown)) == (0, 1)


async def test_an_issuer_that_cannot_be_learnt_is_no_hindrance_where_there_is_no_choice() -> None:
    """Not every cluster lets its accounts read the discovery document."""
    alone, named_one = AnApiServer(""), AnApiServer("")

    await pod_behind(a_token(), named(alone=alone), TRUST_DOMAIN)
    await pod_behind(a_token(), named(a=AnApiServer(""), b=named_one), TRUST_DOMAIN, named="b")

    assert len(alone.shown) == len(named_one.shown) == 1


@pytest.mark.parametrize(
    ("issuers", "clusterid", "message", "hint"),
    [
        (
            {},
            "",
            "no cluster is configured whose ServiceAccount tokens could be reviewed",
            "add a registry of kind kubernetes to Mesh.spec.registries, or enrol with a join token",
        ),
        (
            {"a": "https://a", "b": "https://b"},
            "c",
            "no cluster 'c' is configured",
            "name one of a, b in clusterid",
        ),
        (
            {"a": "https://a", "b": "https://b"},
            "",
            "the token's issuer 'https://one.example' is that of no configured cluster",
            "enrol at the control plane that has the Pod's cluster among its registries",
        ),
        (
            {"a": "https://one.example", "b": "https://b"},
            "b",
            "the token's issuer 'https://one.example' is that of no configured cluster",
            "enrol at the control plane that has the Pod's cluster among its registries",
        ),
        (
            {"a": "https://one.example", "b": "https://one.example"},
            "",
            "2 clusters have the token's issuer 'https://one.example'",
            "say which by the metadata clusterid: meshwright inject --cluster NAME",
        ),
        (
            {"a": "", "b": ""},
            "",
            "the token's issuer 'https://one.example' is that of no configured cluster",
            "enrol at the control plane that has the Pod's cluster among its registries",
        ),
    ],
    ids=["none", "unknown name", "no issuer fits", "another's name", "two fit", "none is known"],
)
async def test_whom_a_token_cannot_be_shown_to_it_is_not(
    issuers: dict[str, str], clusterid: str, message: str, hint: str
) -> None:
    judges = {name: AnApiServer(issuer) for name, issuer in issuers.items()}
    with pytest.raises(Unproven) as refused:
        await pod_behind(a_token(), named(**judges), TRUST_DOMAIN, named=clusterid)

    assert (str(refused.value), refused.value.hint) == (message, hint)
    assert not any(judge.shown for judge in judges.values())


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b.c",
        "a.!.c",
        "[" * 100,
        f"a.{base64.urlsafe_b64encode(b'[' * 5000).decode()}.c",
        "a." * 9000,
        a_token(sub=None),
        a_token(sub="somebody"),
        a_token(sub="system:serviceaccount:shop"),
        a_token(sub="system:serviceaccount:a.b:orders"),
        a_token(sub="system:serviceaccount:shop:orders\n"),
        a_token(sub="system:serviceaccount:shop:\ud800"),
        a_token(sub="system:serviceaccount:shop:" + "x" * 300),
    ],
    ids=[
        "empty",
        "a word",
        "no JSON",
        "no base64",
        "brackets",
        "deep",
        "long",
        "of nobody",
        "of a user",
        "of no account",
        "no namespace",
        "line end",
        "half a character",
        "a long name",
    ],
)
async def test_what_is_no_token_is_shown_to_nobody(token: str) -> None:
    cluster = AnApiServer()
    with pytest.raises(Unproven, match="the token is neither a join token nor a ServiceAccount token"):
        await pod_behind(token, named(one=cluster), TRUST_DOMAIN)

    assert cluster.shown == []


@pytest.mark.parametrize(
    "audience", ["https://kubernetes.default.svc", ["istio-ca"], None, [AUDIENCE.upper()]]
)
async def test_a_token_for_another_audience_is_shown_to_nobody(audience: object) -> None:
    """It is good for something else, which whoever saw it could do."""
    cluster = AnApiServer()
    with pytest.raises(Unproven) as refused:
        await pod_behind(a_token(aud=audience), named(one=cluster), TRUST_DOMAIN)

    assert str(refused.value) == "the token is not for audience 'meshwright-ca'"
    assert cluster.shown == []


async def test_what_the_cluster_refuses_is_unproven() -> None:
    cluster = AnApiServer(answer=Refused("the ServiceAccount token is refused: expired"))
    with pytest.raises(Unproven, match="expired"):
        await pod_behind(a_token(), named(one=cluster), TRUST_DOMAIN)


async def test_a_cluster_that_cannot_be_asked_is_no_refusal() -> None:
    """The Pod comes back; its failure is not counted against it."""

    away = AnApiServer(answer=Unavailable("the API server does not answer"))
    with pytest.raises(Unavailable):
        await pod_behind(a_token(), named(one=away), TRUST_DOMAIN)


async def test_a_cluster_of_another_trust_domain_is_not_even_asked() -> None:
    judge = AnApiServer()
    cluster = Cluster(name="one", judge=judge, trust_domain="other.example")
    with pytest.raises(Refused) as refused:
        await pod_behind(a_token(), [cluster], TRUST_DOMAIN)

    assert not isinstance(refused.value, Unproven)
    assert judge.shown == []
