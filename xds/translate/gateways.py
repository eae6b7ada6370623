"""LDS, gateway: which listeners a proxy at the edge offers to the outside world.

Servers that share an address and port are one listener: the HTTPS ones are told apart by the name a
client asks for (SNI), and all of plain HTTP is one, because its hosts are virtual hosts of one table. An
AUTO_PASSTHROUGH server is one filter chain for each cluster that it passes on to; there may be thousands, so
each is made once and the listener is joined of their bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from mesh.interning import gathered
from mesh.views import Authorization, GatewayServer, GatewayView, PassingServer, Settings
from xds import constraints, envoy, names
from xds.memo import Memo
from xds.resources import Resource, field
from xds.translate import (
    access_logs,
    auto_passthrough,
    downstream_tls,
    http_connections,
    listener_filters,
)
from xds.translate.http_filters import Place, Side
from xds.translate.sockets import EVERYWHERE, bare_listener, chain

# Envoy, "Configuring Envoy as an edge proxy": bytes that one slow reader may make a gateway hold.
_BUFFER_BYTES = 32768
_FILTER_CHAINS = 3  # the number of Listener.filter_chains, some of which are joined by hand

Offered = GatewayServer | PassingServer


def gateway_listeners(view: GatewayView, memo: Memo) -> Iterator[Resource]:
    """One listener for each address and port that a server names."""
    # A listener without a filter chain is refused: a server with nothing to pass on has none.
    passing = (server for server in view.passing if server.passes)
    offered: list[Offered] = sorted((*view.servers, *passing), key=_socket)
    for (address, port), group in groupby(offered, key=_socket):
        name, members = names.listener(address, port), tuple(group)
        passed = memo.get(
            gathered,
            *(
                memo.get(auto_passthrough.passing_chain, cluster, to, view.settings)
                for server in members
                if isinstance(server, PassingServer)
                for cluster, to in server.passes
            ),
        )
        yield from memo.resource(name, gateway_listener, view.settings, view.authorization, passed, *members)


def _socket(server: Offered) -> tuple[str, int]:
    return server.bind or EVERYWHERE, server.port


def gateway_listener(
    settings: Settings, authorization: Authorization, passed: tuple[bytes, ...], *offered: Offered
) -> Resource:
    """All servers of one address and port; ``passed`` are the filter chains of those that pass TLS on."""
    address, port = _socket(offered[0])
    name = names.listener(address, port)
    servers = [server for server in offered if isinstance(server, GatewayServer)]
    # A gateway's listeners are OUTBOUND in Istio too: its requests leave for the mesh.
    listener = bare_listener(name, address, port, direction="OUTBOUND")
    listener.per_connection_buffer_limit_bytes.value = _BUFFER_BYTES
    place = Place(side=Side.EDGE, settings=settings, authorization=authorization)
    for server in servers:
        listener.filter_chains.append(_filter_chain(place, f"outbound_{name}", server))
    if len(servers) < len(offered) or any(_is_secure(server) for server in servers):
        listener.listener_filters.append(listener_filters.tls_inspector())
    listener.access_log.extend(access_logs.unmatched(settings.access_log))
    return Resource.of_bytes(
        name,
        envoy.LISTENER,
        constraints.serialised(listener) + b"".join(field(_FILTER_CHAINS, one) for one in passed),
        sources=tuple(dict.fromkeys((*(server.source for server in offered), *authorization.sources))),
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
