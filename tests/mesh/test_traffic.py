from __future__ import annotations

from typing import Any

import pytest

from mesh.interning import Recall
from mesh.traffic import Rule, exported, policy, rule_for
from mesh.views import TrafficPolicy
from tests.support.config import ROOT, Meshes, a_mesh, a_service, a_world, document

HOST = "reviews.bookinfo.svc.cluster.local"


def a_rule(name: str, namespace: str = "bookinfo", host: str = HOST, **spec: Any) -> str:
    return document("DestinationRule", name, namespace, host=host, **spec)


def in_force(client: str, *rules: str) -> Rule | None:
    """The rule for reviews.bookinfo as seen from the namespace ``client``."""
    world = a_world(a_service("reviews"), *rules)
    (service,) = world.services.services.values()
    return rule_for(world.config, client, service, Recall())


def names(rule: Rule | None) -> list[str]:
    return [f"{key.namespace}/{key.name}" for key in rule.sources] if rule is not None else []


@pytest.mark.parametrize(
    ("export_to", "client", "expected"),
    [
        (("*",), "web", True),
        ((".",), "bookinfo", True),
        ((".",), "web", False),
        (("web",), "web", True),
        (("web",), "bookinfo", False),
        (("~",), "bookinfo", False),
        ((), "bookinfo", False),
    ],
)
def test_an_object_is_seen_where_it_is_exported_to(
    export_to: tuple[str, ...], client: str, expected: bool
) -> None:
    assert exported(export_to, client, "bookinfo") is expected


def test_the_clients_namespace_comes_before_the_services_and_the_root_comes_last() -> None:
    rules = {"web": a_rule("own", "web"), "bookinfo": a_rule("theirs"), ROOT: a_rule("everybodys", ROOT)}

    assert names(in_force("web", *rules.values())) == ["web/own"]
    assert names(in_force("web", rules["bookinfo"], rules[ROOT])) == ["bookinfo/theirs"]
    assert names(in_force("web", rules[ROOT])) == [f"{ROOT}/everybodys"]
    assert in_force("web") is None


def test_a_client_in_the_root_namespace_takes_the_services_rule_first() -> None:
    """Else the rules for everybody would hide those of the services from every gateway there."""
    assert names(in_force(ROOT, a_rule("theirs"), a_rule("everybodys", ROOT))) == ["bookinfo/theirs"]


def test_a_rule_that_is_not_exported_is_no_rule_for_others() -> None:
    rules = a_rule("theirs", exportTo=["."]), a_rule("everybodys", ROOT)

    assert names(in_force("web", *rules)) == [f"{ROOT}/everybodys"]
    assert names(in_force("bookinfo", *rules)) == ["bookinfo/theirs"]


def test_the_meshs_default_decides_for_rules_that_do_not_say() -> None:
    assert in_force("web", a_rule("theirs"), a_mesh(defaultDestinationRuleExportTo=["."])) is None


def test_within_a_namespace_the_most_specific_host_wins_and_levels_do_not_merge() -> None:
    rules = (
        a_rule("all", "web", host="*.svc.cluster.local", subsets=[{"name": "v9", "labels": {"v": "9"}}]),
        a_rule("some", "web", host="*.bookinfo.svc.cluster.local"),
        a_rule("theirs", subsets=[{"name": "v1", "labels": {"v": "1"}}]),
    )
    found = in_force("web", *rules)

    assert names(found) == ["web/some"]
    assert found is not None
    assert found.subsets == ()


