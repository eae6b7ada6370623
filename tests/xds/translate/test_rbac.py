"""AuthorizationPolicy as Envoy's RBAC rules. What callers see of them: ``test_callers.py``."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.views import Authorization, Settings
from tests.support.authorization import a_policy, a_rule
from xds import envoy
from xds.translate import authorization, principals
from xds.translate.authorization import Form
from xds.translate.http_filters import Place, Side, rbac

TRUST_DOMAINS = ("cluster.local",)


def rules(
    *found: dict[str, Any], form: Form = Form.HTTP, denies: bool = False, trust_domains: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The policies of one RBAC filter made of one AuthorizationPolicy."""
    policies = (a_policy(*found),)
    asked = Authorization(deny=policies) if denies else Authorization(allow=policies)
    (verdict,) = authorization.verdicts(asked, trust_domains or TRUST_DOMAINS, form)
    policies_of: dict[str, Any] = envoy.as_dict(verdict.rules).get("policies", {})
    return policies_of


def the_permission(**written: Any) -> Any:
    """The terms of the one operation of the one rule."""
    return only(rules(a_rule(**written)))["permissions"][0]["and_rules"]["rules"]


def the_principal(**written: Any) -> Any:
    return only(rules(a_rule(**written)))["principals"][0]["and_ids"]["ids"]


def only(found: dict[str, Any]) -> Any:
    ((name, policy),) = found.items()
    assert name == "ns[bookinfo]-policy[viewers]-rule[0]"
    return policy


def named(**matcher: Any) -> dict[str, Any]:
    return {"authenticated": {"principal_name": matcher}}


@pytest.mark.parametrize(
    ("value", "matcher"),
    [
        ("cluster.local/ns/a/sa/b", {"exact": "spiffe://cluster.local/ns/a/sa/b"}),
        ("cluster.local/ns/a/*", {"prefix": "spiffe://cluster.local/ns/a/"}),
        ("*/sa/b", {"safe_regex": {"regex": "spiffe://.*/sa/b"}}),
        ("*", {"safe_regex": {"regex": ".+"}}),
    ],
)
def test_a_principal_is_exact_or_has_one_star(value: str, matcher: dict[str, Any]) -> None:
    assert the_principal(principals=[value]) == [{"or_ids": {"ids": [named(**matcher)]}}]


def test_a_namespace_is_a_segment_of_the_identity() -> None:
    (term,) = the_principal(namespaces=["book*"])
    assert term == {"or_ids": {"ids": [named(safe_regex={"regex": ".*/ns/book[^/]*/.*"})]}}


def test_a_service_account_is_of_the_policys_namespace_unless_it_names_another() -> None:
    (term,) = the_principal(serviceAccounts=["front", "web/front"])
    assert term["or_ids"]["ids"] == [
        named(safe_regex={"regex": "spiffe://.+/ns/bookinfo/sa/front"}),
        named(safe_regex={"regex": "spiffe://.+/ns/web/sa/front"}),
    ]


