"""LDS, gateway: which listeners a proxy at the edge offers to the outside world.

Servers that share an address and port are one listener: the HTTPS ones are told apart by the name a
client asks for (SNI), and all of plain HTTP is one, because its hosts are virtual hosts of one table.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from mesh.views import Authorization, GatewayServer, GatewayView, Settings
from xds import names
from xds.memo import Memo
from xds.resources import Resource
from xds.translate import access_logs, downstream_tls, http_connections, listener_filters
from xds.translate.http_filters import Place, Side
from xds.translate.sockets import EVERYWHERE, bare_listener, chain

# Envoy, "Configuring Envoy as an edge proxy": bytes that one slow reader may make a gateway hold.
_BUFFER_BYTES = 32768


def gateway_listeners(view: GatewayView, memo: Memo) -> Iterator[Resource]:
    """One listener for each address and port that a server names."""
    for (address, port), group in groupby(sorted(view.servers, key=_socket), key=_socket):
        name = names.listener(address, port)
        yield from memo.resource(name, gateway_listener, view.settings, view.authorization, *group)


def _socket(server: GatewayServer) -> tuple[str, int]:
    return server.bind or EVERYWHERE, server.port


def gateway_listener(settings: Settings, authorization: Authorization, *servers: GatewayServer) -> Resource:
    """All servers of one address and port."""
    address, port = _socket(servers[0])
    name = names.listener(address, port)
    # A gateway's listeners are OUTBOUND in Istio too: its requests leave for the mesh.
    listener = bare_listener(name, address, port, direction="OUTBOUND")
    listener.per_connection_buffer_limit_bytes.value = _BUFFER_BYTES
    place = Place(side=Side.EDGE, settings=settings, authorization=authorization)
    for server in servers:
        listener.filter_chains.append(_filter_chain(place, f"outbound_{name}", server))
    if any(_is_secure(server) for server in servers):
        listener.listener_filters.append(listener_filters.tls_inspector())
    listener.access_log.extend(access_logs.unmatched(settings.access_log))
    return Resource.of(
        name,
        listener,
        sources=tuple(dict.fromkeys((*(server.source for server in servers), *authorization.sources))),
        needs=tuple(dict.fromkeys(server.routes for server in servers)),
    )


def _is_secure(server: GatewayServer) -> bool:
    return server.server.port.protocol.upper() == "HTTPS"


def _filter_chain(place: Place, statistics: str, server: GatewayServer) -> Any:
    made = chain("", http_connections.edge(place, statistics, server.routes))
    if not _is_secure(server):
        return made
    if server.server.tls is None:
        raise ValueError(f"an HTTPS server of {server.source} reached translation without tls")
    made.name = server.routes
    # Without a name every client is meant, also one that asks for none.
    if "*" not in server.sni_hosts:
        made.filter_chain_match.server_names.extend(server.sni_hosts)
    made.transport_socket.CopyFrom(downstream_tls.edge(server.server.tls, server.secret))
    return made
