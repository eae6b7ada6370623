"""The four views: everything that one kind of proxy is told, before it becomes Envoy's words.

A proxy's configuration is composed of facets (DESIGN D2); each facet is translated from one view.
All members are values that :mod:`mesh.scope` makes once and hands out again as the same object as
long as nothing in them changed, so translation is remembered by identity. Addresses of single
machines appear in :class:`HostView` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from mesh.config import ConfigObject
from mesh.kinds.authorization import AuthorizationPolicy
from mesh.kinds.destination_rule import (
    ConnectionPoolSettings,
    LoadBalancerSettings,
    OutlierDetection,
)
from mesh.kinds.gateway import Server
from mesh.kinds.tls import ClientTLSSettings
from mesh.kinds.virtual_service import Headers, HTTPMatchRequest, HTTPRetry, HTTPRoute
from mesh.labels import Labels
from mesh.names import ObjectKey
from mesh.networks import NOWHERE, Standpoint
from mesh.proxies import Interception
from mesh.services import Endpoint, Port, Service


class Passthrough(StrEnum):
    """What happens to traffic for names nobody declared. Istio, ``outboundTrafficPolicy.mode``."""

    ALLOW_ANY = "ALLOW_ANY"
    REGISTRY_ONLY = "REGISTRY_ONLY"


class MutualTls(StrEnum):
    """What a workload demands of its callers. Istio, ``PeerAuthentication.mtls.mode``."""

    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessLog:
    """Where and how requests are logged. Istio, ``MeshConfig.accessLogFile`` and its two sisters.

    ``format`` is empty for Istio's default line; ``json`` says that it is (or is read as) JSON.
    """

    path: str
    format: str = ""
    json: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The mesh-wide settings that shape resources. One object per config: interned by value."""

    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    root_namespace: str = "istio-system"
    access_log: AccessLog | None = None
    connect_timeout: timedelta = timedelta(seconds=10)
    protocol_detection_timeout: timedelta = timedelta(0)
    tcp_keepalive: tuple[int, timedelta | None, timedelta | None] | None = None
    """Probes, time, interval."""
    outbound_port: int = 15001
    inbound_port: int = 15006
    path_normalization: str = "BASE"
    default_retries: HTTPRetry | None = None
    """``None`` means Istio's own default: two attempts on connect-failure and its kin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficPolicy:
    """The traffic policy in force for one port of one destination (and subset), after all merging.

    ``None`` means that nobody said anything: the default of Istio holds.
    """

    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None
    """As written in a DestinationRule: replaces automatic mutual TLS."""
    sources: tuple[ObjectKey, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One outbound cluster: a service port, or a subset of it.

    ``auto_mutual_tls`` says that endpoints marked for it are spoken to with mutual TLS when the policy
    has no ``tls``. ``accounts`` are the SPIFFE URIs that may answer. ``endpoints`` stay out: the view
    of endpoints brings them, except for DNS services, whose few names are part of the cluster.
    """

    service: Service
    port: Port
    subset: str
    policy: TrafficPolicy
    auto_mutual_tls: bool
    accounts: tuple[str, ...]
    subset_labels: Labels = ()
    """What picks the subset's endpoints; empty for the destination as a whole."""
    dns_endpoints: tuple[Endpoint, ...] = ()
    is_passed_on: bool = False
    """An AUTO_PASSTHROUGH gateway's: mutual TLS that others speak goes through as it is."""

    @property
    def name(self) -> str:
        """As Istio calls it: ``outbound|9080|v1|reviews.bookinfo.svc.cluster.local``.

        Passed on, it is called what its clients ask for: ``outbound_.9080_.v1_.reviews…``.
        """
        mark = "_." if self.is_passed_on else "|"
        return mark.join(("outbound", str(self.port.number), self.subset, self.service.host))

    @property
    def sources(self) -> tuple[ObjectKey, ...]:
        declared = (self.service.source,) if self.service.source else ()
        return (*declared, *self.policy.sources)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a route sends a share of its requests. All names are full, all ports are known.

    ``port`` 0 marks a destination that leads nowhere (an unknown host, or no port could be chosen): it
    keeps its share, fails there and is reported as a problem. ``hash_by`` is the consistent-hash setting
    of the destination's policy: Envoy wants it on the route.
    """

    host: str
    port: int
    subset: str = ""
    weight: int = 0
    headers: Headers | None = None
    hash_by: LoadBalancerSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route: one match block of one HTTPRoute (``match`` ``None``: everything).

    ``spec`` ``None`` is the default route to a service that no VirtualService speaks of. ``mirrors`` are in
    the order of ``spec.mirror`` then ``spec.mirrors``; destination and parts per million.
    """

    match: HTTPMatchRequest | None
    spec: HTTPRoute | None
    destinations: tuple[Destination, ...]
    mirrors: tuple[tuple[Destination, int], ...] = ()
    name: str = "default"
    source: ObjectKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualHost:
    """One name and its routes in order. ``domains`` are exactly what Envoy shall match."""

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...]
    https_redirect: bool = False

    @property
    def sources(self) -> tuple[ObjectKey, ...]:
        return tuple(dict.fromkeys(route.source for route in self.routes if route.source))


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """One RouteConfiguration: ``name`` is the port (``9080``), ``http_proxy``, or Istio's gateway form.

    ``fallback`` says what a name in no virtual host gets; ``None`` (gateways): 404.
    """

    name: str
    virtual_hosts: tuple[VirtualHost, ...]
    fallback: Passthrough | None

    @property
    def sources(self) -> tuple[ObjectKey, ...]:
        return tuple(dict.fromkeys(source for host in self.virtual_hosts for source in host.sources))


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarding:
    """Where the bytes of a connection go, and what of the traffic policy holds for it as a whole."""

    cluster: str
    idle_timeout: timedelta | None = None
    """0: never."""
    max_duration: timedelta | None = None
    by_source: bool = False
    """The endpoint is chosen by the caller's address."""
    says_bytes: bool = False
    """The protocol is unknown, so the cluster offers HTTP as well: this connection must say it is none."""
    sources: tuple[ObjectKey, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpListener:
    """An outbound listener that reads requests and routes them by the table ``routes``."""

    address: str
    port: int
    routes: str
    is_bound: bool
    """False when traffic is redirected to it by 15001 (capture)."""
    is_sniffing: bool = False
    """True where the declared protocol is unknown: HTTP if it looks like it."""
    otherwise: Forwarding | None = None
    """Where what is not HTTP goes, if a service claims it."""

    @property
    def sources(self) -> tuple[ObjectKey, ...]:
        return self.otherwise.sources if self.otherwise else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpListener:
    """An outbound listener that forwards bytes to one service."""

    address: str
    """A virtual IP, or ``0.0.0.0`` for services without one."""
    prefix_length: int | None
    """Set when ``address`` is a CIDR: matched by the captured destination."""
    port: int
    to: Forwarding
    is_bound: bool

    @property
    def sources(self) -> tuple[ObjectKey, ...]:
        return self.to.sources


OutboundListener = HttpListener | TcpListener


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutboundView:
    """What the applications behind one kind of sidecar (or gateway) can call.

    For sidecars of ``NONE`` interception the HTTP proxy listener itself is part of the host view (its port
    is the machine's); its table ``http_proxy`` is here.
    """

    settings: Settings
    interception: Interception
    passthrough: Passthrough
    clusters: tuple[Cluster, ...]
    """Sorted by host, port, subset."""
    tables: tuple[RouteTable, ...]
    listeners: tuple[OutboundListener, ...]
    standpoint: Standpoint = NOWHERE
    """The network that its endpoints are reached from."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EndpointsView:
    """The endpoints of every EDS cluster of an outbound view, by cluster name.

    Tuples are the same object as long as no endpoint of that cluster changed.
    """

    by_cluster: dict[str, tuple[Endpoint, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """The authorization policies in force for one workload, by action, in order of name."""

    deny: tuple[ConfigObject[AuthorizationPolicy], ...] = ()
    allow: tuple[ConfigObject[AuthorizationPolicy], ...] = ()

    @property
    def sources(self) -> tuple[ObjectKey, ...]:
        return tuple(policy.key for policy in (*self.deny, *self.allow))


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundPort:
    """One port a workload answers on.

    ``port`` is the service's port, ``target`` where the application listens: it names the cluster
    ``inbound|<target>||``, as two services may share a number. ``pool`` is the connection pool of the
    service's DestinationRule: the only part of a traffic policy that acts inbound (istio.md 2.4).
    """

    target: int
    port: Port
    host: str
    mutual_tls: MutualTls
    pool: ConnectionPoolSettings | None = None
    sources: tuple[ObjectKey, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundView:
    """What one workload (or all that are equal in this) answers for, and whom it lets in."""

    settings: Settings
    interception: Interception
    ports: tuple[InboundPort, ...]
    """Sorted by target; one per target."""
    mutual_tls: MutualTls
    """For ports that nobody declared (capture only)."""
    authorization: Authorization
    namespace: str
    undeclared: tuple[tuple[int, MutualTls], ...] = ()
    """Single ports that no service declares, of which something else is demanded (capture only)."""

    @property
    def sources(self) -> tuple[ObjectKey, ...]:
        ports = (source for port in self.ports for source in port.sources)
        return tuple(dict.fromkeys((*ports, *self.authorization.sources)))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostView:
    """What only one machine's proxy must bind (interception ``NONE``): its address and HTTP proxy port.

    ``outbound_listeners`` (services with a loopback virtual IP, bound explicitly) are shared and stay in
    :class:`OutboundView`.
    """

    inbound: InboundView
    address: str
    http_proxy_port: int
    """0: none."""
    passthrough: Passthrough


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayServer:
    """One listener's worth of servers: plain HTTP servers of a port are one; each HTTPS server is its own.

    ``routes`` names the table. ``sni_hosts`` is empty for plain HTTP.
    """

    port: int
    bind: str
    server: Server
    routes: str
    sni_hosts: tuple[str, ...]
    source: ObjectKey
    secret: str = ""
    """The SDS name of its certificate: ``kubernetes://<credentialName>`` or ``file-cert:<cert>~<key>``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassingServer:
    """One AUTO_PASSTHROUGH server: connections go to where the name says that they ask for, unopened."""

    port: int
    bind: str
    source: ObjectKey
    passes: tuple[tuple[Cluster, Forwarding], ...]
    """By host, port and subset of the clusters."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GatewayView:
    """What one kind of gateway offers. Its clusters come by an outbound view without listeners."""

    settings: Settings
    servers: tuple[GatewayServer, ...]
    """Sorted by port, bind, name."""
    tables: tuple[RouteTable, ...]
    authorization: Authorization = Authorization()
    """Who may pass. Istio lets policies select gateways by their labels, as it does workloads."""
    passing: tuple[PassingServer, ...] = ()
