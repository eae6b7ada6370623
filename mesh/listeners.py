"""The listeners of a sidecar: where its applications' connections are taken, and where bytes go.

Which place a port has depends on the service alone; of the traffic policy only what holds for a whole
connection acts here (istio.md 1.2, ``connectionPool.tcp``): the rest is the cluster's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from mesh.interning import Recall, gathered
from mesh.kinds.destination_rule import TrafficPolicy as Written
from mesh.names import ObjectKey
from mesh.services import Port, Protocol, Service
from mesh.traffic import Rule, general_policy
from mesh.views import Forwarding, HttpListener, OutboundListener, TcpListener, TrafficPolicy

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 (Istio's name for listeners that take every destination)
# What a proxy listens to itself, on every address: its admin port, both captures, probes, readiness, DNS and
# metrics. Envoy refuses a second listener there. Istio, ``conflictWithReservedListener``.
RESERVED_PORTS = frozenset({15000, 15001, 15006, 15020, 15021, 15053, 15090})
Listeners = tuple[OutboundListener, ...]


def listeners(
    services: tuple[Service, ...], rules: Mapping[str, Rule | None], is_explicit: bool, recall: Recall
) -> Listeners:
    """The listeners of these services, sorted by port and address, one per place.

    Where HTTP and something else meet on ``0.0.0.0`` of one port, the listener looks at the bytes (istio.md
    2.8); of several TCP services without an address of their own on one port the first keeps it.
    """
    found: dict[tuple[int, str, int], OutboundListener] = {}
    for service in services:
        for listener in _remembered(service, rules[service.host], is_explicit, recall):
            if listener.address == ANY_ADDRESS and listener.port in RESERVED_PORTS:
                continue  # reported where registries are combined
            at = listener.port, listener.address, _length(listener)
            found[at] = recall.get(_together, found[at], listener) if at in found else listener
    return recall.get(gathered, *(found[at] for at in sorted(found)))


def _remembered(service: Service, rule: Rule | None, is_explicit: bool, recall: Recall) -> Listeners:
    """By what of the rule stays the same object when another one changes."""
    if rule is None or rule.policy is None or all(port.protocol.is_http for port in service.ports):
        return recall.get(_of_service, service, is_explicit)
    return recall.get(_of_service, service, is_explicit, rule.policy, *rule.sources)


def _of_service(
    service: Service, is_explicit: bool, written: Written | None = None, *sources: ObjectKey
) -> Listeners:
    bind = _bound if is_explicit else _captured
    return tuple(
        listener
        for port in service.ports
        for listener in bind(service, port, _forwarding(service, port, written, sources))
    )


def _forwarding(
    service: Service, port: Port, written: Written | None, sources: tuple[ObjectKey, ...]
) -> Forwarding:
    policy = general_policy(written, port.number)
    tcp = policy.connection_pool.tcp if policy.connection_pool else None
    by_source = _is_by_source(policy)
    acting = sources if tcp or by_source else ()
    return Forwarding(
        cluster=f"outbound|{port.number}||{service.host}",
        idle_timeout=tcp.idle_timeout if tcp else None,
        max_duration=tcp.max_connection_duration if tcp else None,
        by_source=by_source,
        says_bytes=port.protocol is Protocol.UNKNOWN and _is_mesh_tls(policy),
        sources=((service.source,) if service.source else ()) + acting,
    )


def _is_by_source(policy: TrafficPolicy) -> bool:
    """A connection has no other hash key. Istio, ``maybeSetHashPolicy``."""
    hashing = policy.load_balancer.consistent_hash if policy.load_balancer else None
    return hashing is not None and bool(hashing.use_source_ip)


def _is_mesh_tls(policy: TrafficPolicy) -> bool:
    """Servers of somebody else's may end a handshake that offers what they do not know."""
    return policy.tls is None or policy.tls.mode not in ("SIMPLE", "MUTUAL")


def _length(listener: OutboundListener) -> int:
    """Blocks of different length are different places, though they begin at one address."""
    return (listener.prefix_length or 0) if isinstance(listener, TcpListener) else 0


def _together(first: OutboundListener, second: OutboundListener) -> OutboundListener:
    match first, second:
        case (HttpListener() as http, TcpListener(to=to)) | (TcpListener(to=to), HttpListener() as http):
            return HttpListener(
                address=http.address,
                port=http.port,
                routes=http.routes,
                is_bound=http.is_bound,
                is_sniffing=True,
                otherwise=http.otherwise or to,
            )
        case HttpListener(is_sniffing=False), HttpListener(is_sniffing=True):
            return second
        case _:
            return first


def _captured(service: Service, port: Port, to: Forwarding) -> Iterator[OutboundListener]:
    if port.protocol.is_http:
        yield HttpListener(address=ANY_ADDRESS, port=port.number, routes=str(port.number), is_bound=False)
    elif port.protocol is Protocol.UNKNOWN:
        everywhere = is_sniffed_everywhere(service, port)
        for address in (ANY_ADDRESS,) if everywhere else _single_addresses(service):
            yield HttpListener(
                address=address,
                port=port.number,
                routes=str(port.number) if everywhere else _own_table(service, port),
                is_bound=False,
                is_sniffing=True,
                otherwise=to,
            )
    elif port.protocol is not Protocol.UDP:
        for address in service.addresses or (ANY_ADDRESS,):
            host, _, length = address.partition("/")
            yield TcpListener(
                address=host,
                prefix_length=int(length) if length else None,
                port=port.number,
                to=to,
                is_bound=False,
            )


def _bound(service: Service, port: Port, to: Forwarding) -> Iterator[OutboundListener]:
    """Without capture: a service with a loopback address is listened for right there."""
    for address in _single_addresses(service):
        if not ipaddress.ip_address(address).is_loopback or port.protocol is Protocol.UDP:
            continue
        if port.protocol.is_http:
            yield HttpListener(address=address, port=port.number, routes=str(port.number), is_bound=True)
        elif port.protocol is Protocol.UNKNOWN:
            yield HttpListener(
                address=address,
                port=port.number,
                routes=_own_table(service, port),
                is_bound=True,
                is_sniffing=True,
                otherwise=to,
            )
        else:
            yield TcpListener(address=address, prefix_length=None, port=port.number, to=to, is_bound=True)


def _own_table(service: Service, port: Port) -> str:
    return f"{service.host}:{port.number}"


def _single_addresses(service: Service) -> tuple[str, ...]:
    return tuple(address for address in service.addresses if "/" not in address)


def is_sniffed_everywhere(service: Service, port: Port) -> bool:
    """A port of unknown protocol whose service has no address of its own to be told by."""
    return port.protocol is Protocol.UNKNOWN and not _single_addresses(service)
