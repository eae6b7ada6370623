"""PeerAuthentication: whether workloads demand mutual TLS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from mesh.kinds.frozen import FrozenMap
from mesh.kinds.kind import Kind
from mesh.kinds.rules import below, port, selector, wrong
from mesh.kinds.selectors import PolicySelector
from mesh.kinds.verdicts import Verdicts, words
from mesh.places import Place
from mesh.problems import Problem

MutualTLSMode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]
# Keys of protobuf's maps are text in JSON, whatever their type.
PortNumber = Annotated[int, Field(ge=0, lt=2**32)]


class MutualTLS(Kind):
    """Istio, "PeerAuthentication.MutualTLS"."""

    mode: MutualTLSMode = "UNSET"


class PeerAuthentication(Kind):
    """Istio, "PeerAuthentication"."""

    selector: PolicySelector | None = None
    mtls: MutualTLS | None = None
    port_level_mtls: FrozenMap[PortNumber, MutualTLS] = FrozenMap()


VERDICTS = Verdicts(carried_out=words("selector mtls portLevelMtls"))


def check(policy: PeerAuthentication, where: Place) -> Iterator[Problem]:
    """Istio, ``ValidatePeerAuthentication``."""
    at = "spec.portLevelMtls"
    if policy.selector is not None:
        labels = policy.selector.match_labels
        yield from selector(where, "spec.selector", labels, "every workload of the namespace")
    if policy.port_level_mtls and not (policy.selector and policy.selector.match_labels):
        message = "portLevelMtls requires selector: ports belong to workloads"
        yield from wrong(where, at, message, "add selector.matchLabels")
    if "port_level_mtls" in policy.model_fields_set and not policy.port_level_mtls:
        yield from wrong(where, at, "expected at least one port, found none")
    for number in policy.port_level_mtls:
        yield from wrong(where, below(at, str(number)), port(number))
