"""Route tables: VirtualServices brought together with the services they route to.

A table is a value made of virtual hosts, each made of what it depends on alone: one VirtualService, the
port, and the services and rules of the hosts it sends requests to. So a change to one of them makes one
virtual host anew and leaves the others the same objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mesh.config import ConfigObject
from mesh.interning import Recall
from mesh.kinds.destination_rule import LoadBalancerSettings
from mesh.kinds.virtual_service import Destination as Written
from mesh.kinds.virtual_service import HTTPMatchRequest, HTTPRoute, HTTPRouteDestination, VirtualService
from mesh.labels import Labels, selects
from mesh.names import MESH_GATEWAY, is_wildcard, resolve, short_forms
from mesh.services import Port, Service
from mesh.traffic import Rule, policy
from mesh.views import Destination, Route, VirtualHost
from mesh.visibility import destination_hosts

MILLION = 1_000_000
Known = tuple[Service | None, Rule | None]
"""What is known of one destination host: the service and the rule in force for it."""


@dataclass(frozen=True, slots=True)
class Client:
    """For whom a table is made: which matches of a VirtualService concern it at all.

    ``gateway`` is ``mesh`` for sidecars, else ``namespace/name`` of the Gateway.
    """

    namespace: str
    labels: Labels = ()
    gateway: str = MESH_GATEWAY

    def concerns(self, match: HTTPMatchRequest, port: int, owner: str) -> bool:
        """Whether this match can hold here; ports, labels and gateways are decided before Envoy asks."""
        if match.port and match.port != port:
            return False
        if match.gateways and self.gateway not in {gateway_name(name, owner) for name in match.gateways}:
            return False
        if match.source_namespace and match.source_namespace != self.namespace:
            return False
        return selects(match.source_labels.pairs, self.labels)


ANYONE = Client("")
"""Stands for every sidecar where a VirtualService does not tell them apart."""


def tells_clients_apart(virtual: ConfigObject[VirtualService]) -> bool:
    """Whether the routes depend on whose they are: by labels, namespace or gateway."""
    return any(
        match.source_labels or match.source_namespace or match.gateways
        for written in virtual.spec.http
        for match in written.match
    )


def gateway_name(name: str, owner: str) -> str:
    """``mesh`` and ``ns/name`` stay; ``name`` and ``./name`` are of the VirtualService's namespace.

    ``name.ns`` and longer are Istio's old spelling (``resolveGatewayName``).
    """
    if name == MESH_GATEWAY:
        return name
    namespace, slash, short = name.partition("/")
    if slash:
        return f"{owner}/{short}" if namespace == "." else name
    short, dot, rest = name.partition(".")
    return f"{rest.partition('.')[0]}/{short}" if dot else f"{owner}/{name}"


def known(
    virtual: ConfigObject[VirtualService],
    services: Mapping[str, Service],
    rules: Mapping[str, Rule | None],
    recall: Recall,
) -> Iterator[object]:
    """Service and rule of every host the VirtualService sends to, flat: inputs of :func:`routes`."""
    for host in recall.get(destination_hosts, virtual):
        yield services.get(host)
        yield rules.get(host)


def routes(
    virtual: ConfigObject[VirtualService],
    client: Client,
    port: tuple[int],
    *deps: object,
) -> tuple[Route, ...]:
    """The routes of a VirtualService for a client, in the document's order.

    A route without a condition ends the list: what follows can never be reached (Istio drops it too).
    """
    hosts = destination_hosts(virtual)
    facts: dict[str, Known] = {
        host: (deps[2 * at], deps[2 * at + 1])  # type: ignore[misc]
        for at, host in enumerate(hosts)
    }
    made: list[Route] = []
    owner = virtual.key.namespace
    for written in virtual.spec.http:
        matches: list[HTTPMatchRequest | None] = [
            match for match in written.match if client.concerns(match, port[0], owner)
        ]
        if written.match and not matches:
            continue
        destinations = tuple(_destinations(written, owner, facts, port[0]))
        mirrors = tuple(_mirrors(written, owner, facts, port[0]))
        for match in matches or [None]:
            made.append(
                Route(
                    match=match,
                    spec=written,
                    destinations=destinations,
                    mirrors=mirrors,
                    name=_route_name(written, match),
                    source=virtual.key,
                )
            )
            if match is None or is_catch_all(match):
                return tuple(made)
    return tuple(made)


def is_catch_all(match: HTTPMatchRequest) -> bool:
    """Istio, ``isCatchAllMatch``: a uri that is everything, and no other condition for Envoy."""
    uri = match.uri
    everything = uri is None or uri.prefix == "/" or uri.regex in ("*", ".*")
    return everything and not (
        match.headers
        or match.without_headers
        or match.query_params
        or match.method
        or match.authority
        or match.scheme
    )


def _route_name(written: HTTPRoute, match: HTTPMatchRequest | None) -> str:
    """Istio: the route's name, with the match's behind a dot."""
    names = [name for name in (written.name, match.name if match else "") if name]
    return ".".join(names)


def _destinations(
    written: HTTPRoute, owner: str, facts: Mapping[str, Known], port: int
) -> Iterator[Destination]:
    targets = written.route
    if len(targets) > 1:
        targets = tuple(target for target in targets if target.weight)
    for target in targets:
        yield _destination(target.destination, target, owner, facts, port)


def _mirrors(
    written: HTTPRoute, owner: str, facts: Mapping[str, Known], port: int
) -> Iterator[tuple[Destination, int]]:
    if written.mirror is not None:
        share = MILLION
        if written.mirror_percentage is not None:
            share = written.mirror_percentage.value
        elif written.mirror_percent is not None:
            share = min(written.mirror_percent, 100) * 10_000
        yield _destination(written.mirror, None, owner, facts, port), share
    for mirror in written.mirrors:
        share = mirror.percentage.value if mirror.percentage is not None else MILLION
        yield _destination(mirror.destination, None, owner, facts, port), share


def _destination(
    written: Written,
    target: HTTPRouteDestination | None,
    owner: str,
    facts: Mapping[str, Known],
    port: int,
) -> Destination:
    host = resolve(written.host, owner)
    service, rule = facts[host]
    number = _port_number(written, service, port)
    settings = policy(rule, number, written.subset).load_balancer if number else None
    return Destination(
        host=host,
        port=number,
        subset=written.subset,
        weight=target.weight if target else 0,
        headers=target.headers if target else None,
        hash_by=_hashing(settings),
    )


def _hashing(settings: LoadBalancerSettings | None) -> LoadBalancerSettings | None:
    return settings if settings is not None and settings.consistent_hash is not None else None


def _port_number(written: Written, service: Service | None, port: int) -> int:
    """The port said, else the service's only one, else the one the request came for. 0: none.

    Istio, ``GetDestinationCluster``.
    """
    if service is None:
        return 0
    if written.port is not None and written.port.number:
        return written.port.number if service.port(written.port.number) else 0
    if len(service.ports) == 1:
        return service.ports[0].number
    return port if service.port(port) else 0


def default_route(service: Service, port: Port, rule: Rule | None) -> Route:
    """What a service gets that no VirtualService speaks of."""
    settings = policy(rule, port.number, "").load_balancer
    return Route(
        match=None,
        spec=None,
        destinations=(Destination(host=service.host, port=port.number, hash_by=_hashing(settings)),),
    )


def service_host(
    service: Service,
    port: Port,
    rule: Rule | None,
    virtual_routes: tuple[Route, ...] | None,
    own_namespace: str,
    domain: str,
    with_port: bool,
) -> VirtualHost:
    """The virtual host of one service port.

    ``own_namespace`` is set for clients of the service's own namespace, who may use its bare name.
    ``with_port``: names carry the port (the HTTP proxy's table).
    """
    # With the dot that ends an absolute name, as Istio (PILOT_ENABLE_ABSOLUTE_FQDN_VHOST_DOMAIN).
    absolute = () if is_wildcard(service.host) else (f"{service.host}.",)
    names = [service.host, *absolute, *short_forms(service.host, own_namespace, domain)]
    names += [address for address in service.addresses if "/" not in address]
    return VirtualHost(
        name=f"{service.host}:{port.number}",
        domains=tuple(_domains(names, port.number, with_port=with_port)),
        routes=virtual_routes if virtual_routes is not None else (default_route(service, port, rule),),
    )


def unknown_host(
    host: str,
    number: tuple[int],
    virtual_routes: tuple[Route, ...],
    with_port: bool,
) -> VirtualHost:
    """The virtual host of a name that only a VirtualService knows."""
    return VirtualHost(
        name=f"{host}:{number[0]}",
        domains=tuple(_domains([host], number[0], with_port=with_port)),
        routes=virtual_routes,
    )


def _domains(names: Iterable[str], port: int, *, with_port: bool) -> Iterator[str]:
    for name in dict.fromkeys(names):
        bracketed = f"[{name}]" if ":" in name else name
        if not with_port or port == 80:
            yield bracketed
        if with_port:
            yield f"{bracketed}:{port}"


def distinct(hosts: Iterable[VirtualHost]) -> Iterator[VirtualHost]:
    """Envoy refuses a table in which two virtual hosts claim one domain: the first keeps it."""
    taken: set[str] = set()
    for host in hosts:
        # Envoy compares them in lower case.
        free = tuple(domain for domain in host.domains if domain.lower() not in taken)
        taken.update(domain.lower() for domain in free)
        if free == host.domains:
            yield host
        elif free:
            yield VirtualHost(name=host.name, domains=free, routes=host.routes)
