from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Refused
from mesh.proxies import NodeId, Role

NAMES = st.from_regex(r"[a-z]([a-z0-9.-]{0,8}[a-z0-9])?", fullmatch=True)
NAMESPACES = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)


@given(role=st.sampled_from(Role), address=st.ip_addresses().map(str), name=NAMES, namespace=NAMESPACES)
def test_a_node_id_is_read_as_it_is_written(role: Role, address: str, name: str, namespace: str) -> None:
    node = NodeId(role=role, address=address, name=name, namespace=namespace, domain="cluster.local")

    assert NodeId.parse(str(node)) == node


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sidecar~10.0.0.1~web-1.web",
        "ztunnel~10.0.0.1~web-1.web~web.svc.cluster.local",
        "sidecar~somewhere~web-1.web~web.svc.cluster.local",
        "sidecar~10.0.0.1~web-1~web.svc.cluster.local",
        "sidecar~10.0.0.1~.web~web.svc.cluster.local",
        "sidecar~10.0.0.1~web-1.~.svc.cluster.local",
        "sidecar~10.0.0.1~web-1.web~shop.svc.cluster.local",
        "sidecar~10.0.0.1~web-1.web~web.svc.",
        "sidecar~10.0.0.1~web-1.web~web.svc.cluster.local~more",
    ],
)
def test_what_is_no_node_id_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        NodeId.parse(text)

    assert str(refused.value) == f"not a node id: {text!r}"
    assert refused.value.hint == "expected sidecar~<ip>~<name>.<namespace>~<namespace>.svc.<domain>"
