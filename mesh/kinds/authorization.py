"""AuthorizationPolicy: who may call what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from mesh.kinds.kind import Kind, Text, Texts
from mesh.kinds.rules import Rule as Check
from mesh.kinds.rules import each, ip_block, selector, wrong
from mesh.kinds.selectors import PolicySelector, PolicyTargetReference
from mesh.kinds.verdicts import Verdicts, words
from mesh.places import Place
from mesh.problems import Problem

Action = Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"]


class Source(Kind):
    """Who calls; all that is said must hold. Istio, "Source"."""

    principals: Texts = ()
    not_principals: Texts = ()
    request_principals: Texts = ()
    not_request_principals: Texts = ()
    namespaces: Texts = ()
    not_namespaces: Texts = ()
    service_accounts: Texts = ()
    not_service_accounts: Texts = ()
    ip_blocks: Texts = ()
    not_ip_blocks: Texts = ()
    remote_ip_blocks: Texts = ()
    not_remote_ip_blocks: Texts = ()
    trust_domains: Texts = ()
    not_trust_domains: Texts = ()


class Operation(Kind):
    """What is called; all that is said must hold. Istio, "Operation"."""

    hosts: Texts = ()
    not_hosts: Texts = ()
    ports: Texts = ()
    not_ports: Texts = ()
    methods: Texts = ()
    not_methods: Texts = ()
    paths: Texts = ()
    not_paths: Texts = ()


class Condition(Kind):
    """Istio, "Condition"."""

    key: Text
    values: Texts = ()
    not_values: Texts = ()


class From(Kind):
    """Istio, "Rule.From"."""

    source: Source | None = None


class To(Kind):
    """Istio, "Rule.To"."""

    operation: Operation | None = None


class Rule(Kind):
    """Any of ``from``, any of ``to`` and all of ``when``. Istio, "Rule"."""

    from_: tuple[From, ...] = ()
    to: tuple[To, ...] = ()
    when: tuple[Condition, ...] = ()


class ExtensionProvider(Kind):
    """The external authoriser of action CUSTOM. Istio, "AuthorizationPolicy.ExtensionProvider"."""

    name: Text = ""


class AuthorizationPolicy(Kind):
    """Istio, "AuthorizationPolicy". No rule matches nothing; an empty rule matches everything."""

    selector: PolicySelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: tuple[PolicyTargetReference, ...] = ()
    rules: tuple[Rule, ...] = ()
    action: Action = "ALLOW"
    provider: ExtensionProvider | None = None


_NO_TOKENS = "identities of tokens are not read yet; use principals, the identity of the caller's certificate"
_NO_TARGETS = "use selector, or leave it out for the whole namespace"

VERDICTS = Verdicts(
    carried_out=words("""
        selector action
        rules.from.source.{
            principals notPrincipals namespaces notNamespaces serviceAccounts notServiceAccounts
            ipBlocks notIpBlocks
        }
        rules.to.operation
    """),
    refused={
        "targetRef": _NO_TARGETS,
        "targetRefs": _NO_TARGETS,
        "provider": "leave it out, with action CUSTOM",
        "rules.from.source.requestPrincipals": _NO_TOKENS,
        "rules.from.source.notRequestPrincipals": _NO_TOKENS,
        "rules.from.source.remoteIpBlocks": "use ipBlocks, the address of the direct peer",
        "rules.from.source.notRemoteIpBlocks": "use notIpBlocks, the address of the direct peer",
        "rules.from.source.trustDomains": "use principals: a trust domain and /* is a prefix of them",
        "rules.from.source.notTrustDomains": "use notPrincipals: a trust domain and /* is a prefix of them",
        "rules.when": "say it with from and to where they can",
    },
)
SUPPORTED_ACTIONS = ("ALLOW", "DENY")
SERVICE_ACCOUNTS_MAX = 16


def check(policy: AuthorizationPolicy, where: Place) -> Iterator[Problem]:
    """Istio, ``ValidateAuthorizationPolicy``."""
    if policy.selector is not None:
        labels = policy.selector.match_labels
        yield from selector(where, "spec.selector", labels, "every workload of the namespace")
    if policy.action not in SUPPORTED_ACTIONS:
        message = f"action {policy.action!r} is not supported yet"
        yield where.problem("MW0004", "spec.action", message, f"use one of {', '.join(SUPPORTED_ACTIONS)}")
    if policy.action == "DENY" and not policy.rules:
        message = "DENY without rules denies nothing"
        yield from wrong(where, "spec.rules", message, "add an empty rule, {}, to deny everything")
    for index, rule in enumerate(policy.rules):
        at = f"spec.rules[{index}]"
        for name, said, parts in (("from", "from_", rule.from_), ("to", "to", rule.to)):
            if said in rule.model_fields_set and not parts:
                yield from wrong(
                    where, f"{at}.{name}", "must not be empty", "leave it out to match everything"
                )
        for number, caller in enumerate(rule.from_):
            yield from _source(caller.source, where, f"{at}.from[{number}].source")
        for number, called in enumerate(rule.to):
            yield from _operation(called.operation, where, f"{at}.to[{number}].operation")
        if policy.action == "DENY":
            yield from _denies_tcp(rule, where, at)


def _source(source: Source | None, where: Place, at: str) -> Iterator[Problem]:
    if source is None or not any(getattr(source, name) for name in Source.model_fields):
        yield from wrong(where, at, "must not be empty", "leave `from` out to match every caller")
        return
    by_identity = source.principals or source.not_principals or source.namespaces or source.not_namespaces
    if (source.service_accounts or source.not_service_accounts) and by_identity:
        message = "cannot set serviceAccounts with namespaces or principals"
        yield from wrong(where, at, message, "list them as separate sources")
    for name, blocks in (("ipBlocks", source.ip_blocks), ("notIpBlocks", source.not_ip_blocks)):
        yield from each(where, f"{at}.{name}", blocks, ip_block)
    for name, accounts in (
        ("serviceAccounts", source.service_accounts),
        ("notServiceAccounts", source.not_service_accounts),
    ):
        yield from each(where, f"{at}.{name}", accounts, _service_account)
        if len(accounts) > SERVICE_ACCOUNTS_MAX:
            message = f"expected at most {SERVICE_ACCOUNTS_MAX} values, found {len(accounts)}"
            yield from wrong(where, f"{at}.{name}", message)
    for name, values in (
        ("principals", source.principals),
        ("notPrincipals", source.not_principals),
        ("namespaces", source.namespaces),
        ("notNamespaces", source.not_namespaces),
    ):
        yield from each(where, f"{at}.{name}", values, _some)


def _operation(operation: Operation | None, where: Place, at: str) -> Iterator[Problem]:
    if operation is None or not any(getattr(operation, name) for name in Operation.model_fields):
        yield from wrong(where, at, "must not be empty", "leave `to` out to match every request")
        return
    checks: tuple[tuple[str, Texts, Check], ...] = (
        ("hosts", operation.hosts, _some),
        ("notHosts", operation.not_hosts, _some),
        ("ports", operation.ports, _port),
        ("notPorts", operation.not_ports, _port),
        ("methods", operation.methods, _some),
        ("notMethods", operation.not_methods, _some),
        ("paths", operation.paths, _path),
        ("notPaths", operation.not_paths, _path),
    )
    for name, values, rule in checks:
        yield from each(where, f"{at}.{name}", values, rule)


def _some(value: str) -> str:
    return "" if value else "expected a value, found nothing"


def _port(value: str) -> str:
    is_port = value.isascii() and value.isdigit() and len(value) <= 5 and 1 <= int(value) <= 65535
    return "" if is_port else f"expected a port from 1 to 65535, found {value!r}"


def _service_account(value: str) -> str:
    """``account`` of the policy's own namespace, or ``namespace/account``; no wildcards."""
    if "*" in value:
        return f"wildcards are not allowed in service accounts: {value!r}"
    parts = value.split("/")
    if len(parts) > 2 or not all(parts) or len(value) > 320:
        return f"expected account or namespace/account, found {value!r}"
    return ""


