"""Sidecar: what the proxies of some workloads may see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from mesh.kinds.connection_pool import ConnectionPoolSettings
from mesh.kinds.destination import Destination
from mesh.kinds.gateway import full_host
from mesh.kinds.kind import Kind, Text, Texts, Unsigned
from mesh.kinds.rules import dns_label, each, selector, wrong
from mesh.kinds.selectors import WorkloadSelector
from mesh.kinds.tls import ServerTLSSettings
from mesh.kinds.verdicts import Verdicts, words
from mesh.places import Place
from mesh.problems import Problem

CaptureMode = Literal["DEFAULT", "IPTABLES", "NONE"]


class SidecarPort(Kind):
    """Istio, "SidecarPort"."""

    number: Unsigned = 0
    protocol: Text = ""
    name: Text = ""
    target_port: Unsigned = 0


class IstioIngressListener(Kind):
    """Istio, "IstioIngressListener"."""

    port: SidecarPort
    bind: Text = ""
    capture_mode: CaptureMode = "DEFAULT"
    default_endpoint: Text = ""
    tls: ServerTLSSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None


class IstioEgressListener(Kind):
    """Istio, "IstioEgressListener"."""

    port: SidecarPort | None = None
    bind: Text = ""
    capture_mode: CaptureMode = "DEFAULT"
    hosts: Texts


class OutboundTrafficPolicy(Kind):
    """What happens to traffic for unknown hosts. Istio, "OutboundTrafficPolicy".

    Unlike the mesh-wide field, an empty one means ``REGISTRY_ONLY``, protobuf's zero.
    """

    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY"] = "REGISTRY_ONLY"
    egress_proxy: Destination | None = None


class Sidecar(Kind):
    """Istio, "Sidecar"."""

    workload_selector: WorkloadSelector | None = None
    ingress: tuple[IstioIngressListener, ...] = ()
    egress: tuple[IstioEgressListener, ...] = ()
    inbound_connection_pool: ConnectionPoolSettings | None = None
    outbound_traffic_policy: OutboundTrafficPolicy | None = None


VERDICTS = Verdicts(
    carried_out=words("workloadSelector egress.hosts outboundTrafficPolicy.mode"),
    refused={
        "ingress": "leave it out; every port of the workload's services is accepted",
        "egress.port": "leave it out; the hosts then hold for every port",
        "egress.bind": "leave it out; the hosts then hold for every port",
        "egress.captureMode": "leave it out",
        "inboundConnectionPool": "limit connections at the clients, with a DestinationRule",
        "outboundTrafficPolicy.egressProxy": "leave it out",
    },
)


def check(sidecar: Sidecar, where: Place) -> Iterator[Problem]:
    """Istio, ``ValidateSidecar``."""
    if sidecar.workload_selector is not None:
        labels = sidecar.workload_selector.labels
        yield from selector(where, "spec.workloadSelector", labels, "every workload of the namespace")
    if not (
        sidecar.egress
        or sidecar.ingress
        or sidecar.outbound_traffic_policy is not None
        or sidecar.inbound_connection_pool is not None
    ):
        yield from wrong(where, "spec", "expected at least one of egress, outboundTrafficPolicy")
    for index, listener in enumerate(sidecar.egress):
        at = f"spec.egress[{index}]"
        if listener.port is None and index != len(sidecar.egress) - 1:
            yield from wrong(where, at, "only the last egress listener may be without a port")
        if not listener.hosts:
            yield from wrong(where, f"{at}.hosts", "expected at least one host, found none")
        yield from each(where, f"{at}.hosts", listener.hosts, egress_host)
        yield from _repeated(listener, where, at)


def egress_host(text: str) -> str:
    """``namespace/host``: the namespace may be ``.``, ``*``, or ``~`` (nobody, or ``~ns``: all but)."""
    namespace, slash, host = text.partition("/")
    if not slash:
        return f"expected namespace/host, found {text!r}"
    plain = namespace.removeprefix("~")
    if not namespace or (plain not in {"", "*", "."} and dns_label(plain)):
        return f"not a namespace: {namespace!r} (in {text!r})"
    return full_host(host)


def _repeated(listener: IstioEgressListener, where: Place, at: str) -> Iterator[Problem]:
    for index, host in enumerate(listener.hosts):
        namespace = host.partition("/")[0]
        wider = {host, f"{namespace}/*", "*/*"} & set(listener.hosts[:index])
        if wider and not host.startswith("~"):
            message = f"{host!r} is covered by {min(wider)!r} already"
            yield where.problem("IST0133", f"{at}.hosts[{index}]", message)
