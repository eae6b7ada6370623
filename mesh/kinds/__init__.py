"""The kinds, one module per family; :data:`KINDS` is the one table of those that are supported.

A row says everything that is particular to a kind: where it comes from, its model, its checks and
the verdict of every field. Kinds of the same groups that are not in it are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mesh.kinds import (
    authentication,
    authorization,
    destination_rule,
    gateway,
    mesh,
    service_entry,
    sidecar,
    virtual_service,
    workload,
)
from mesh.kinds.kind import Kind
from mesh.kinds.verdicts import Plan, Verdicts, plan
from mesh.places import Place
from mesh.problems import Problem

NETWORKING = "networking.istio.io"
SECURITY = "security.istio.io"
OURS = "meshwright.dev"


@dataclass(frozen=True, kw_only=True)
class KindRow:
    """One supported kind."""

    group: str
    versions: tuple[str, ...]
    kind: str
    model: type[Kind]
    check: Callable[[Any, Place], Iterator[Problem]]
    verdicts: Verdicts
    is_spec_required: bool = False
    is_namespaced: bool = True

    @cached_property
    def plan(self) -> Plan:
        return plan(self.model, self.verdicts)


_NETWORKING_VERSIONS = ("v1", "v1beta1", "v1alpha3")
_SECURITY_VERSIONS = ("v1", "v1beta1")

KINDS: Mapping[tuple[str, str], KindRow] = {
    (row.group, row.kind): row
    for row in (
        KindRow(
            group=NETWORKING,
            versions=_NETWORKING_VERSIONS,
            kind="VirtualService",
            model=virtual_service.VirtualService,
            check=virtual_service.check,
            verdicts=virtual_service.VERDICTS,
        ),
        KindRow(
            group=NETWORKING,
            versions=_NETWORKING_VERSIONS,
            kind="DestinationRule",
            model=destination_rule.DestinationRule,
            check=destination_rule.check,
            verdicts=destination_rule.VERDICTS,
        ),
        KindRow(
            group=NETWORKING,
            versions=_NETWORKING_VERSIONS,
            kind="Gateway",
            model=gateway.Gateway,
            check=gateway.check,
            verdicts=gateway.VERDICTS,
        ),
        KindRow(
            group=NETWORKING,
            versions=_NETWORKING_VERSIONS,
            kind="ServiceEntry",
            model=service_entry.ServiceEntry,
            check=service_entry.check,
            verdicts=service_entry.VERDICTS,
            is_spec_required=True,
        ),
        KindRow(
            group=NETWORKING,
            versions=_NETWORKING_VERSIONS,
            kind="Sidecar",
            model=sidecar.Sidecar,
            check=sidecar.check,
            verdicts=sidecar.VERDICTS,
        ),
        KindRow(
            group=NETWORKING,
            versions=_NETWORKING_VERSIONS,
            kind="WorkloadEntry",
            model=workload.WorkloadEntry,
            check=workload.check_entry,
            verdicts=workload.WORKLOAD_ENTRY_VERDICTS,
            is_spec_required=True,
        ),
        KindRow(
            group=NETWORKING,
            versions=_NETWORKING_VERSIONS,
            kind="WorkloadGroup",
            model=workload.WorkloadGroup,
            check=workload.check_group,
            verdicts=workload.WORKLOAD_GROUP_VERDICTS,
            is_spec_required=True,
        ),
        KindRow(
            group=SECURITY,
            versions=_SECURITY_VERSIONS,
            kind="PeerAuthentication",
            model=authentication.PeerAuthentication,
            check=authentication.check,
            verdicts=authentication.VERDICTS,
        ),
        KindRow(
            group=SECURITY,
            versions=_SECURITY_VERSIONS,
            kind="AuthorizationPolicy",
            model=authorization.AuthorizationPolicy,
            check=authorization.check,
            verdicts=authorization.VERDICTS,
        ),
        KindRow(
            group=OURS,
            versions=("v1alpha1",),
            kind="Mesh",
            model=mesh.Mesh,
            check=mesh.check,
            verdicts=mesh.VERDICTS,
            is_namespaced=False,
        ),
    )
}

# Kinds that a mesh of Istio's may well hold. A group that is listed here is ours: what it holds and
# this page does not know is a mistake, not somebody else's document.
NOT_YET: Mapping[str, tuple[str, ...]] = {
    NETWORKING: ("EnvoyFilter", "ProxyConfig"),
    SECURITY: ("RequestAuthentication",),
    "telemetry.istio.io": ("Telemetry",),
    "extensions.istio.io": ("WasmPlugin", "TrafficExtension"),
    OURS: ("Machine", "MachineSet", "RateLimit"),
    "gateway.networking.k8s.io": (
        "GatewayClass",
        "Gateway",
        "HTTPRoute",
        "GRPCRoute",
        "TLSRoute",
        "TCPRoute",
        "UDPRoute",
        "ReferenceGrant",
        "BackendTLSPolicy",
        "ListenerSet",
    ),
}
