"""Services, ports, workloads, endpoints, localities: what registries produce.

Everything here is a value. A :class:`Catalogue` is what all registries say together; it shares
its parts with the catalogue before it, so that ``is`` tells what changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import TypeVar

from mesh.by_namespace import ByNamespace
from mesh.labels import NO_LABELS, Labels
from mesh.names import ObjectKey
from mesh.problems import Problem


class Protocol(StrEnum):
    """What is spoken on a port. Istio, "Protocol Selection"."""

    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    GRPC = "GRPC"
    GRPC_WEB = "GRPC-WEB"
    HTTPS = "HTTPS"
    TLS = "TLS"
    TCP = "TCP"
    UDP = "UDP"
    UNKNOWN = ""

    @property
    def is_http(self) -> bool:
        """Whether a proxy reads requests on this port."""
        return self in (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB)

    @property
    def is_http2(self) -> bool:
        """Whether requests travel as HTTP/2 by declaration."""
        return self in (Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB)

    @property
    def is_tls(self) -> bool:
        """Whether the application itself speaks TLS here."""
        return self in (Protocol.HTTPS, Protocol.TLS)


# Istio, ``pkg/config/protocol``: the databases are TCP to a stock Envoy.
_OPAQUE = frozenset({"TCP", "MONGO", "REDIS", "MYSQL"})


def protocol_of(declared: str, port_name: str = "", number: int = 0) -> Protocol:
    """The protocol of a port: as declared, else by its name's prefix, else by its number.

    Istio, ``kube.ConvertProtocol``: 25, 53, 3306 and 27017 are servers that speak first.
    """
    name = port_name.upper()
    # The one prefix that holds a hyphen itself.
    prefix = Protocol.GRPC_WEB if name.startswith(Protocol.GRPC_WEB) else name.partition("-")[0]
    for word in (declared.upper(), prefix):
        if word in _OPAQUE:
            return Protocol.TCP
        if word and word in Protocol._value2member_map_:
            return Protocol(word)
    return Protocol.TCP if number in (25, 53, 3306, 27017) else Protocol.UNKNOWN


class Resolution(StrEnum):
    """How the endpoints of a service are found."""

    STATIC = "STATIC"
    DNS = "DNS"


class Provider(IntEnum):
    """What kind of registry says something, in order of trust: the first one named has the last word.

    Istio puts Kubernetes before everything else (``serviceregistry/aggregate``).
    """

    KUBERNETES = 0
    CONSUL = 1
    GIT = 2


GIT = "git"
"""The name of the registry that the repository itself is."""


class Location(StrEnum):
    """Whether the workloads of a service have proxies of this mesh."""

    EXTERNAL = "MESH_EXTERNAL"
    INTERNAL = "MESH_INTERNAL"


@dataclass(frozen=True, slots=True, order=True)
class ServiceKey:
    """A service is known by its host *and* the namespace that owns it: two may claim one host."""

    host: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.host}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One port of a service. ``target`` is where its workloads listen unless they say otherwise."""

    number: int
    name: str
    protocol: Protocol
    target: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A name that clients call.

    ``addresses`` are virtual IPs or CIDRs. ``selector`` picks workloads of the same namespace;
    ``None`` means that the endpoints were listed. ``export_to`` is already the mesh default when
    the object did not say.
    """

    key: ServiceKey
    ports: tuple[Port, ...]
    resolution: Resolution
    location: Location
    addresses: tuple[str, ...] = ()
    selector: Labels | None = None
    export_to: tuple[str, ...] = ("*",)
    subject_alt_names: tuple[str, ...] = ()
    labels: Labels = NO_LABELS
    source: ObjectKey | None = None
    created: datetime | None = None
    unit: str = ""
    """The unit of acceptance that declares it: stamps are compared within one only (``mesh/config.py``)."""
    provider: Provider = Provider.GIT
    registry: str = GIT
    """The registry that says so: a name out of ``Mesh.spec.registries``, or :data:`GIT`."""
    external_addresses: tuple[str, ...] = ()
    """Where it is reached from outside its cluster: those of a load balancer, and ``externalIPs``."""

    @property
    def host(self) -> str:
        return self.key.host

    def port(self, number: int) -> Port | None:
        return next((port for port in self.ports if port.number == number), None)


@dataclass(frozen=True, slots=True, order=True)
class Locality:
    """Region, zone and subzone; empty where unknown."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    @classmethod
    def parse(cls, text: str) -> Locality:
        """Istio writes ``region/zone/subzone``."""
        parts = (*text.split("/", 2), "", "", "")
        return cls(parts[0], parts[1], parts[2])

    def __str__(self) -> str:
        return f"{self.region}/{self.zone}/{self.subzone}".rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One place where one port of a service is served.

    ``address`` is an IP, or a DNS name when the service's resolution is DNS. ``mutual_tls`` says
    that a proxy of this mesh answers there (Istio's label ``security.istio.io/tlsMode``).
    """

    address: str
    port: int
    labels: Labels = NO_LABELS
    weight: int = 1
    service_account: str = ""
    namespace: str = ""
    locality: Locality = field(default_factory=Locality)
    mutual_tls: bool = False
    workload: str = ""
    source: ObjectKey | None = None
    """The object that declares it."""
    network: str = ""
    """The network that the address belongs to. Istio, ``topology.istio.io/network``."""
    is_draining: bool = False
    """Serves the requests that it has and gets no new ones."""


@dataclass(frozen=True, slots=True)
class ServiceEndpoints:
    """All endpoints of one service: service port number to endpoints, both in a fixed order.

    The object is replaced only when something in it changed.
    """

    by_port: Mapping[int, tuple[Endpoint, ...]]
    accounts: tuple[str, ...] = ()
    """The identities (SPIFFE URIs without trust domain: ``ns/<ns>/sa/<account>``) behind the service."""


NO_ENDPOINTS = ServiceEndpoints(MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One instance of an application, as the registries know it: where, who, and what it is called.

    ``ports`` are per-port overrides by port name.
    """

    name: str
    namespace: str
    address: str
    labels: Labels = NO_LABELS
    service_account: str = "default"
    ports: tuple[tuple[str, int], ...] = ()
    locality: Locality = field(default_factory=Locality)
    weight: int = 1
    mutual_tls: bool = True
    source: ObjectKey | None = None
    network: str = ""
    is_ready: bool = True
    """Whether a selector may send requests here: a Pod says so by its condition."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """One port that a workload answers for: the service, its port, and where the workload listens."""

    service: ServiceKey
    port: Port
    target: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkGateway:
    """A place where a network is entered. Istio, ``model.NetworkGateway``."""

    network: str
    address: str
    port: int
    locality: Locality | None = None
    """``None``: not said."""

    @property
    def order(self) -> tuple[str, str, int]:
        return self.network, self.address, self.port


V_co = TypeVar("V_co", covariant=True)


class ByService(ByNamespace[ServiceKey, V_co]):
    """By service; the name within a namespace is the host."""

    __slots__ = ()

    @staticmethod
    def _split(key: ServiceKey) -> tuple[str, str]:
        return key.namespace, key.host

    @staticmethod
    def _joined(namespace: str, name: str) -> ServiceKey:
        return ServiceKey(name, namespace)


class ByWorkload(ByNamespace[tuple[str, str], V_co]):
    """By namespace and name of a workload."""

    __slots__ = ()

    @staticmethod
    def _split(key: tuple[str, str]) -> tuple[str, str]:
        return key

    @staticmethod
    def _joined(namespace: str, name: str) -> tuple[str, str]:
        return namespace, name


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """What all registries say together. Compared by identity: a new one is made only on change."""

    services: ByService[Service] = field(default_factory=ByService)
    endpoints: ByService[ServiceEndpoints] = field(default_factory=ByService)
    workloads: ByWorkload[Workload] = field(default_factory=ByWorkload)
    inbound: ByWorkload[tuple[Inbound, ...]] = field(default_factory=ByWorkload)
    """What each workload answers for, in order of port."""
    behind: ByService[ServiceEndpoints] = field(default_factory=ByService)
    """What clusters need of the endpoints, and no more: the accounts of every service (``by_port`` empty),
    for DNS services all. The same object as long as only addresses come and go."""
    ties: tuple[Problem, ...] = ()
    """What registries disagree about, and how it was decided."""
    gateways: tuple[NetworkGateway, ...] = ()
    """Services that are gateways of networks, in order of these."""


EMPTY = Catalogue()
