from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Refused
from mesh.identity import SpiffeId

SEGMENTS = st.from_regex(r"[A-Za-z0-9._-]{1,12}", fullmatch=True)
DOMAINS = st.from_regex(r"[a-z0-9._-]{1,12}", fullmatch=True)


@given(domain=DOMAINS, namespace=SEGMENTS, account=SEGMENTS)
def test_an_identity_is_read_as_it_is_written(domain: str, namespace: str, account: str) -> None:
    identity = SpiffeId(domain, namespace, account)

    assert SpiffeId.parse(str(identity)) == identity


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe://cluster.local",
        "spiffe://cluster.local/ns/web/sa/front/",
        "spiffe://cluster.local/ns//sa/front",
        "spiffe:///ns/web/sa/front",
        "spiffe://Cluster.Local/ns/web/sa/front",
        "spiffe://cluster.local:443/ns/web/sa/front",
        "spiffe://cluster.local/ns/web/sa/fr%6fnt",
        "spiffe://cluster.local/ns/web/sa/front?x=1",
        "spiffe://cluster.local/ns/web/sa/front\n",
        "https://cluster.local/ns/web/sa/front",
        "SPIFFE://cluster.local/ns/web/sa/front",
    ],
)
def test_what_is_not_exactly_a_workloads_identity_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        SpiffeId.parse(text)

    assert str(refused.value) == f"not a workload identity: {text!r}"
    assert refused.value.hint == "expected spiffe://<trust domain>/ns/<namespace>/sa/<service account>"


def test_a_principal_is_an_identity_without_its_scheme() -> None:
    assert SpiffeId("cluster.local", "web", "front").principal == "cluster.local/ns/web/sa/front"
