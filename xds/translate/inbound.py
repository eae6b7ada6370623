"""LDS, inbound: which listeners callers of a workload reach, and what each port demands of them.

A port is a row of filter chains (:data:`CHAINS`), told apart by what a connection begins with. Under
capture all rows stand in one listener and are chosen by destination port; without capture each port is
bound at the machine's address. The first bytes are looked at only on ports where something depends
on them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from typing import Any

from mesh.proxies import Interception
from mesh.services import Protocol
from mesh.views import Authorization, HostView, InboundPort, InboundView, MutualTls, Settings
from xds import names
from xds.memo import Memo
from xds.resources import Resource
from xds.translate import access_logs, downstream_tls, http_connections, listener_filters, tcp_filters
from xds.translate.http_filters import Place, Side
from xds.translate.http_filters import chain as http_chain
from xds.translate.sockets import EVERYWHERE, bare_listener, chain, loop_stop


class Reads(Enum):
    """How much of the traffic of a port the proxy understands."""

    HTTP = auto()
    TCP = auto()
    EITHER = auto()
    """Nobody declared it: requests if it looks like them, else bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One filter chain of a port: what it takes, and what it does with it."""

    transport: str = ""
    """``tls``, ``raw_buffer``, or either."""
    offers: tuple[str, ...] = ()
    """One of these application protocols is offered; none said: any."""
    is_http: bool
    is_mesh: bool = False
    """It ends the mesh's mutual TLS here. TLS that is not the mesh's is the application's own."""

    @property
    def depends_on_tls(self) -> bool:
        return bool(self.transport)

    @property
    def depends_on_http(self) -> bool:
        return self.offers == _PLAIN_HTTP


_MESH_HTTP, _MESH_TCP = names.MESH_HTTP_OFFERS, names.MESH_TCP_OFFERS
_PLAIN_HTTP = ("http/1.1", "h2c")

