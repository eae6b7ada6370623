"""How the sources of an authorization rule become RBAC principals: who calls.

Identities are those of the peer's certificate, so nothing here matches a caller in plain text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from mesh.kinds.authorization import Source
from xds import envoy
from xds.translate.wildcards import regex, text

_OWN_TRUST_DOMAIN = "cluster.local"
# Values, forbidden values, and what matches one of them.
_Said = tuple[tuple[str, ...], tuple[str, ...], Callable[[str], list[Any]]]


def principal_of(source: Source, namespace: str, trust_domains: tuple[str, ...]) -> Any:
    """Who calls: all that is said, each of them any of its values."""
    principal = envoy.message("envoy.config.rbac.v3.Principal")

    def named(matcher: Any) -> Any:
        return principal(authenticated=principal.Authenticated(principal_name=matcher))

    said: tuple[_Said, ...] = (
        (
            source.principals,
            source.not_principals,
            lambda value: [named(_spiffe(alias)) for alias in aliases(value, trust_domains)],
        ),
        (source.namespaces, source.not_namespaces, lambda value: [named(regex(_namespace(value)))]),
        (
            source.service_accounts,
            source.not_service_accounts,
            lambda value: [named(regex(_account(value, namespace)))],
        ),
        (source.ip_blocks, source.not_ip_blocks, lambda value: [principal(direct_remote_ip=cidr(value))]),
    )
    terms: list[Any] = []
    for values, forbidden, matches in said:
        if values:
            terms.append(principal(or_ids=principal.Set(ids=[m for value in values for m in matches(value)])))
        if forbidden:
            either = principal(or_ids=principal.Set(ids=[m for value in forbidden for m in matches(value)]))
            terms.append(principal(not_id=either))
    return principal(and_ids=principal.Set(ids=terms or [principal(any=True)]))


def aliases(principal: str, trust_domains: tuple[str, ...]) -> list[str]:
    """A principal under every name of this trust domain, when it is of this trust domain.

    ``cluster.local`` always means "ours". A principal with ``*`` for a trust domain, one that is not of
    five parts, and one of a foreign trust domain stay as they are. Istio, ``trustdomain.Bundle``.
    """
    domain, *rest = principal.split("/")
    is_ours = domain == _OWN_TRUST_DOMAIN or any(_fits(own, domain) for own in trust_domains)
    if len(rest) != 4 or domain == "*" or not is_ours:
        return [principal]
    found = (principal if _fits(own, domain) else "/".join((own, *rest)) for own in trust_domains)
    return list(dict.fromkeys(found))


def _fits(domain: str, pattern: str) -> bool:
    return domain.endswith(pattern[1:]) if pattern.startswith("*") else domain == pattern


def cidr(block: str) -> Any:
    """A CIDR, or one address."""
    network = ip_network(block, strict=False)
    made = envoy.message("envoy.config.core.v3.CidrRange")(address_prefix=str(network.network_address))
    made.prefix_len.value = network.prefixlen
    return made


def _spiffe(value: str) -> Any:
    if value == "*":
        return regex(".+")
    if value.startswith("*"):
        return regex("spiffe://.*" + re.escape(value[1:]))
    return text("spiffe://" + value)


def _namespace(value: str) -> str:
    return f".*/ns/{_wildcards(value)}/.*"


def _account(value: str, namespace: str) -> str:
    """``account`` is of the policy's own namespace, ``namespace/account`` of the named one."""
    owner, slash, account = value.partition("/")
    if not slash:
        owner, account = namespace, value
    return f"spiffe://.+/ns/{_wildcards(owner)}/sa/{_wildcards(account)}"


def _wildcards(value: str) -> str:
    # A segment of an identity holds no slash (SPIFFE ID, 2.2), so a star must not cross one.
    return "[^/]*".join(re.escape(part) for part in value.split("*"))
