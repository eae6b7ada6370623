"""ServiceEntry: a service that no registry knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from mesh.kinds.kind import Kind, Text, Texts, Unsigned
from mesh.kinds.rules import (
    HTTP_PROTOCOLS,
    TLS_PROTOCOLS,
    UNIX_PREFIX,
    below,
    domain,
    each,
    export_to,
    ip_block,
    port,
    port_name,
    protocol,
    selector,
    wildcard_domain,
    wrong,
)
from mesh.kinds.selectors import WorkloadSelector
from mesh.kinds.verdicts import Verdicts, words
from mesh.kinds.workload import WorkloadEntry, check_endpoint
from mesh.places import Place
from mesh.problems import Problem

Location = Literal["MESH_EXTERNAL", "MESH_INTERNAL"]
Resolution = Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]


class ServicePort(Kind):
    """Istio, "ServicePort"."""

    number: Unsigned
    protocol: Text = ""
    name: Text
    target_port: Unsigned = 0


class ServiceEntry(Kind):
    """Istio, "ServiceEntry"."""

    hosts: Texts
    addresses: Texts = ()
    ports: tuple[ServicePort, ...] = ()
    location: Location = "MESH_EXTERNAL"
    resolution: Resolution = "NONE"
    endpoints: tuple[WorkloadEntry, ...] = ()
    workload_selector: WorkloadSelector | None = None
    export_to: Texts = ()
    subject_alt_names: Texts = ()


VERDICTS = Verdicts(
    carried_out=words("""
        hosts addresses ports location resolution exportTo subjectAltNames workloadSelector endpoints
    """),
)
SUPPORTED_RESOLUTIONS = ("STATIC", "DNS")


def check(entry: ServiceEntry, where: Place) -> Iterator[Problem]:
    """Istio, ``ValidateServiceEntry``."""
    yield from _hosts(entry, where)
    yield from each(where, "spec.addresses", entry.addresses, ip_block)
    yield from _ports(entry, where)
    yield from _resolution(entry, where)
    yield from _endpoints(entry, where)
    if entry.workload_selector is not None:
        labels = entry.workload_selector.labels
        yield from selector(
            where, "spec.workloadSelector.labels", labels, "every workload entry of the namespace"
        )
        if entry.endpoints:
            yield from wrong(
                where, "spec.workloadSelector", "only one of workloadSelector and endpoints can be set"
            )
    namespace = where.object.namespace if where.object else ""
    yield from export_to(where, namespace, entry.export_to, nobody=True)


def _hosts(entry: ServiceEntry, where: Place) -> Iterator[Problem]:
    if not entry.hosts:
        yield from wrong(where, "spec.hosts", "expected at least one host, found none")
    for index, host in enumerate(entry.hosts):
        path = f"spec.hosts[{index}]"
        if host == "*":
            yield from wrong(where, path, "the hostname cannot be the wildcard '*' alone")
        elif found := wildcard_domain(host):
            yield from wrong(where, path, found)
        elif host.startswith("*") and not host.startswith("*."):
            yield where.problem(
                "IST0133", path, f"{host!r} is a partial wildcard, which Envoy does not match"
            )


def _ports(entry: ServiceEntry, where: Place) -> Iterator[Problem]:
    names: set[str] = set()
    numbers: set[int] = set()
    for index, service_port in enumerate(entry.ports):
        at = f"spec.ports[{index}]"
        if service_port.name in names:
            yield from wrong(where, f"{at}.name", f"the port name {service_port.name!r} appears twice")
        if service_port.number in numbers:
            yield from wrong(
                where, f"{at}.number", f"the port number cannot be duplicated: {service_port.number}"
            )
        names.add(service_port.name)
        numbers.add(service_port.number)
        yield from wrong(where, f"{at}.name", port_name(service_port.name))
        yield from wrong(where, f"{at}.number", port(service_port.number))
        yield from wrong(where, f"{at}.protocol", protocol(service_port.protocol))
        if service_port.protocol.upper() == "UDP":
            yield where.problem(
                "MW0004", f"{at}.protocol", "protocol 'UDP' is not supported yet", "remove the port"
            )
        if service_port.target_port:
            yield from wrong(where, f"{at}.targetPort", port(service_port.target_port))


def _resolution(entry: ServiceEntry, where: Place) -> Iterator[Problem]:
    if entry.resolution not in SUPPORTED_RESOLUTIONS:
        message = f"resolution {entry.resolution!r} is not supported yet"
        yield where.problem("MW0004", "spec.resolution", message, "use STATIC with endpoints, or DNS")
    if entry.resolution == "NONE" and entry.endpoints:
        yield from wrong(where, "spec.endpoints", "resolution NONE takes no endpoints")
    if entry.resolution == "DNS_ROUND_ROBIN" and len(entry.endpoints) > 1:
        yield from wrong(where, "spec.endpoints", "resolution DNS_ROUND_ROBIN takes at most one endpoint")
    if entry.resolution not in {"NONE", "STATIC"} and any("/" in address for address in entry.addresses):
        message = "CIDR addresses are allowed only for NONE/STATIC resolution types"
        yield from wrong(where, "spec.addresses", message)
    if entry.resolution in {"DNS", "DNS_ROUND_ROBIN"} and not entry.endpoints and not entry.workload_selector:
        for index, host in enumerate(entry.hosts):
            if host != "*" and (found := domain(host)):
                message = f"without endpoints the host itself is resolved: {found}"
                yield from wrong(where, f"spec.hosts[{index}]", message)
    yield from _several_hosts(entry, where)


def _endpoints(entry: ServiceEntry, where: Place) -> Iterator[Problem]:
    names = {service_port.name for service_port in entry.ports}
    for index, endpoint in enumerate(entry.endpoints):
        at = f"spec.endpoints[{index}]"
        yield from check_endpoint(endpoint, where, at, may_be_name=entry.resolution != "STATIC")
        for name in endpoint.ports:
            if name not in names:
                message = f"port {name!r} is not a port of the service entry"
                yield from wrong(where, below(f"{at}.ports", name), message)
        if endpoint.address.startswith(UNIX_PREFIX) and len(entry.ports) != 1:
            yield from wrong(where, f"{at}.address", "a unix socket needs exactly one service port")


def _several_hosts(entry: ServiceEntry, where: Place) -> Iterator[Problem]:
    """Nothing in a plain TCP stream says which of several hosts it is for."""
    if entry.resolution == "NONE" or len(entry.hosts) < 2:
        return
    for index, service_port in enumerate(entry.ports):
        if service_port.protocol.upper() not in HTTP_PROTOCOLS | TLS_PROTOCOLS:
            message = "several hosts need ports with an HTTP or TLS protocol"
            yield from wrong(where, f"spec.ports[{index}].protocol", message)
            break
