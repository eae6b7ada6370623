"""The edge: a gateway's servers, and the route tables of the VirtualServices bound to them.

Istio's rules (istio.md 2.13): plain HTTP servers of one port and bind address are one listener; each HTTPS
server has its own filter chain and table; a VirtualService binds to a server when it names the Gateway and
their hosts overlap, namespace prefixes included. Several VirtualServices for one host are put one after
another, catch-all routes last. Servers that pass TLS on unopened are in ``auto_passthrough.py``.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mesh.auto_passthrough import is_door
from mesh.config import Config, ConfigObject
from mesh.interning import Recall, gathered, number
from mesh.kinds.gateway import Gateway, Server
from mesh.kinds.virtual_service import VirtualService
from mesh.names import host_covers, host_matches, resolve
from mesh.routing import Client, gateway_name, is_catch_all, known, routes
from mesh.services import Protocol, protocol_of
from mesh.traffic import Rule, exported
from mesh.views import (
    GatewayServer,
    Route,
    RouteTable,
    VirtualHost,
)
from mesh.visibility import Visible

Rules = Mapping[str, Rule | None]


@dataclass(frozen=True, slots=True)
class _Claim:
    """One host of one server: ``namespace/host``, with ``*`` for any namespace."""

    gateway: ConfigObject[Gateway]
    namespace: str
    host: str
    redirects: bool

    def overlap(self, owner: str, host: str) -> str | None:
        """The narrower of the two hosts where a VirtualService of ``owner`` for ``host`` binds here."""
        if self.namespace not in ("*", owner) or not host_matches(self.host, host):
            return None
        return host if host_covers(self.host, host) else self.host


def servers(*chosen: ConfigObject[Gateway]) -> tuple[GatewayServer, ...]:
    """One per listener (plain HTTP) or filter chain (HTTPS).

    Envoy refuses a listener of which two chains want one name: of two HTTPS servers that share a host the
    first stays, and the other is left out whole. Istio, ``CheckDuplicates``.
    """
    found: dict[tuple[int, str, str], GatewayServer] = {}
    taken: defaultdict[tuple[int, str], set[str]] = defaultdict(set)
    for gateway, server, table in _each(chosen):
        is_tls = table.startswith("https.")
        hosts = tuple(dict.fromkeys(_split(host, gateway)[1] for host in server.hosts)) if is_tls else ()
        names = taken[server.port.number, server.bind]
        if not names.isdisjoint(hosts):
            continue
        names.update(hosts)
        found.setdefault(
            (server.port.number, server.bind, table),
            GatewayServer(
                port=server.port.number,
                bind=server.bind,
                server=server,
                routes=table,
                sni_hosts=hosts,
                source=gateway.key,
                secret=_secret(server) if is_tls else "",
            ),
        )
    return tuple(sorted(found.values(), key=lambda one: (one.port, one.bind, one.routes)))


def tables(
    config: Config,
    chosen: tuple[ConfigObject[Gateway], ...],
    namespace: str,
    seen: Visible,
    rules: Rules,
    recall: Recall,
) -> tuple[RouteTable, ...]:
    """The route tables of a gateway in ``namespace`` selected by these Gateways."""
    claims = recall.get(_claims, *chosen)
    made = _Tables(config, namespace, seen, rules, recall)
    return recall.get(gathered, *(made.table(name, claims[name]) for name in sorted(claims)))


def destinations(made: tuple[RouteTable, ...]) -> frozenset[str]:
    """Every host the tables send to: a gateway is told of no other cluster."""
    return frozenset(
        destination.host
        for table in made
        for virtual in table.virtual_hosts
        for route in virtual.routes
        for destination in (*route.destinations, *(mirror for mirror, _ in route.mirrors))
    )


def _each(chosen: Iterable[ConfigObject[Gateway]]) -> Iterator[tuple[ConfigObject[Gateway], Server, str]]:
    """Every server that reads requests, with the name of its route table. Istio, ``GatewayRDSRouteName``."""
    for gateway in chosen:
        for server in gateway.spec.servers:
            if is_door(server):
                continue
            port = server.port
            if protocol_of(port.protocol) is Protocol.HTTPS:
                name = f"https.{port.number}.{port.name}.{gateway.key.name}.{gateway.key.namespace}"
            else:
                name = f"http.{port.number}" + (f".{server.bind}" if server.bind else "")
            yield gateway, server, sys.intern(name)


def _secret(server: Server) -> str:
    """The name of the server's certificate in SDS. Istio, ``security/pkg/nodeagent``."""
    tls = server.tls
    if tls is None:
        return ""
    if tls.credential_name:
        return f"kubernetes://{tls.credential_name}"
    return f"file-cert:{tls.server_certificate}~{tls.private_key}"


