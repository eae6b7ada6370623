"""How route, redirect, mirror and direct response look.

A route that leads nowhere is still written: requests for it fail where they would have gone and keep
their share of the traffic, so that a mistake shows and disturbs nothing else (STYLE 4.3).
"""

from __future__ import annotations

import functools
from typing import Any

from mesh.kinds.http_actions import content
from mesh.kinds.virtual_service import HTTPDirectResponse, HTTPRedirect, HTTPRetry, HTTPRewrite, HTTPRoute
from mesh.views import Destination, Route
from xds import envoy
from xds.names import outbound_cluster
from xds.translate import balancing, faults, headers, retries

_REDIRECT_CODES = {
    0: "MOVED_PERMANENTLY",
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}


def write(route: Route, written: Any, *, default_retries: HTTPRetry | None, port: int, is_tls: bool) -> None:
    """Fill the Envoy ``Route`` with what shall happen. ``port`` is where requests arrive; 0: unknown."""
    spec = route.spec
    if spec is not None:
        headers.write(spec.headers, written)
        faults.write(spec.fault, written)
    if spec is not None and spec.redirect is not None:
        _write_redirect(spec.redirect, written.redirect, port=port, is_tls=is_tls)
    elif spec is not None and spec.direct_response is not None:
        _write_direct_response(spec.direct_response, written.direct_response)
    elif not route.destinations:
        written.direct_response.status = 503
    else:
        _write_forward(route, spec, written, default_retries)


def _write_forward(route: Route, spec: HTTPRoute | None, written: Any, default: HTTPRetry | None) -> None:
    action = written.route
    action.CopyFrom(_forward())
    if spec is not None:
        _write_rewrite(spec.rewrite, action)
        _write_timeout(spec, action)
        authority = (spec.rewrite and spec.rewrite.authority) or headers.authority(spec.headers)
        if authority:
            action.host_rewrite_literal = authority
    _write_destinations(route.destinations, written)
    for destination, share in route.mirrors:
        if share:
            mirror = action.request_mirror_policies.add(cluster=_cluster(destination))
            faults.write_share(share, mirror.runtime_fraction.default_value)
            # The mirrored application shall see the request as it was. Istio, ``DisableShadowHostSuffix``.
            mirror.disable_shadow_host_suffix_append = True
            mirror.trace_sampled.value = False
    keys = [
        destination.hash_by.consistent_hash
        for destination in route.destinations
        if destination.hash_by is not None and destination.hash_by.consistent_hash is not None
    ]
    balancing.write_hash_keys(keys, action)
    retries.write(spec.retries if spec else None, default, action, is_hashed=bool(keys))


def _write_destinations(destinations: tuple[Destination, ...], written: Any) -> None:
    action = written.route
    if len(destinations) == 1:
        (only,) = destinations
        action.cluster = _cluster(only)
        headers.write(only.headers, written)
        # What the route says of the host wins. Istio, ``processDestination``.
        if (authority := headers.authority(only.headers)) and not action.host_rewrite_literal:
            action.host_rewrite_literal = authority
        return
    for destination in destinations:
        share = action.weighted_clusters.clusters.add(name=_cluster(destination))
        share.weight.value = destination.weight
        headers.write(destination.headers, share)
        if authority := headers.authority(destination.headers):
            share.host_rewrite_literal = authority


def _cluster(destination: Destination) -> str:
    """Of a destination that leads nowhere (port 0): a name that no cluster has. Envoy answers 503 NC."""
    return outbound_cluster(destination.port, destination.subset, destination.host)


def _write_rewrite(said: HTTPRewrite | None, action: Any) -> None:
    """The same field for every kind of match: Envoy replaces what matched, which is the whole path for
    an exact match and for a regular expression.
    """
    if said is None:
        return
    if said.uri_regex_rewrite is not None:
        action.regex_rewrite.pattern.regex = said.uri_regex_rewrite.match
        action.regex_rewrite.substitution = said.uri_regex_rewrite.rewrite
    elif said.uri:
        action.prefix_rewrite = said.uri


def _write_timeout(spec: HTTPRoute, action: Any) -> None:
    """The timeout also caps what a gRPC client asks for in its own header."""
    if spec.timeout is not None:
        envoy.write_duration(action.timeout, spec.timeout)
        envoy.write_duration(action.max_grpc_timeout, spec.timeout)


def _write_redirect(said: HTTPRedirect, redirect: Any, *, port: int, is_tls: bool) -> None:
    """Istio, ``ApplyRedirect``: the port that a scheme implies is never spelled out."""
    redirect.host_redirect = said.authority
    redirect.scheme_redirect = said.scheme
    if said.prefix_rewrite:
        redirect.prefix_rewrite = said.prefix_rewrite
    else:
        redirect.path_redirect = said.uri
    target = port if said.derive_port == "FROM_REQUEST_PORT" else said.port or 0
    implied = 443 if (said.scheme or ("https" if is_tls else "http")) == "https" else 80
    redirect.port_redirect = 0 if target == implied else target
    redirect.response_code = redirect.RedirectResponseCode.Value(_REDIRECT_CODES[said.redirect_code])


def _write_direct_response(said: HTTPDirectResponse, answer: Any) -> None:
    answer.status = said.status
    if said.body is None:
        return
    if said.body.string is not None:
        answer.body.inline_string = said.body.string
    elif said.body.bytes is not None:
        answer.body.inline_bytes = content(said.body)


@functools.cache
def _forward() -> Any:
    # No timeout unless somebody asks for one; Envoy's own would be 15 s. The deprecated field is the one
    # that works for gRPC: its replacement makes Envoy ignore ``timeout``.
    return envoy.parsed("envoy.config.route.v3.RouteAction", {"timeout": "0s", "max_grpc_timeout": "0s"})
