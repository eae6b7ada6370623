"""LDS, outbound: which listeners the applications beside a sidecar call through.

Under capture one bound listener takes everything and hands each connection to the unbound listener of
its original destination; what none claims goes on as it was, or ends, by the mesh's traffic policy.
Without capture each listener is bound where applications will look for it.

Deliberately absent: CONNECT on the HTTP proxy listener, so ``https`` URLs through it are answered 404.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from mesh.proxies import Interception
from mesh.views import (
    HostView,
    HttpListener,
    OutboundListener,
    OutboundView,
    Passthrough,
    Settings,
    TcpListener,
)
from xds import names
from xds.memo import Memo
from xds.resources import Resource
from xds.translate import access_logs, http_connections, listener_filters, tcp_filters
from xds.translate.sockets import EVERYWHERE, bare_listener, chain, loop_stop

_LOOPBACK = "127.0.0.1"
_PLAIN_HTTP = ("http/1.1", "h2c")


def outbound_listeners(view: OutboundView, memo: Memo) -> Iterator[Resource]:
    """The capturing listener where there is capture, then one for each address and port."""
    settings, passthrough = view.settings, view.passthrough
    is_captured = view.interception is not Interception.NONE
    if is_captured:
        name = names.VIRTUAL_OUTBOUND
        yield from memo.resource(name, virtual_outbound, settings, view.interception, passthrough)
    # Envoy knows one listener per address: all that share one become its filter chains.
    for (address, port), group in groupby(sorted(view.listeners, key=_socket), key=_socket):
        members = [member for member in group if is_captured or member.is_bound]
        if members:
            name = names.listener(address, port)
            yield from memo.resource(name, outbound_listener, settings, passthrough, *members)


def http_proxy_listener(view: HostView, memo: Memo) -> Iterator[Resource]:
    """Where applications that know of a proxy find it: the machine's own port, on loopback alone."""
    if view.http_proxy_port:
        name = names.listener(_LOOPBACK, view.http_proxy_port)
        yield from memo.resource(name, http_proxy, view.inbound.settings, view.http_proxy_port)


def _socket(listener: OutboundListener) -> tuple[str, int]:
    """A CIDR cannot be bound: its connections arrive at the wildcard and are told apart there."""
    if isinstance(listener, TcpListener) and listener.prefix_length is not None:
        return EVERYWHERE, listener.port
    return listener.address, listener.port


def virtual_outbound(settings: Settings, interception: Interception, passthrough: Passthrough) -> Resource:
    """Takes every captured connection. Istio, ``virtualOutbound``."""
    listener = bare_listener(names.VIRTUAL_OUTBOUND, EVERYWHERE, settings.outbound_port, direction="OUTBOUND")
    listener.use_original_dst.value = True
    if interception is Interception.TPROXY:
        listener.transparent.value = True
    listener.filter_chains.append(loop_stop(names.VIRTUAL_OUTBOUND, settings.outbound_port))
    listener.filter_chains.append(
        chain(f"{names.VIRTUAL_OUTBOUND}-catchall-tcp", _undeclared(settings, passthrough))
    )
    listener.access_log.extend(access_logs.unmatched(settings.access_log))
    return Resource.of(names.VIRTUAL_OUTBOUND, listener)


def outbound_listener(settings: Settings, passthrough: Passthrough, *members: OutboundListener) -> Resource:
    """One listener and what is claimed on it: at most one reader of requests, any number of CIDRs."""
    address, port = _socket(members[0])
    name = names.listener(address, port)
    listener = bare_listener(name, address, port, direction="OUTBOUND", is_bound=members[0].is_bound)
    for member in members:
        match member:
            case HttpListener():
                _read_requests(listener, settings, passthrough, member)
            case TcpListener():
                _forward_bytes(listener, settings, member)
    if _has_cidr(members) and not listener.HasField("default_filter_chain"):
        # The wildcard listener has taken these connections away from the capturing one.
        listener.default_filter_chain.CopyFrom(_passed_on(settings, passthrough))
    listener.access_log.extend(access_logs.unmatched(settings.access_log))
    return Resource.of(
        name,
        listener,
        sources=tuple(dict.fromkeys(source for member in members for source in member.sources)),
        needs=tuple(m.routes for m in members if isinstance(m, HttpListener)),
    )


def http_proxy(settings: Settings, port: int) -> Resource:
    """Routes by the table ``http_proxy``. Istio, ``buildHTTPProxy``."""
    name = names.listener(_LOOPBACK, port)
    listener = bare_listener(name, _LOOPBACK, port, direction="OUTBOUND")
    statistics = f"outbound_{name}"
    listener.filter_chains.append(
        chain("", http_connections.http_proxy(settings, statistics, names.HTTP_PROXY_ROUTES))
    )
    return Resource.of(name, listener, needs=(names.HTTP_PROXY_ROUTES,))


def _has_cidr(members: tuple[OutboundListener, ...]) -> bool:
    return any(isinstance(member, TcpListener) and member.prefix_length is not None for member in members)


def _read_requests(listener: Any, settings: Settings, passthrough: Passthrough, member: HttpListener) -> None:
    requests = chain("", http_connections.outbound(settings, f"outbound_{listener.name}", member.routes))
    is_captured_wildcard = member.address == EVERYWHERE and not member.is_bound
    if member.is_sniffing or is_captured_wildcard:
        # Whoever calls a captured port at any address may mean a host nobody declared, and need not speak
        # HTTP: what does not look like it goes on as bytes. Istio, ``buildSidecarOutboundListener``.
        requests.filter_chain_match.transport_protocol = "raw_buffer"
        requests.filter_chain_match.application_protocols.extend(_PLAIN_HTTP)
        listener.default_filter_chain.CopyFrom(
            chain("", *tcp_filters.outbound(member.otherwise, settings.access_log))
            if member.otherwise
            else _passed_on(settings, passthrough)
        )
        listener.listener_filters.append(listener_filters.tls_inspector())
        listener.listener_filters.append(listener_filters.http_inspector())
        # At an address of its own, requests and bytes lead to one and the same service.
        is_one_service = member.otherwise is not None and member.address != EVERYWHERE
        patience = settings.protocol_detection_timeout
        listener_filters.write_patience(listener, patience, may_go_on=is_one_service)
    listener.filter_chains.append(requests)


def _forward_bytes(listener: Any, settings: Settings, member: TcpListener) -> None:
    bytes_only = chain("", *tcp_filters.outbound(member.to, settings.access_log))
    if member.prefix_length is not None:
        block = bytes_only.filter_chain_match.prefix_ranges.add(address_prefix=member.address)
        block.prefix_len.value = member.prefix_length
    listener.filter_chains.append(bytes_only)


def _passed_on(settings: Settings, passthrough: Passthrough) -> Any:
    return chain("PassthroughFilterChain", _undeclared(settings, passthrough))


def _undeclared(settings: Settings, passthrough: Passthrough) -> Any:
    """Where bytes go whose destination nobody declared."""
    is_open = passthrough is Passthrough.ALLOW_ANY
    cluster = names.PASSTHROUGH_CLUSTER if is_open else names.BLACK_HOLE_CLUSTER
    return tcp_filters.forward(cluster, settings.access_log)