# Istio, ``getFilterChainMatchOptions``. That a peer is of the mesh shows in the names it offers, and
# STRICT needs no such sign: whoever is not, fails the handshake.
CHAINS: dict[tuple[MutualTls, Reads], tuple[Shape, ...]] = {
    (MutualTls.STRICT, Reads.HTTP): (Shape(transport="tls", is_http=True, is_mesh=True),),
    (MutualTls.STRICT, Reads.TCP): (Shape(transport="tls", is_http=False, is_mesh=True),),
    (MutualTls.STRICT, Reads.EITHER): (
        Shape(transport="tls", offers=_MESH_HTTP, is_http=True, is_mesh=True),
        Shape(transport="tls", is_http=False, is_mesh=True),
    ),
    (MutualTls.PERMISSIVE, Reads.HTTP): (
        Shape(transport="tls", offers=(*_MESH_TCP, *_MESH_HTTP), is_http=True, is_mesh=True),
        Shape(transport="raw_buffer", is_http=True),
    ),
    (MutualTls.PERMISSIVE, Reads.TCP): (
        Shape(transport="tls", offers=(*_MESH_TCP, *_MESH_HTTP), is_http=False, is_mesh=True),
        Shape(is_http=False),
    ),
    (MutualTls.PERMISSIVE, Reads.EITHER): (
        Shape(transport="tls", offers=_MESH_HTTP, is_http=True, is_mesh=True),
        Shape(transport="raw_buffer", offers=_PLAIN_HTTP, is_http=True),
        Shape(transport="tls", offers=_MESH_TCP, is_http=False, is_mesh=True),
        Shape(transport="raw_buffer", is_http=False),
        Shape(transport="tls", is_http=False),
    ),
    (MutualTls.DISABLE, Reads.HTTP): (Shape(is_http=True),),
    (MutualTls.DISABLE, Reads.TCP): (Shape(is_http=False),),
    (MutualTls.DISABLE, Reads.EITHER): (
        Shape(transport="raw_buffer", offers=_PLAIN_HTTP, is_http=True),
        Shape(is_http=False),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Destination:
    """Where the chains of one port lead, and under which names."""

    cluster: str
    virtual_host: str
    statistics: str
    chains: dict[bool, str]
    """The name of a chain, by whether it reads requests."""
    http_idle: timedelta | None = None
    tcp_idle: timedelta | None = None


def inbound_listeners(view: InboundView, memo: Memo) -> Iterator[Resource]:
    """The one capturing listener. Without capture there is nothing that workloads could share."""
    if view.interception is not Interception.NONE:
        yield from memo.resource(names.VIRTUAL_INBOUND, virtual_inbound, view)


def bound_listeners(view: HostView, memo: Memo) -> Iterator[Resource]:
    """Without capture: each port at the machine's address, where callers look for it."""
    workload = view.inbound
    if workload.interception is Interception.NONE:
        for port in _ports(workload):
            name = names.listener(view.address, port.target)
            # The view may spell its address anew; the memo goes by identity.
            address = sys.intern(view.address)
            yield from memo.resource(
                name, bound_listener, address, port, workload.settings, workload.authorization
            )


def virtual_inbound(view: InboundView) -> Resource:
    """Takes every captured connection to the machine. Istio, ``virtualInbound``."""
    settings, ports = view.settings, tuple(_ports(view))
    listener = bare_listener(names.VIRTUAL_INBOUND, EVERYWHERE, settings.inbound_port, direction="INBOUND")
    if view.interception is Interception.TPROXY:
        listener.transparent.value = True
    listener.filter_chains.append(loop_stop(names.VIRTUAL_INBOUND, settings.inbound_port))
    build = _Chains(settings, view.authorization)
    for made in build(CHAINS[view.mutual_tls, Reads.EITHER], _ANY_PORT):
        listener.filter_chains.append(made)
    # Istio, ``ForPassthrough``: a demand on a port holds whether or not a service declares it.
    undeclared = [(port, CHAINS[mode, Reads.EITHER], _ANY_PORT) for port, mode in view.undeclared]
    declared = [(port.target, _shapes(port), _destination(port)) for port in ports]
    for number, shapes, destination in (*undeclared, *declared):
        for made in build(shapes, destination):
            made.filter_chain_match.destination_port.value = number
            listener.filter_chains.append(made)
    listener.listener_filters.extend(listener_filters.original_destination(view.interception))
    # An undeclared port may be anything, so both look, except where a declared one has no use for it.
    no_tls = [port.target for port in ports if not any(shape.depends_on_tls for shape in _shapes(port))]
    no_http = [port.target for port in ports if not any(shape.depends_on_http for shape in _shapes(port))]
    listener.listener_filters.append(listener_filters.tls_inspector(except_ports=no_tls))
    listener.listener_filters.append(listener_filters.http_inspector(except_ports=no_http))
    rows = (shapes for _, shapes, _ in (*undeclared, *declared))
    _write_patience(listener, settings, CHAINS[view.mutual_tls, Reads.EITHER], *rows)
    listener.access_log.extend(access_logs.unmatched(settings.access_log))
    return Resource.of(names.VIRTUAL_INBOUND, listener, sources=_sources(view.authorization, *ports))


def bound_listener(
    address: str, port: InboundPort, settings: Settings, authorization: Authorization
) -> Resource:
    """One port of one machine."""
    name, shapes = names.listener(address, port.target), _shapes(port)
    listener = bare_listener(name, address, port.target, direction="INBOUND")
    listener.filter_chains.extend(_Chains(settings, authorization)(shapes, _destination(port)))
    if any(shape.depends_on_tls for shape in shapes):
        listener.listener_filters.append(listener_filters.tls_inspector())
    if any(shape.depends_on_http for shape in shapes):
        listener.listener_filters.append(listener_filters.http_inspector())
    _write_patience(listener, settings, shapes)
    listener.access_log.extend(access_logs.unmatched(settings.access_log))
    return Resource.of(name, listener, sources=_sources(authorization, port))


def _write_patience(listener: Any, settings: Settings, *rows: tuple[Shape, ...]) -> None:
    """A server that speaks first may stand behind every chain that takes plain bytes."""
    takes_bytes = any(not shape.is_http and not shape.is_mesh for row in rows for shape in row)
    listener_filters.write_patience(listener, settings.protocol_detection_timeout, may_go_on=takes_bytes)


class _Chains:
    """Makes the filter chains of one workload: what all its ports have in common is made once."""

    def __init__(self, settings: Settings, authorization: Authorization) -> None:
        self._settings = settings
        self._guards = tcp_filters.guards(authorization, downstream_tls.trust_domains(settings))
        self._http = http_chain(Place(side=Side.INBOUND, settings=settings, authorization=authorization))
        self._mutual = downstream_tls.mutual(settings)

    def __call__(self, shapes: Iterable[Shape], destination: _Destination) -> Iterator[Any]:
        for shape in shapes:
            made = chain(destination.chains[shape.is_http], *self._filters(shape, destination))
            made.filter_chain_match.transport_protocol = shape.transport
            made.filter_chain_match.application_protocols.extend(shape.offers)
            if shape.is_mesh:
                made.transport_socket.CopyFrom(self._mutual)
            yield made

    def _filters(self, shape: Shape, to: _Destination) -> list[Any]:
        if shape.is_http:
            manager = http_connections.inbound(
                self._settings,
                to.statistics,
                to.cluster,
                self._http,
                virtual_host=to.virtual_host,
                idle_timeout=to.http_idle,
            )
            return [manager]
        forward = tcp_filters.forward(to.cluster, self._settings.access_log, idle_timeout=to.tcp_idle)
        return [*self._guards, forward]


_ANY_PORT = _Destination(
    cluster=names.INBOUND_PASSTHROUGH_CLUSTER,
    virtual_host="inbound|http|0",
    statistics=names.INBOUND_PASSTHROUGH_CLUSTER,
    chains={True: f"{names.VIRTUAL_INBOUND}-catchall-http", False: names.VIRTUAL_INBOUND},
)


def _destination(port: InboundPort) -> _Destination:
    name = names.listener(EVERYWHERE, port.target)
    pool = port.pool
    return _Destination(
        cluster=names.inbound_cluster(port.target),
        virtual_host=f"inbound|http|{port.port.number}",
        statistics=f"inbound_{name}",
        chains={True: name, False: name},
        http_idle=pool.http.idle_timeout if pool and pool.http else None,
        tcp_idle=pool.tcp.idle_timeout if pool and pool.tcp else None,
    )


def _ports(view: InboundView) -> Iterator[InboundPort]:
    """Envoy's capture is TCP's: what is said of UDP ports has no effect here, as in Istio."""
    return (port for port in view.ports if port.port.protocol is not Protocol.UDP)


def _shapes(port: InboundPort) -> tuple[Shape, ...]:
    return CHAINS[port.mutual_tls, _reads(port.port.protocol)]


def _reads(protocol: Protocol) -> Reads:
    if protocol.is_http:
        return Reads.HTTP
    return Reads.TCP if protocol else Reads.EITHER


def _sources(authorization: Authorization, *ports: InboundPort) -> tuple[Any, ...]:
    """The objects a listener came from, each once."""
    return tuple(dict.fromkeys((*(key for port in ports for key in port.sources), *authorization.sources)))
