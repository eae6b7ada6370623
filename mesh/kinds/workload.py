"""WorkloadEntry and WorkloadGroup: machines that run a service, and the template of many."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.kinds.frozen import FrozenMap
from mesh.kinds.kind import NOTHING, Kind, Number, StringMap, Text, Texts, Unsigned
from mesh.kinds.rules import (
    UNIX_PREFIX,
    below,
    domain,
    label_pairs,
    one_of,
    port,
    port_name,
    said,
    unix_path,
    wrong,
)
from mesh.kinds.verdicts import Verdicts, words
from mesh.names import is_ip
from mesh.places import Place
from mesh.problems import Problem

PortMap = FrozenMap[Text, Unsigned]
NO_PORTS: PortMap = FrozenMap()


class WorkloadEntry(Kind):
    """Istio, "WorkloadEntry"; also an inline endpoint of a ServiceEntry."""

    address: Text = ""
    ports: PortMap = NO_PORTS
    labels: StringMap = NOTHING
    network: Text = ""
    locality: Text = ""
    weight: Unsigned = 0
    service_account: Text = ""


class HTTPHeader(Kind):
    """Istio, "HTTPHeader"."""

    name: Text = ""
    value: Text = ""


class HTTPHealthCheckConfig(Kind):
    """Istio, "HTTPHealthCheckConfig"."""

    path: Text = ""
    port: Unsigned
    host: Text = ""
    scheme: Text = ""
    http_headers: tuple[HTTPHeader, ...] = ()


class TCPHealthCheckConfig(Kind):
    """Istio, "TCPHealthCheckConfig"."""

    host: Text = ""
    port: Unsigned


class ExecHealthCheckConfig(Kind):
    """Istio, "ExecHealthCheckConfig"."""

    command: Texts


class GrpcHealthCheckConfig(Kind):
    """Istio, "GrpcHealthCheckConfig"."""

    port: Unsigned = 0
    service: Text = ""


class ReadinessProbe(Kind):
    """Istio, "ReadinessProbe"."""

    initial_delay_seconds: Number = 0
    timeout_seconds: Number = 0
    period_seconds: Number = 0
    success_threshold: Number = 0
    failure_threshold: Number = 0
    http_get: HTTPHealthCheckConfig | None = None
    tcp_socket: TCPHealthCheckConfig | None = None
    exec: ExecHealthCheckConfig | None = None
    grpc: GrpcHealthCheckConfig | None = None


class WorkloadMetadata(Kind):
    """What a WorkloadGroup gives each of its workloads. Istio, "WorkloadGroup.ObjectMeta"."""

    labels: StringMap = NOTHING
    annotations: StringMap = NOTHING


class WorkloadGroup(Kind):
    """Istio, "WorkloadGroup"."""

    metadata: WorkloadMetadata | None = None
    template: WorkloadEntry
    probe: ReadinessProbe | None = None


WORKLOAD_ENTRY_VERDICTS = Verdicts(
    carried_out=words("address ports labels locality weight serviceAccount network"),
)
WORKLOAD_GROUP_VERDICTS = Verdicts(
    carried_out=words("metadata.labels template.{ports labels locality weight serviceAccount network}"),
    no_effect={
        "metadata.annotations": "an enrolled workload is no object that could bear them",
        "template.address": "the proxy of each workload says where it is",
    },
    refused={
        "probe": "leave it out; every workload of the group counts as healthy",
    },
)


def check_entry(entry: WorkloadEntry, where: Place) -> Iterator[Problem]:
    yield from check_endpoint(entry, where, "spec")


def check_endpoint(
    entry: WorkloadEntry, where: Place, at: str, *, may_be_name: bool = True
) -> Iterator[Problem]:
    """Istio, ``validateWorkloadEntry``.

    :param may_be_name: whether the address may be a name that DNS resolves.
    """
    address = f"{at}.address"
    if not entry.address:
        if not entry.network:
            yield from wrong(where, address, "missing, and required")
    elif entry.address.startswith(UNIX_PREFIX):
        yield from wrong(where, address, unix_path(entry.address))
        if entry.ports:
            yield from wrong(where, f"{at}.ports", "a unix socket has no ports")
    elif not is_ip(entry.address):
        if not may_be_name:
            yield from wrong(where, address, f"expected an IP address, found {entry.address!r}")
        elif domain(entry.address):
            yield from wrong(where, address, f"not an IP address or host name: {entry.address!r}")
    for name, number in entry.ports.items():
        path = below(f"{at}.ports", name)
        yield from wrong(where, path, port_name(name) or port(number))
    yield from label_pairs(where, f"{at}.labels", entry.labels)


def check_group(group: WorkloadGroup, where: Place) -> Iterator[Problem]:
    if group.metadata is not None:
        yield from label_pairs(where, "spec.metadata.labels", group.metadata.labels)
    yield from label_pairs(where, "spec.template.labels", group.template.labels)
    for name, number in group.template.ports.items():
        yield from wrong(where, below("spec.template.ports", name), port_name(name) or port(number))
    if group.probe is not None:
        yield from _probe(group.probe, where)


def _probe(probe: ReadinessProbe, where: Place) -> Iterator[Problem]:
    seconds = {
        "initialDelaySeconds": probe.initial_delay_seconds,
        "timeoutSeconds": probe.timeout_seconds,
        "periodSeconds": probe.period_seconds,
        "successThreshold": probe.success_threshold,
        "failureThreshold": probe.failure_threshold,
    }
    for name, value in seconds.items():
        if value < 0:
            yield from wrong(where, f"spec.probe.{name}", f"expected a number from 0, found {value}")
    methods = said(httpGet=probe.http_get, tcpSocket=probe.tcp_socket, exec=probe.exec, grpc=probe.grpc)
    yield from one_of(where, "spec.probe", methods)
    if not methods:
        yield from wrong(where, "spec.probe", "expected one of httpGet, tcpSocket, exec, grpc")
    if probe.http_get is not None:
        yield from wrong(where, "spec.probe.httpGet.port", port(probe.http_get.port))
        if probe.http_get.scheme not in {"", "HTTP", "HTTPS"}:
            message = f"expected HTTP or HTTPS, found {probe.http_get.scheme!r}"
            yield from wrong(where, "spec.probe.httpGet.scheme", message)
    if probe.tcp_socket is not None:
        yield from wrong(where, "spec.probe.tcpSocket.port", port(probe.tcp_socket.port))
    if probe.exec is not None and not probe.exec.command:
        yield from wrong(where, "spec.probe.exec.command", "expected a command, found nothing")