def test_an_address_block_is_of_the_peer_itself() -> None:
    (term,) = the_principal(ipBlocks=["10.1.2.3/8", "fd00::1"])
    assert term["or_ids"]["ids"] == [
        {"direct_remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}},
        {"direct_remote_ip": {"address_prefix": "fd00::1", "prefix_len": 128}},
    ]


def test_what_is_forbidden_must_not_hold_while_the_rest_does() -> None:
    wanted, forbidden = the_principal(namespaces=["web"], notPrincipals=["*"])[::-1]
    assert wanted == {"or_ids": {"ids": [named(safe_regex={"regex": ".*/ns/web/.*"})]}}
    assert forbidden == {"not_id": {"or_ids": {"ids": [named(safe_regex={"regex": ".+"})]}}}


@pytest.mark.parametrize(
    ("principal", "found"),
    [
        ("cluster.local/ns/a/sa/b", ["new/ns/a/sa/b", "old/ns/a/sa/b"]),
        ("old/ns/a/sa/b", ["new/ns/a/sa/b", "old/ns/a/sa/b"]),
        ("foreign/ns/a/sa/b", ["foreign/ns/a/sa/b"]),
        ("*/ns/a/sa/b", ["*/ns/a/sa/b"]),
        ("*w/ns/a/sa/b", ["*w/ns/a/sa/b", "old/ns/a/sa/b"]),
        ("sa/b", ["sa/b"]),
    ],
)
def test_a_principal_of_this_trust_domain_is_meant_under_all_its_names(
    principal: str, found: list[str]
) -> None:
    assert principals.aliases(principal, ("new", "old")) == found


def test_a_method_is_a_header_and_a_star_asks_that_there_is_one() -> None:
    (term,) = the_permission(methods=["GET", "*"])
    assert term["or_rules"]["rules"] == [
        {"header": {"name": ":method", "string_match": {"exact": "GET"}}},
        {"header": {"name": ":method", "present_match": True}},
    ]


def test_a_path_is_exact_a_prefix_a_suffix_or_a_template() -> None:
    (term,) = the_permission(paths=["/a", "/b/*", "*.html", "/c/{*}/d/{**}"])
    template = {
        "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
        "path_template": "/c/*/d/**",
    }
    assert term["or_rules"]["rules"] == [
        {"url_path": {"path": {"exact": "/a"}}},
        {"url_path": {"path": {"prefix": "/b/"}}},
        {"url_path": {"path": {"suffix": ".html"}}},
        {"uri_template": {"name": "uri-template", "typed_config": template}},
    ]


def test_a_host_is_meant_in_any_case_and_with_any_port() -> None:
    (term,) = the_permission(hosts=["a.example", "*.b.example", "c.*"])
    assert [one["header"]["string_match"] for one in term["or_rules"]["rules"]] == [
        {"safe_regex": {"regex": r"(?i)a\.example(:[0-9]+)?"}},
        {"safe_regex": {"regex": r"(?i).*\.b\.example(:[0-9]+)?"}},
        {"prefix": "c.", "ignore_case": True},
    ]


def test_a_port_is_the_one_the_caller_reached() -> None:
    (term,) = the_permission(notPorts=["8080"])
    assert term == {"not_rule": {"or_rules": {"rules": [{"destination_port": 8080}]}}}


def test_an_empty_rule_matches_everything() -> None:
    policy = only(rules({}))
    assert policy == {
        "permissions": [{"and_rules": {"rules": [{"any": True}]}}],
        "principals": [{"and_ids": {"ids": [{"any": True}]}}],
    }


def test_no_rule_matches_nothing() -> None:
    policy = only(rules())
    assert policy == {
        "permissions": [{"not_rule": {"any": True}}],
        "principals": [{"not_id": {"any": True}}],
    }


def test_on_a_connection_an_allow_rule_about_requests_is_left_out() -> None:
    found = rules(a_rule(paths=["/a"], namespaces=["web"]), a_rule(ports=["80"]), form=Form.TCP)
    assert list(found) == ["ns[bookinfo]-policy[viewers]-rule[1]"]


def test_on_a_connection_a_deny_rule_loses_only_what_it_says_of_requests() -> None:
    policy = only(rules(a_rule(paths=["/a"], ports=["80"]), form=Form.TCP, denies=True))
    (term,) = policy["permissions"][0]["and_rules"]["rules"]
    assert term == {"or_rules": {"rules": [{"destination_port": 80}]}}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"when": [{"key": "source.ip", "values": ["10.0.0.1"]}]}, "when"),
        ({"from": [{"source": {"remoteIpBlocks": ["10.0.0.1"]}}]}, "remote_ip_blocks"),
    ],
)
def test_a_rule_that_is_not_carried_out_never_reaches_a_proxy(rule: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=rf"^an authorization rule reached translation with {said}$"):
        rules(rule)


def test_what_denies_stands_before_what_allows_and_nothing_where_nobody_said_anything() -> None:
    policies = Authorization(deny=(a_policy({}),), allow=(a_policy({}),))
    found = list(rbac.build(Place(side=Side.INBOUND, settings=Settings(), authorization=policies)))
    configs = [envoy.as_dict(one)["typed_config"]["rules"] for one in found]
    assert [config.get("action", "ALLOW") for config in configs] == ["DENY", "ALLOW"]
    assert list(rbac.build(Place(side=Side.INBOUND, settings=Settings()))) == []


def test_a_dry_run_is_watched_and_not_enforced() -> None:
    watched = a_policy({}, annotations=((authorization.DRY_RUN, "true"),))
    (verdict,) = authorization.verdicts(Authorization(deny=(watched,)), TRUST_DOMAINS, Form.HTTP)
    assert verdict.rules is None
    assert verdict.fields()["shadow_rules_stat_prefix"] == "istio_dry_run_deny_"
