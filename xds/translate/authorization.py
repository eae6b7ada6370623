"""How AuthorizationPolicy becomes Envoy's RBAC rules, for requests and for connections.

A rule is any of its sources, any of its operations. What the two forms share is here; where the
filters stand is for ``http_filters/`` and ``tcp_filters.py``. Fields that are refused by name when a
commit is read raise here: a rule that is only half understood must never reach a proxy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from mesh.config import ConfigObject
from mesh.kinds.authorization import AuthorizationPolicy, Operation, Rule, Source
from mesh.views import Authorization
from xds import envoy
from xds.translate.permissions import permission_of
from xds.translate.principals import principal_of

# Istio, ``istio.io/dry-run``: evaluated and counted, not enforced.
DRY_RUN = "istio.io/dry-run"


_REFUSED = (
    "request_principals",
    "not_request_principals",
    "remote_ip_blocks",
    "not_remote_ip_blocks",
    "trust_domains",
    "not_trust_domains",
)


class Form(Enum):
    """What a verdict is about: a request, or a whole connection of which no request is read."""

    HTTP = auto()
    TCP = auto()


class Action(Enum):
    """What a match means. The values are Envoy's, the names in statistics are Istio's."""

    ALLOW = "ALLOW"
    DENY = "DENY"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One RBAC filter's worth: the rules in force, and those that are only watched."""

    action: Action
    rules: Any | None
    shadow_rules: Any | None

    def fields(self) -> dict[str, Any]:
        """As the fields that the HTTP and the network filter have in common."""
        found: dict[str, Any] = {}
        if self.rules is not None:
            found["rules"] = self.rules
        if self.shadow_rules is not None:
            found["shadow_rules"] = self.shadow_rules
            found["shadow_rules_stat_prefix"] = f"istio_dry_run_{self.action.value.lower()}_"
        return found


def verdicts(policies: Authorization, trust_domains: tuple[str, ...], form: Form) -> Iterator[Verdict]:
    """Deny first, then allow: who is denied is not asked further. Istio, "Implicit enablement"."""
    for action, found in ((Action.DENY, policies.deny), (Action.ALLOW, policies.allow)):
        enforced = tuple(policy for policy in found if not _is_dry_run(policy))
        watched = tuple(policy for policy in found if _is_dry_run(policy))
        if found:
            yield Verdict(
                action,
                _rules(enforced, action, trust_domains, form) if enforced else None,
                _rules(watched, action, trust_domains, form) if watched else None,
            )


def _is_dry_run(policy: ConfigObject[AuthorizationPolicy]) -> bool:
    return dict(policy.annotations).get(DRY_RUN) == "true"


def _rules(
    policies: Iterable[ConfigObject[AuthorizationPolicy]],
    action: Action,
    trust_domains: tuple[str, ...],
    form: Form,
) -> Any:
    rbac = envoy.message("envoy.config.rbac.v3.RBAC")(action=action.value)
    for policy in policies:
        prefix = f"ns[{policy.key.namespace}]-policy[{policy.key.name}]"
        if not policy.spec.rules:
            # Present, and matching nothing: an ALLOW policy without rules lets nobody in.
            rbac.policies[f"{prefix}-rule[0]"].CopyFrom(_never())
        for index, rule in enumerate(policy.spec.rules):
            _refuse_unknown(rule)
            # On a connection an ALLOW rule that speaks of requests is left out, so that less is allowed;
            # of a DENY rule only those words are left out, so that more is denied. Istio does the same.
            if form is Form.TCP and action is Action.ALLOW and _speaks_of_requests(rule):
                continue
            made = rbac.policies[f"{prefix}-rule[{index}]"]
            sources = [item.source or Source() for item in rule.from_] or [Source()]
            operations = [item.operation or Operation() for item in rule.to] or [Operation()]
            made.principals.extend(
                principal_of(source, policy.key.namespace, trust_domains) for source in sources
            )
            made.permissions.extend(
                permission_of(operation, has_requests=form is Form.HTTP) for operation in operations
            )
    return rbac


def _never() -> Any:
    permission = envoy.message("envoy.config.rbac.v3.Permission")
    principal = envoy.message("envoy.config.rbac.v3.Principal")
    return envoy.message("envoy.config.rbac.v3.Policy")(
        permissions=[permission(not_rule=permission(any=True))],
        principals=[principal(not_id=principal(any=True))],
    )


def _refuse_unknown(rule: Rule) -> None:
    said = ["when"] if rule.when else []
    for source in (item.source for item in rule.from_ if item.source):
        said += [name for name in _REFUSED if getattr(source, name)]
    if said:
        raise ValueError(f"an authorization rule reached translation with {', '.join(said)}")


def _speaks_of_requests(rule: Rule) -> bool:
    return any(
        said
        for to in rule.to
        if (operation := to.operation)
        for said in (
            operation.hosts,
            operation.not_hosts,
            operation.methods,
            operation.not_methods,
            operation.paths,
            operation.not_paths,
        )
    )