def _split(host: str, gateway: ConfigObject[Gateway]) -> tuple[str, str]:
    namespace, slash, name = host.rpartition("/")
    if not slash:
        return "*", name
    return (gateway.key.namespace if namespace == "." else namespace), name


def _claims(*chosen: ConfigObject[Gateway]) -> dict[str, tuple[_Claim, ...]]:
    """The hosts claimed in each table."""
    found: defaultdict[str, list[_Claim]] = defaultdict(list)
    for gateway, server, table in _each(chosen):
        redirects = server.tls is not None and server.tls.https_redirect
        for host in server.hosts:
            namespace, name = _split(host, gateway)
            found[table].append(_Claim(gateway, namespace, name, redirects))
    return {table: tuple(claims) for table, claims in found.items()}


class _Tables:
    """Makes the route tables of one gateway. Lives for one call."""

    def __init__(self, config: Config, namespace: str, seen: Visible, rules: Rules, recall: Recall) -> None:
        self._namespace, self._seen, self._rules, self._recall = namespace, seen, rules, recall
        self._default_export = config.mesh_config.default_virtual_service_export_to or ("*",)
        self._written: tuple[ConfigObject[VirtualService], ...] = config.of("VirtualService")

    def table(self, name: str, claims: tuple[_Claim, ...]) -> RouteTable:
        port = int(name.split(".", 2)[1])
        by_domain: defaultdict[str, list[Route]] = defaultdict(list)
        redirecting: set[str] = set()
        for claim in claims:
            if claim.redirects:
                redirecting.add(claim.host)
                by_domain[claim.host] += ()
            for virtual, domain in self._bound(claim):
                by_domain[domain] += self._routes(virtual, claim, port)
        hosts = (
            self._recall.get(
                _virtual_host,
                sys.intern(domain),
                number(port),
                any(host_covers(host, domain) for host in redirecting),
                self._recall.get(gathered, *sorted(dict.fromkeys(found), key=_is_open)),
            )
            for domain, found in sorted(by_domain.items())
        )
        return self._recall.get(_table, name, self._recall.get(gathered, *hosts))

    def _bound(self, claim: _Claim) -> Iterator[tuple[ConfigObject[VirtualService], str]]:
        """The VirtualServices that name the claim's Gateway, with the host at which they meet it."""
        for virtual in self._written:
            owner = virtual.key.namespace
            named = {gateway_name(name, owner) for name in virtual.spec.gateways}
            if f"{claim.gateway.key.namespace}/{claim.gateway.key.name}" not in named:
                continue
            if not exported(virtual.spec.export_to or self._default_export, self._namespace, owner):
                continue
            for host in virtual.spec.hosts:
                domain = claim.overlap(owner, resolve(host, owner))
                if domain is not None:
                    yield virtual, domain

    def _routes(self, virtual: ConfigObject[VirtualService], claim: _Claim, port: int) -> tuple[Route, ...]:
        key = claim.gateway.key
        client = self._recall.get(
            Client, sys.intern(self._namespace), (), sys.intern(f"{key.namespace}/{key.name}")
        )
        deps = known(virtual, self._seen.by_host, self._rules, self._recall)
        return self._recall.get(routes, virtual, client, number(port), *deps)


def _is_open(route: Route) -> bool:
    """Catch-all routes of one VirtualService must not hide the routes of another for the same host."""
    return route.match is None or is_catch_all(route.match)


def _virtual_host(
    domain: str,
    port: tuple[int],
    redirects: bool,
    found: tuple[Route, ...],
) -> VirtualHost:
    return VirtualHost(name=f"{domain}:{port[0]}", domains=(domain,), routes=found, https_redirect=redirects)


def _table(name: str, hosts: tuple[VirtualHost, ...]) -> RouteTable:
    return RouteTable(name=name, virtual_hosts=hosts, fallback=None)
