from __future__ import annotations

from typing import Any

import pytest

from mesh.labels import labels
from mesh.security import Authentication, authentication, authorization, levels, namespace_mode
from mesh.views import MutualTls
from tests.support.config import ROOT, a_config, a_mesh, document

REVIEWS = labels({"app": "reviews", "version": "v1"})


def peers(name: str, mode: str, namespace: str = "bookinfo", **spec: Any) -> str:
    return document("PeerAuthentication", name, namespace, **{"mtls": {"mode": mode}, **spec})


def of_app(app: str) -> dict[str, Any]:
    return {"selector": {"matchLabels": {"app": app}}}


def demanded(*documents: str, namespace: str = "bookinfo") -> Authentication:
    config = a_config(*documents)
    return authentication(*levels(config, "PeerAuthentication", namespace), REVIEWS)


MESH = peers("default", "STRICT", ROOT)
NAMESPACE = peers("default", "DISABLE")
WORKLOAD = peers("reviews", "PERMISSIVE", **of_app("reviews"))


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([], "PERMISSIVE"),
        ([MESH], "STRICT"),
        ([MESH, NAMESPACE], "DISABLE"),
        ([MESH, NAMESPACE, WORKLOAD], "PERMISSIVE"),
        ([MESH, peers("default", "UNSET")], "STRICT"),
        ([MESH, peers("reviews", "UNSET", **of_app("reviews"))], "STRICT"),
        ([MESH, peers("other", "DISABLE", **of_app("ratings"))], "STRICT"),
        ([MESH, peers("theirs", "DISABLE", "web")], "STRICT"),
        ([peers("scoped", "STRICT", ROOT, **of_app("reviews"))], "PERMISSIVE"),
    ],
)
def test_the_workload_comes_before_the_namespace_before_the_mesh(documents: list[str], expected: str) -> None:
    assert demanded(*documents).mode == expected


def test_at_each_level_the_oldest_holds() -> None:
    late = peers("a", "STRICT", created="2024-02-01T00:00:00Z")
    early = peers("b", "DISABLE", created="2024-01-01T00:00:00Z")

    assert demanded(late, early).mode is MutualTls.DISABLE


def test_ports_of_the_workloads_own_policy_have_modes_of_their_own() -> None:
    ports = {8080: {"mode": "DISABLE"}, 9090: {"mode": "UNSET"}}
    found = demanded(MESH, peers("reviews", "UNSET", portLevelMtls=ports, **of_app("reviews")))

    assert found.of(8080) is MutualTls.DISABLE
    assert found.of(9090) is found.of(1) is MutualTls.STRICT


def test_what_decided_is_known() -> None:
    found = demanded(MESH, NAMESPACE, WORKLOAD)

    assert [str(key) for key in found.sources] == [
        f"PeerAuthentication/{ROOT}/default",
        "PeerAuthentication/bookinfo/default",
        "PeerAuthentication/bookinfo/reviews",
    ]


def test_a_client_can_only_know_what_mesh_and_namespace_demand() -> None:
    config = a_config(MESH, peers("reviews", "DISABLE", **of_app("reviews")))

    assert namespace_mode(*levels(config, "PeerAuthentication", "bookinfo")) is MutualTls.STRICT


def test_in_the_root_namespace_nothing_counts_twice() -> None:
    config = a_config(MESH)

    assert levels(config, "PeerAuthentication", ROOT) == (config.within("PeerAuthentication", ROOT), ())
    assert namespace_mode(*levels(config, "PeerAuthentication", ROOT)) is MutualTls.STRICT


def test_the_root_namespace_is_the_one_that_the_mesh_names() -> None:
    texts = peers("default", "STRICT", "platform"), a_mesh(rootNamespace="platform")

    assert demanded(*texts).mode is MutualTls.STRICT


def rights(name: str, action: str, namespace: str = "bookinfo", **spec: Any) -> str:
    return document("AuthorizationPolicy", name, namespace, action=action, rules=[{}], **spec)


def test_all_policies_that_select_the_workload_are_in_force_by_action_and_name() -> None:
    config = a_config(
        rights("z", "ALLOW"),
        rights("a", "ALLOW", **of_app("reviews")),
        rights("b", "ALLOW", **of_app("ratings")),
        rights("c", "DENY", ROOT),
        rights("d", "DENY", "web"),
        rights("e", "DENY", ROOT, **of_app("reviews")),
    )
    found = authorization(*levels(config, "AuthorizationPolicy", "bookinfo"), REVIEWS)

    assert [policy.key.name for policy in found.allow] == ["a", "z"]
    assert [policy.key.name for policy in found.deny] == ["c", "e"]


def test_a_policy_needs_every_label_of_its_selector() -> None:
    both = {"selector": {"matchLabels": {"app": "reviews", "version": "v2"}}}
    config = a_config(rights("a", "ALLOW", **both))

    assert authorization(*levels(config, "AuthorizationPolicy", "bookinfo"), REVIEWS).allow == ()
