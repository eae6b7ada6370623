"""The policy in force for one workload, after precedence and merging.

Precedence is Istio's (``pilot/pkg/security/authn``): workload before namespace before mesh; at each
level the oldest object; ``UNSET`` inherits; nobody having spoken, PERMISSIVE. Authorization is not
merged: all policies of the root namespace and of the workload's own that select it are in force.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mesh.config import Config, ConfigObject
from mesh.kinds.authentication import PeerAuthentication
from mesh.kinds.authorization import AuthorizationPolicy
from mesh.labels import Labels, selects
from mesh.names import ObjectKey
from mesh.views import Authorization, MutualTls


@dataclass(frozen=True, slots=True)
class Authentication:
    """What a workload demands of its callers: for all ports, and for single ones (workload ports)."""

    mode: MutualTls
    by_port: tuple[tuple[int, MutualTls], ...] = ()
    sources: tuple[ObjectKey, ...] = ()

    def of(self, port: int) -> MutualTls:
        return dict(self.by_port).get(port, self.mode)


Policies = tuple[ConfigObject[Any], ...]


def levels(config: Config, kind: str, namespace: str) -> tuple[Policies, Policies]:
    """The policies of a kind that may concern a namespace: the root namespace's, and its own.

    For the root namespace itself the first is all there is: what stands there speaks for the mesh, so a
    PeerAuthentication with a selector means nobody there either (Istio, ``ComposePeerAuthentication``).
    """
    root = config.root_namespace
    return config.within(kind, root), config.within(kind, namespace) if namespace != root else ()


def authentication(mesh: Policies, own: Policies, workload: Labels) -> Authentication:
    """The PeerAuthentication in force for a workload with these labels, of the two :func:`levels`."""
    selected = _oldest(own, workload)
    chosen = [policy for policy in (_oldest(mesh, None), _oldest(own, None), selected) if policy is not None]
    mode = _said(chosen) or MutualTls.PERMISSIVE
    ports = selected.spec.port_level_mtls if selected is not None else {}
    return Authentication(
        mode,
        tuple(sorted((int(port), MutualTls(one.mode)) for port, one in ports.items() if one.mode != "UNSET")),
        tuple(policy.key for policy in chosen),
    )


def namespace_mode(mesh: Policies, own: Policies) -> MutualTls:
    """What the mesh and the namespace demand: all that a client's cluster can know beforehand."""
    chosen = [policy for policy in (_oldest(mesh, None), _oldest(own, None)) if policy is not None]
    return _said(chosen) or MutualTls.PERMISSIVE


def _said(policies: Iterable[ConfigObject[PeerAuthentication]]) -> MutualTls | None:
    """The mode of the last policy that has one: ``UNSET`` inherits."""
    modes = [policy.spec.mtls.mode for policy in policies if policy.spec.mtls is not None]
    return next((MutualTls(mode) for mode in reversed(modes) if mode != "UNSET"), None)


def _oldest(policies: Policies, workload: Labels | None) -> ConfigObject[PeerAuthentication] | None:
    """The first in order without a selector, or (given labels) the first with one that picks them."""
    for policy in policies:
        picks = policy.spec.selector.match_labels.pairs if policy.spec.selector else ()
        if (not picks) if workload is None else (picks and selects(picks, workload)):
            return policy
    return None


def authorization(mesh: Policies, own: Policies, workload: Labels) -> Authorization:
    """The AuthorizationPolicies in force for a workload with these labels, of the two :func:`levels`."""
    found: dict[str, list[ConfigObject[AuthorizationPolicy]]] = {"DENY": [], "ALLOW": []}
    for policy in (*mesh, *own):
        picks = policy.spec.selector.match_labels.pairs if policy.spec.selector else ()
        if selects(picks, workload):
            found[policy.spec.action].append(policy)
    return Authorization(
        deny=tuple(sorted(found["DENY"], key=_by_name)), allow=tuple(sorted(found["ALLOW"], key=_by_name))
    )


def _by_name(policy: ConfigObject[AuthorizationPolicy]) -> ObjectKey:
    return policy.key
