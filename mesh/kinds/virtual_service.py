"""VirtualService: how requests to a host are routed.

The parts of a route have modules of their own (``http_*.py``) and are found here too.
"""

from __future__ import annotations

from collections.abc import Iterator

from mesh.kinds.destination import Destination, PortSelector
from mesh.kinds.http_actions import HTTPBody, HTTPDirectResponse, HTTPRedirect, HTTPRewrite, RegexRewrite
from mesh.kinds.http_faults import Abort, Delay, HTTPFaultInjection
from mesh.kinds.http_headers import HeaderOperations, Headers
from mesh.kinds.http_match import HTTPMatchRequest, gateway_name
from mesh.kinds.http_retries import HTTPRetry
from mesh.kinds.http_route import (
    CorsPolicy,
    Delegate,
    HTTPMirrorPolicy,
    HTTPRoute,
    HTTPRouteDestination,
    check_route,
)
from mesh.kinds.kind import NOTHING, Kind, Number, StringMap, Text, Texts, Unsigned
from mesh.kinds.rules import each, export_to, wildcard_domain, wrong
from mesh.kinds.verdicts import Verdicts, words
from mesh.names import MESH_GATEWAY, host_matches, is_ip
from mesh.places import Place
from mesh.problems import Problem

__all__ = [
    "Abort",
    "CorsPolicy",
    "Delay",
    "Delegate",
    "Destination",
    "HTTPBody",
    "HTTPDirectResponse",
    "HTTPFaultInjection",
    "HTTPMatchRequest",
    "HTTPMirrorPolicy",
    "HTTPRedirect",
    "HTTPRetry",
    "HTTPRewrite",
    "HTTPRoute",
    "HTTPRouteDestination",
    "HeaderOperations",
    "Headers",
    "L4MatchAttributes",
    "PortSelector",
    "RegexRewrite",
    "RouteDestination",
    "TCPRoute",
    "TLSMatchAttributes",
    "TLSRoute",
    "VirtualService",
]


class RouteDestination(Kind):
    """A destination of raw connections and its share. Istio, "RouteDestination"."""

    destination: Destination
    weight: Number = 0


class L4MatchAttributes(Kind):
    """Istio, "L4MatchAttributes"."""

    destination_subnets: Texts = ()
    port: Unsigned = 0
    source_subnet: Text = ""
    source_labels: StringMap = NOTHING
    gateways: Texts = ()
    source_namespace: Text = ""


class TLSMatchAttributes(Kind):
    """Istio, "TLSMatchAttributes"."""

    sni_hosts: Texts
    destination_subnets: Texts = ()
    port: Unsigned = 0
    source_labels: StringMap = NOTHING
    gateways: Texts = ()
    source_namespace: Text = ""


class TLSRoute(Kind):
    """Istio, "TLSRoute"."""

    match: tuple[TLSMatchAttributes, ...]
    route: tuple[RouteDestination, ...] = ()


class TCPRoute(Kind):
    """Istio, "TCPRoute"."""

    match: tuple[L4MatchAttributes, ...] = ()
    route: tuple[RouteDestination, ...] = ()


class VirtualService(Kind):
    """Istio, "VirtualService"."""

    hosts: Texts = ()
    gateways: Texts = ()
    http: tuple[HTTPRoute, ...] = ()
    tls: tuple[TLSRoute, ...] = ()
    tcp: tuple[TCPRoute, ...] = ()
    export_to: Texts = ()


VERDICTS = Verdicts(
    carried_out=words("""
        hosts gateways exportTo
        http.{
            name headers timeout retries mirror mirrors mirrorPercent mirrorPercentage rewrite redirect
            directResponse route
            match.{
                name uri scheme method authority headers withoutHeaders queryParams ignoreUriCase port
                sourceLabels sourceNamespace gateways
            }
            fault.delay.{ fixedDelay percent percentage }
            fault.abort.{ httpStatus grpcStatus percentage }
        }
    """),
    refused={
        "tls": "route by SNI at a gateway of your own until then",
        "tcp": "TCP goes to its service directly until then",
        "http.delegate": "write the routes of the delegate here",
        "http.corsPolicy": "answer CORS in the application until then",
        "http.match.statPrefix": "leave it out",
        "http.fault.delay.exponentialDelay": "use fixedDelay; Istio does not support it either",
        "http.fault.abort.http2Error": "use httpStatus or grpcStatus; Istio does not support it either",
    },
)


def check(service: VirtualService, where: Place) -> Iterator[Problem]:
    """Istio, ``ValidateVirtualService``."""
    yield from each(where, "spec.gateways", service.gateways, gateway_name)
    yield from _hosts(service, where)
    if not (service.http or service.tls or service.tcp):
        yield from wrong(where, "spec", "expected at least one of http, tls, tcp")
    for index, route in enumerate(service.http):
        yield from check_route(route, where, f"spec.http[{index}]")
    namespace = where.object.namespace if where.object else ""
    yield from export_to(where, namespace, service.export_to)


def _hosts(service: VirtualService, where: Place) -> Iterator[Problem]:
    if not service.hosts:
        yield where.problem(
            "MW0004",
            "spec.hosts",
            "a VirtualService without hosts (a delegate) is not supported yet",
            "give it hosts, or move its routes to the VirtualService that delegates",
        )
    in_mesh = not service.gateways or MESH_GATEWAY in service.gateways
    for index, host in enumerate(service.hosts):
        path = f"spec.hosts[{index}]"
        if is_ip(host):
            continue
        if host == "*" and in_mesh:
            message = "the wildcard '*' alone is not allowed in the mesh"
            yield from wrong(where, path, message, "name the hosts, or bind it to gateways only")
        yield from wrong(where, path, wildcard_domain(host))
        for other in service.hosts[:index]:
            if host_matches(other, host):
                yield from wrong(where, path, f"{host!r} repeats {other!r}")