# RFC 3986, appendix A: what a segment of a path may hold, in a template.
_LITERAL = re.compile(r"[-a-zA-Z0-9._~%!$&'()+,;:@=]*")


def _path(value: str) -> str:
    """Exact, with ``*`` at an end, or a template: ``{*}`` is one segment, ``{**}`` any, once and last."""
    if not value:
        return _some(value)
    is_template = "{*}" in value or "{**}" in value
    rest_taken = False
    for segment in value.strip("/").split("/"):
        if segment in {"{*}", "{**}"}:
            if rest_taken:
                return f"not a path: {value!r} ({{**}} is not the last operator)"
            rest_taken = segment == "{**}"
        elif "{" in segment or "}" in segment:
            return f"not a path: {value!r} (braces are for {{*}} and {{**}}, each a segment of its own)"
        elif is_template and not _LITERAL.fullmatch(segment):
            return f"not a path: {value!r} (segment {segment!r} of a template)"
    return ""


def _denies_tcp(rule: Rule, where: Place, at: str) -> Iterator[Problem]:
    """A DENY that speaks of HTTP alone denies every TCP connection: what it asks cannot be answered."""
    tells_callers = any(
        caller.source is not None
        and any(getattr(caller.source, name) for name in Source.model_fields if "request" not in name)
        for caller in rule.from_
    )
    tells_ports = any(
        called.operation is not None and (called.operation.ports or called.operation.not_ports)
        for called in rule.to
    )
    if (rule.to and not tells_ports) or (rule.from_ and not rule.to and not tells_callers):
        message = "denies all TCP traffic too, because only attributes of HTTP are named"
        yield where.problem("IST0133", at, message, "name the ports as well")