def test_two_rules_for_one_host_unite_their_subsets_and_the_first_policy_holds() -> None:
    found = in_force(
        "bookinfo",
        a_rule(
            "b",
            created="2024-01-02T00:00:00Z",
            subsets=[{"name": "v1", "labels": {"v": "late"}}, {"name": "v2", "labels": {"v": "2"}}],
            trafficPolicy={"loadBalancer": {"simple": "RANDOM"}},
        ),
        a_rule(
            "c",
            created="2024-01-01T00:00:00Z",
            subsets=[{"name": "v1", "labels": {"v": "1"}}],
            trafficPolicy={"loadBalancer": {"simple": "ROUND_ROBIN"}},
        ),
    )

    assert found is not None
    assert names(found) == ["bookinfo/c", "bookinfo/b"]
    assert {subset.name: subset.labels["v"] for subset in found.subsets} == {"v1": "1", "v2": "2"}
    assert policy(found, 9080, "").load_balancer.simple == "ROUND_ROBIN"  # type: ignore[union-attr]


def test_a_rule_without_a_policy_takes_that_of_the_next() -> None:
    found = in_force("bookinfo", a_rule("a"), a_rule("b", trafficPolicy={"tls": {"mode": "DISABLE"}}))

    assert policy(found, 9080, "").tls is not None


def test_rules_that_are_exported_differently_are_not_merged() -> None:
    """What one team keeps to itself must reach nobody else by way of a public rule."""
    rules = (
        a_rule("a", exportTo=["."], trafficPolicy={"tls": {"mode": "DISABLE"}}),
        a_rule("b", subsets=[{"name": "v1", "labels": {"v": "1"}}]),
    )

    assert names(in_force("bookinfo", *rules)) == ["bookinfo/a"]
    seen = in_force("web", *rules)
    assert names(seen) == ["bookinfo/b"]
    assert policy(seen, 9080, "").tls is None


POOL = {"http": {"http2MaxRequests": 7}}
WRITTEN: dict[str, Any] = {
    "trafficPolicy": {
        "loadBalancer": {"simple": "RANDOM"},
        "connectionPool": POOL,
        "portLevelSettings": [{"port": {"number": 80}, "loadBalancer": {"simple": "ROUND_ROBIN"}}],
    },
    "subsets": [
        {"name": "plain", "labels": {"v": "0"}},
        {
            "name": "own",
            "labels": {"v": "1"},
            "trafficPolicy": {
                "loadBalancer": {"simple": "LEAST_REQUEST"},
                "portLevelSettings": [{"port": {"number": 443}, "tls": {"mode": "SIMPLE"}}],
            },
        },
    ],
}


@pytest.mark.parametrize(
    ("port", "subset", "balancer", "has_pool", "tls"),
    [
        (9080, "", "RANDOM", True, None),
        (80, "", "ROUND_ROBIN", False, None),  # replaced entirely: the pool is not inherited
        (9080, "plain", "RANDOM", True, None),
        (80, "plain", "ROUND_ROBIN", False, None),
        (9080, "own", "LEAST_REQUEST", True, None),  # field by field: the pool is
        (80, "own", "LEAST_REQUEST", False, None),
        (443, "own", None, False, "SIMPLE"),  # a subset's port replaces entirely too
        (9080, "unknown", "RANDOM", True, None),
    ],
)
def test_ports_replace_and_subsets_overlay(
    port: int, subset: str, balancer: str | None, has_pool: bool, tls: str | None
) -> None:
    made = policy(in_force("web", a_rule("a", **WRITTEN)), port, subset)

    assert (made.load_balancer.simple if made.load_balancer else None) == balancer
    assert (made.connection_pool is not None) == has_pool
    assert (made.tls.mode if made.tls else None) == tls


def test_where_nobody_said_anything_the_policy_is_empty() -> None:
    assert policy(None, 80, "") == TrafficPolicy()


def test_a_rule_stays_the_same_object_while_its_namespace_does() -> None:
    meshes, recall = Meshes(), Recall()
    texts = a_service("reviews"), a_rule("a")
    before = meshes.world(*texts)
    after = meshes.world(*texts, a_rule("b", "web", host="other.web.svc.cluster.local"))
    (service,) = before.services.services.values()

    assert rule_for(before.config, "bookinfo", service, recall) is rule_for(
        after.config, "bookinfo", service, recall
    )
