"""The route tables and listeners of a sidecar: what its applications can call, and by which names.

Every step is remembered by what it depends on: virtual hosts by VirtualService and the services it sends
to, tables by their virtual hosts, listeners by service. Order is decided here, on domain values: by host
name, then port.
"""

from __future__ import annotations

import ipaddress
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mesh.config import ConfigObject
from mesh.interning import Recall, gathered, number
from mesh.kinds.virtual_service import VirtualService
from mesh.routing import (
    ANYONE,
    Client,
    distinct,
    known,
    routes,
    service_host,
    tells_clients_apart,
    unknown_host,
)
from mesh.services import Port, Protocol, Service
from mesh.traffic import Rule
from mesh.views import (
    HttpListener,
    OutboundListener,
    Passthrough,
    Route,
    RouteTable,
    TcpListener,
    VirtualHost,
)
from mesh.visibility import HostIndex, Visible

HTTP_PROXY = "http_proxy"
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 (Istio's name for listeners that take every destination)
DOMAIN = "cluster.local"
Rules = Mapping[str, Rule | None]
Listeners = tuple[OutboundListener, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Everything that the route tables of one facet are made of."""

    seen: Visible
    rules: Rules
    claims: HostIndex
    client: Client
    beyond: Passthrough


def captured_tables(inputs: Inputs, recall: Recall) -> tuple[RouteTable, ...]:
    """Under capture: one table per HTTP port, and one per sniffed port of a service with addresses."""
    return recall.get(gathered, *_Tables(inputs, recall).captured())


def explicit_tables(inputs: Inputs, bound: Listeners, recall: Recall) -> tuple[RouteTable, ...]:
    """Without capture: the HTTP proxy's table, and those of explicitly bound listeners."""
    return recall.get(gathered, *_Tables(inputs, recall).explicit(bound))


class _Tables:
    """Makes the route tables of one facet. Lives for one call."""

    def __init__(self, inputs: Inputs, recall: Recall) -> None:
        self._seen, self._rules, self._client = inputs.seen, inputs.rules, inputs.client
        self._claims, self._beyond = inputs.claims, inputs.beyond
        self._recall = recall

    def captured(self) -> Iterator[RouteTable]:
        """Under capture: one table per HTTP port, and one per sniffed port of a service with addresses."""
        by_port: defaultdict[int, list[VirtualHost]] = defaultdict(list)
        for service in self._seen.services:
            for port in service.ports:
                if port.protocol.is_http or _is_sniffed_everywhere(service, port):
                    by_port[port.number].append(self._host(service, port, with_port=False))
                elif port.protocol is Protocol.UNKNOWN:
                    host = self._host(service, port, with_port=False)
                    yield self._table(f"{service.host}:{port.number}", [host])
        by_port[80] += self._unknown(with_port=False)
        for number_ in sorted(number_ for number_, hosts in by_port.items() if hosts):
            yield self._table(str(number_), by_port[number_])

    def explicit(self, bound: Listeners) -> Iterator[RouteTable]:
        """Without capture: the HTTP proxy's table, and those of explicitly bound listeners."""
        wanted = {listener.routes for listener in bound if isinstance(listener, HttpListener)}
        for table in self.captured():
            if table.name in wanted:
                yield table
        hosts = [
            self._host(service, port, with_port=True)
            for service in self._seen.services
            for port in service.ports
            if port.protocol.is_http or port.protocol is Protocol.UNKNOWN
        ]
        yield self._table(HTTP_PROXY, [*hosts, *self._unknown(with_port=True)])

    def _table(self, name: str, hosts: Iterable[VirtualHost]) -> RouteTable:
        members: tuple[VirtualHost, ...] = self._recall.get(gathered, *distinct(hosts))
        return self._recall.get(_table, sys.intern(name), self._beyond, members)

    def _host(self, service: Service, port: Port, *, with_port: bool) -> VirtualHost:
        virtual = self._claims.claiming(service.host)
        made = self._routes(virtual, port.number) if virtual is not None else ()
        owner = service.key.namespace
        return self._recall.get(
            service_host,
            service,
            port,
            self._rules[service.host],
            made or None,
            owner if owner == self._client.namespace else "",
            DOMAIN,
            with_port,
        )

    def _routes(self, virtual: ConfigObject[VirtualService], port: int) -> tuple[Route, ...]:
        """Clients for whom the VirtualService is the same share its routes (and their bytes)."""
        client = self._client if self._recall.get(tells_clients_apart, virtual) else ANYONE
        deps = known(virtual, self._seen.by_host, self._rules, self._recall)
        return self._recall.get(routes, virtual, client, number(port), *deps)

    def _unknown(self, *, with_port: bool) -> Iterator[VirtualHost]:
        """Names that only a VirtualService knows are served on port 80 (istio.md 2.1)."""
        for host in sorted(self._claims.exact):
            if host in self._seen.by_host:
                continue
            made = self._routes(self._claims.exact[host], 80)
            if made:
                yield self._recall.get(unknown_host, sys.intern(host), number(80), made, with_port)


def _table(name: str, beyond: Passthrough, hosts: tuple[VirtualHost, ...]) -> RouteTable:
    return RouteTable(name=name, virtual_hosts=hosts, fallback=beyond)


def listeners(services: tuple[Service, ...], is_explicit: bool) -> tuple[OutboundListener, ...]:
    """The listeners of these services, sorted by port and address, one per place.

    Where HTTP and something else meet on ``0.0.0.0`` of one port, the listener looks at the bytes (istio.md
    2.8); of several TCP services without an address of their own on one port the first keeps it.
    """
    found: dict[tuple[int, str], OutboundListener] = {}
    for service in services:
        for port in service.ports:
            for listener in _bound(service, port) if is_explicit else _captured(service, port):
                at = listener.port, listener.address
                found[at] = _together(found[at], listener) if at in found else listener
    return tuple(found[at] for at in sorted(found))


def _together(first: OutboundListener, second: OutboundListener) -> OutboundListener:
    match first, second:
        case (HttpListener() as http, TcpListener(cluster=cluster)) | (
            TcpListener(cluster=cluster),
            HttpListener() as http,
        ):
            return HttpListener(
                address=http.address,
                port=http.port,
                routes=http.routes,
                is_bound=http.is_bound,
                is_sniffing=True,
                tcp_cluster=http.tcp_cluster or cluster,
            )
        case HttpListener(is_sniffing=False), HttpListener(is_sniffing=True):
            return second
        case _:
            return first


def _captured(service: Service, port: Port) -> Iterator[OutboundListener]:
    cluster = f"outbound|{port.number}||{service.host}"
    if port.protocol.is_http:
        yield HttpListener(address=ANY_ADDRESS, port=port.number, routes=str(port.number), is_bound=False)
    elif port.protocol is Protocol.UNKNOWN:
        everywhere = _is_sniffed_everywhere(service, port)
        for address in (ANY_ADDRESS,) if everywhere else _single_addresses(service):
            yield HttpListener(
                address=address,
                port=port.number,
                routes=str(port.number) if everywhere else f"{service.host}:{port.number}",
                is_bound=False,
                is_sniffing=True,
                tcp_cluster=cluster,
            )
    elif port.protocol is not Protocol.UDP:
        for address in service.addresses or (ANY_ADDRESS,):
            host, _, length = address.partition("/")
            yield TcpListener(
                address=host,
                prefix_length=int(length) if length else None,
                port=port.number,
                cluster=cluster,
                is_bound=False,
                source=service.source,
            )


def _bound(service: Service, port: Port) -> Iterator[OutboundListener]:
    """Without capture: a service with a loopback address is listened for right there."""
    for address in _single_addresses(service):
        if not ipaddress.ip_address(address).is_loopback or port.protocol is Protocol.UDP:
            continue
        if port.protocol.is_http:
            yield HttpListener(address=address, port=port.number, routes=str(port.number), is_bound=True)
        else:
            yield TcpListener(
                address=address,
                prefix_length=None,
                port=port.number,
                cluster=f"outbound|{port.number}||{service.host}",
                is_bound=True,
                source=service.source,
            )


def _single_addresses(service: Service) -> tuple[str, ...]:
    return tuple(address for address in service.addresses if "/" not in address)


def _is_sniffed_everywhere(service: Service, port: Port) -> bool:
    """A port of unknown protocol whose service has no address of its own to be told by."""
    return port.protocol is Protocol.UNKNOWN and not _single_addresses(service)
