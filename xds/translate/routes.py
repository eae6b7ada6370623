"""RDS: which route tables, and their virtual hosts in order.

A table is joined from the bytes of its virtual hosts. Each of these is made and remembered on its own,
so that a changed VirtualService encodes one virtual host, and one that cannot be made leaves the others
alone.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mesh.kinds.virtual_service import HTTPRetry
from mesh.names import ObjectKey
from mesh.views import Passthrough, RouteTable, Settings, VirtualHost
from xds import constraints, envoy
from xds.memo import Memo
from xds.names import HTTP_PROXY_ROUTES, PASSTHROUGH_CLUSTER
from xds.resources import Resource, field
from xds.translate import actions, matching

_TABLE = "envoy.config.route.v3.RouteConfiguration"
_HOST = "envoy.config.route.v3.VirtualHost"
_VIRTUAL_HOSTS = 2  # RouteConfiguration.virtual_hosts

# Istio, ``maxDirectResponseBodySizeBytes``.
_DIRECT_RESPONSE_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class EncodedHost:
    """One virtual host as bytes, ready to be joined to a table."""

    body: bytes
    sources: tuple[ObjectKey, ...]
    takes_all: bool
    """Whether it answers for every name, so that there is nothing left to fall back to."""


def route_tables(tables: Iterable[RouteTable], settings: Settings, memo: Memo) -> Iterator[Resource]:
    """Every table; each is joined anew only when one of its virtual hosts is another."""
    for table in tables:
        yield from memo.resource(table.name, route_table, table, settings.default_retries, memo)


def route_table(table: RouteTable, default_retries: HTTPRetry | None, memo: Memo) -> Resource:
    """One table, out of virtual hosts most of which are bytes already."""
    # The memo goes by identity, and a view may spell a name anew.
    name = sys.intern(table.name)
    hosts = [
        encoded
        for host in table.virtual_hosts
        for encoded in memo.resource(f"{name}/{host.name}", virtual_host, host, name, default_retries)
    ]
    bodies = [_head(name), *(host.body for host in hosts)]
    if table.fallback is not None and not any(host.takes_all for host in hosts):
        fallback = _fallback(table.fallback, is_forward_proxy=name == HTTP_PROXY_ROUTES)
        bodies.append(field(_VIRTUAL_HOSTS, fallback))
    sources = tuple(dict.fromkeys(source for host in hosts for source in host.sources))
    return Resource.of_bytes(name, envoy.ROUTES, b"".join(bodies), sources=sources)


def virtual_host(host: VirtualHost, table: str, default_retries: HTTPRetry | None) -> EncodedHost:
    """One name and its routes, in the order in which Envoy shall try them."""
    made = envoy.message(_HOST)(name=host.name, domains=host.domains, include_request_attempt_count=True)
    if host.https_redirect:
        made.require_tls = made.ALL
    port, is_tls = _door(table)
    for route in host.routes:
        written = made.routes.add(name=route.name)
        matching.write(route.match, written.match)
        if route.match is not None:
            written.stat_prefix = route.match.stat_prefix
        actions.write(route, written, default_retries=default_retries, port=port, is_tls=is_tls)
    return EncodedHost(
        field(_VIRTUAL_HOSTS, constraints.serialised(made)),
        tuple(dict.fromkeys(route.source for route in host.routes if route.source is not None)),
        "*" in host.domains,
    )


def _door(table: str) -> tuple[int, bool]:
    """The port where requests for a table arrive, and whether they come by TLS; 0 where any may be.

    ``9080``, ``http.8080`` and ``https.443.<port name>.<gateway>.<namespace>`` are Istio's names.
    """
    match table.split("."):
        case [port] if port.isdecimal():
            return int(port), False
        case ["http" | "https" as scheme, port, *_] if port.isdecimal():
            return int(port), scheme == "https"
        case _:
            return 0, False


def _head(name: str) -> bytes:
    made = envoy.message(_TABLE)(name=name)
    # Routes to clusters that do not exist are the user's business: they fail alone (STYLE 4.3).
    made.validate_clusters.value = False
    made.max_direct_response_body_size_bytes.value = _DIRECT_RESPONSE_BYTES_MAX
    # The port of a listener's table is already decided; only the HTTP proxy's table tells names apart by it.
    made.ignore_port_in_host_matching = name != HTTP_PROXY_ROUTES
    return constraints.serialised(made)


@functools.cache
def _fallback(passthrough: Passthrough, *, is_forward_proxy: bool) -> bytes:
    """What a name in no virtual host gets. Istio, ``buildCatchAllVirtualHost``."""
    everything: dict[str, Any] = {"prefix": "/"}
    if is_forward_proxy:
        # Unlike Istio, which sends such requests to the original destination: what asks a proxy by name has
        # none, and a plain 503 would not say why.
        answer = {"status": 502, "body": {"inline_string": "this host is not known to the mesh\n"}}
        routes = {"name": "unknown_host", "match": everything, "direct_response": answer}
    elif passthrough is Passthrough.ALLOW_ANY:
        forward = {"cluster": PASSTHROUGH_CLUSTER, "timeout": "0s", "max_grpc_timeout": "0s"}
        routes = {"name": "allow_any", "match": everything, "route": forward}
    else:
        routes = {"name": "block_all", "match": everything, "direct_response": {"status": 502}}
    return envoy.serialised(
        envoy.parsed(
            _HOST,
            {
                "name": routes["name"],
                "domains": ["*"],
                "routes": [routes],
                "include_request_attempt_count": True,
            },
        )
    )
