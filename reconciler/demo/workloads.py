"""Who runs in the demo: read from the WorkloadEntries of its own copy of the example."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mesh.documents import parse_file
from mesh.errors import Misconfigured
from mesh.identity import SpiffeId
from mesh.proxies import Role

TRUST_DOMAIN = "cluster.local"
LOOPBACK = "127.0.0.1"

_HTTP_PROXY_ABOVE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyPorts:
    """A proxy's own ports (DESIGN 3.3). They are on its own address, so all proxies may have the same."""

    admin: int = 15000
    readiness: int = 15021
    metrics: int = 15090

    def shifted(self, by: int) -> ProxyPorts:
        """The same further on: a proxy of another mesh may have these on all addresses."""
        return ProxyPorts(admin=self.admin + by, readiness=self.readiness + by, metrics=self.metrics + by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One instance and its proxy. ``port`` is where its program listens; a gateway has none: 0.

    ``own_address`` is where its proxy has the ports of its own, where that is another address.
    """

    name: str
    namespace: str
    address: str
    labels: Mapping[str, str]
    service_account: str
    port: int
    proxy_ports: ProxyPorts
    own_address: str = ""

    @property
    def role(self) -> Role:
        return Role.SIDECAR if self.port else Role.GATEWAY

    @property
    def identity(self) -> SpiffeId:
        return SpiffeId(TRUST_DOMAIN, self.namespace, self.service_account)

    @property
    def place(self) -> str:
        """Where others call it."""
        return f"{self.address}:{self.port}"

    @property
    def http_proxy_port(self) -> int:
        """Where its program finds the mesh. Its own: proxies listen for programs on 127.0.0.1."""
        return self.port + _HTTP_PROXY_ABOVE if self.port else 0

    @property
    def sockets(self) -> tuple[tuple[str, int], ...]:
        """Where it and its proxy listen."""
        ports = self.proxy_ports
        own = tuple(
            (self.own_address or self.address, port) for port in (ports.admin, ports.readiness, ports.metrics)
        )
        if not self.port:
            return own
        return (*own, (self.address, self.port), (LOOPBACK, self.port), (LOOPBACK, self.http_proxy_port))


@dataclass(frozen=True, slots=True)
class Cast:
    """All workloads of the demo, and where the world comes in."""

    workloads: tuple[Workload, ...]
    url: str

    @property
    def sockets(self) -> tuple[tuple[str, int], ...]:
        """Everything that must be free for the demo to run."""
        gateway = urlsplit(self.url)
        return (
            (gateway.hostname or LOOPBACK, gateway.port or 80),
            *(listener for workload in self.workloads for listener in workload.sockets),
        )


def read(files: Mapping[str, str], ports: ProxyPorts) -> Cast:
    """The workloads that ``files`` declare, by file and place in it, and the URL of their gateway."""
    workloads: list[Workload] = []
    urls: list[str] = []
    for document in documents(files):
        match document.get("kind"):
            case "WorkloadEntry":
                workloads.append(entry(document, ports))
            case "Gateway":
                urls.extend(_urls(document))
    if not workloads or not urls:
        raise Misconfigured(
            "the example declares no WorkloadEntry or no Gateway", hint="look at examples/bookinfo"
        )
    return Cast(tuple(workloads), urls[0])


def documents(files: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    """The documents of an example's YAML files, in order."""
    for name, text in files.items():
        if not name.endswith(".yaml"):
            continue
        found, problems = parse_file(name, text.encode())
        if problems:
            raise Misconfigured(f"the example cannot be read: {problems[0].message}", hint=f"look at {name}")
        yield from (document.data for document in found)


def entry(data: Mapping[str, Any], ports: ProxyPorts) -> Workload:
    """The workload of a WorkloadEntry."""
    spec = data["spec"]
    return Workload(
        name=data["metadata"]["name"],
        namespace=data["metadata"]["namespace"],
        address=spec["address"],
        labels=spec["labels"],
        service_account=spec["serviceAccount"],
        port=spec.get("ports", {}).get("http", 0),
        proxy_ports=ports,
    )


def _urls(data: Mapping[str, Any]) -> list[str]:
    return [
        f"http://{server['bind']}:{server['port']['number']}/productpage"
        for server in data["spec"]["servers"]
    ]
