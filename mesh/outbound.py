"""The route tables of a sidecar: what its applications can call, and by which names.

Every step is remembered by what it depends on: virtual hosts by VirtualService and the services it sends
to, tables by their virtual hosts. Order is decided here, on domain values: by host name, then port.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mesh.config import ConfigObject
from mesh.interning import Recall, gathered, number
from mesh.kinds.virtual_service import VirtualService
from mesh.listeners import Listeners, is_sniffed_everywhere
from mesh.names import host_matches, is_wildcard
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
    Passthrough,
    Route,
    RouteTable,
    VirtualHost,
)
from mesh.visibility import HostIndex, Visible

HTTP_PROXY = "http_proxy"
DOMAIN = "cluster.local"
Rules = Mapping[str, Rule | None]


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
                if port.protocol.is_http or is_sniffed_everywhere(service, port):
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
        """Names that only a VirtualService knows are served on port 80 (istio.md 2.1).

        A wildcard that some service matches speaks for those services alone. Istio,
        ``separateVSHostsAndServices``.
        """
        for host in sorted(self._claims.exact):
            if host in self._seen.by_host or (is_wildcard(host) and self._is_of_services(host)):
                continue
            made = self._routes(self._claims.exact[host], 80)
            if made:
                yield self._recall.get(unknown_host, sys.intern(host), number(80), made, with_port)

    def _is_of_services(self, wildcard: str) -> bool:
        return any(host_matches(wildcard, known_host) for known_host in self._seen.by_host)


def _table(name: str, beyond: Passthrough, hosts: tuple[VirtualHost, ...]) -> RouteTable:
    return RouteTable(name=name, virtual_hosts=hosts, fallback=beyond)
