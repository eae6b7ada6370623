"""One rule of a VirtualService: which requests, what is done with them, where they go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from mesh.kinds.destination import Destination, check_destination
from mesh.kinds.http_actions import (
    HTTPDirectResponse,
    HTTPRedirect,
    HTTPRewrite,
    check_direct_response,
    check_redirect,
    check_rewrite,
)
from mesh.kinds.http_faults import HTTPFaultInjection, check_fault
from mesh.kinds.http_headers import Headers, check_headers
from mesh.kinds.http_match import HTTPMatchRequest, check_match
from mesh.kinds.http_retries import HTTPRetry, check_retries
from mesh.kinds.kind import Duration, Flag, Kind, Number, Percent, Text, Texts, Unsigned
from mesh.kinds.matches import StringMatch
from mesh.kinds.rules import deprecated, durations, wrong
from mesh.places import Place
from mesh.problems import Problem

# Envoy refuses a whole route table for one sum above it.
WEIGHTS_MAX: Final = 2**32 - 1


class HTTPRouteDestination(Kind):
    """A destination and its share. Istio, "HTTPRouteDestination"."""

    destination: Destination
    weight: Number = 0
    headers: Headers | None = None


class Delegate(Kind):
    """Another VirtualService that continues this route. Istio, "Delegate"."""

    name: Text = ""
    namespace: Text = ""


class HTTPMirrorPolicy(Kind):
    """One shadow destination. Istio, "HTTPMirrorPolicy"."""

    destination: Destination
    percentage: Percent | None = None


class CorsPolicy(Kind):
    """Istio, "CorsPolicy"."""

    allow_origin: Texts = ()
    allow_origins: tuple[StringMatch, ...] = ()
    allow_methods: Texts = ()
    allow_headers: Texts = ()
    expose_headers: Texts = ()
    max_age: Duration | None = None
    allow_credentials: Flag | None = None
    unmatched_preflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = "UNSPECIFIED"


class HTTPRoute(Kind):
    """One rule; the first whose match holds is taken. Istio, "HTTPRoute"."""

    name: Text = ""
    match: tuple[HTTPMatchRequest, ...] = ()
    route: tuple[HTTPRouteDestination, ...] = ()
    redirect: HTTPRedirect | None = None
    direct_response: HTTPDirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: HTTPRewrite | None = None
    timeout: Duration | None = None
    retries: HTTPRetry | None = None
    fault: HTTPFaultInjection | None = None
    mirror: Destination | None = None
    mirrors: tuple[HTTPMirrorPolicy, ...] = ()
    mirror_percent: Unsigned | None = None
    mirror_percentage: Percent | None = None
    cors_policy: CorsPolicy | None = None
    headers: Headers | None = None


def check_route(route: HTTPRoute, where: Place, at: str) -> Iterator[Problem]:
    yield from _conflicts(route, where, at)
    for index, match in enumerate(route.match):
        yield from check_match(match, where, f"{at}.match[{index}]")
    yield from _destinations(route, where, at)
    if route.redirect is not None:
        yield from check_redirect(route.redirect, route.match, where, f"{at}.redirect")
    if route.direct_response is not None:
        yield from check_direct_response(route.direct_response, where, f"{at}.directResponse")
    if route.rewrite is not None:
        yield from check_rewrite(route.rewrite, where, f"{at}.rewrite")
    if route.fault is not None:
        yield from check_fault(route.fault, where, f"{at}.fault")
    if route.retries is not None:
        yield from check_retries(route.retries, where, f"{at}.retries")
    yield from durations(where, at, timeout=route.timeout)
    if route.headers is not None:
        yield from check_headers(route.headers, where, f"{at}.headers")
    yield from _authority_once(route, where, at)


def _conflicts(route: HTTPRoute, where: Place, at: str) -> Iterator[Problem]:
    """What a route does, it does alone."""
    does = "redirect" if route.redirect else "directResponse" if route.direct_response else ""
    if does:
        others = {
            "route": bool(route.route),
            "fault": route.fault is not None,
            "rewrite": route.rewrite is not None,
            "directResponse": does == "redirect" and route.direct_response is not None,
        }
        for other, is_there in others.items():
            if is_there:
                yield from wrong(where, f"{at}.{other}", f"a route cannot have both {other} and {does}")
    elif not route.route and route.delegate is None:
        yield from wrong(where, at, "a route needs one of route, redirect, directResponse")
    if route.mirror is not None and route.mirrors:
        yield from wrong(where, f"{at}.mirrors", "a route cannot have both mirror and mirrors")
    if route.mirror_percent is not None:
        yield from deprecated(where, f"{at}.mirrorPercent", "mirrorPercentage")
        if route.mirror_percent > 100:
            found = f"expected a number from 0 to 100, found {route.mirror_percent}"
            yield from wrong(where, f"{at}.mirrorPercent", found)


def _destinations(route: HTTPRoute, where: Place, at: str) -> Iterator[Problem]:
    for index, weighted in enumerate(route.route):
        path = f"{at}.route[{index}]"
        yield from check_destination(weighted.destination, where, f"{path}.destination")
        if weighted.weight < 0:
            yield from wrong(where, f"{path}.weight", f"expected a weight from 0, found {weighted.weight}")
        if weighted.headers is not None:
            yield from check_headers(weighted.headers, where, f"{path}.headers")
    total = sum(weighted.weight for weighted in route.route)
    if len(route.route) > 1 and total == 0:
        yield from wrong(where, f"{at}.route", "the weights of several destinations add up to 0")
    if total > WEIGHTS_MAX:
        yield from wrong(where, f"{at}.route", f"the weights add up to {total}, more than {WEIGHTS_MAX}")
    if route.mirror is not None:
        yield from check_destination(route.mirror, where, f"{at}.mirror")
    for index, policy in enumerate(route.mirrors):
        yield from check_destination(policy.destination, where, f"{at}.mirrors[{index}].destination")


def _authority_once(route: HTTPRoute, where: Place, at: str) -> Iterator[Problem]:
    edits = route.headers.request if route.headers else None
    written = [route.rewrite.authority] if route.rewrite and route.rewrite.authority else []
    if edits is not None:
        written += [
            value
            for pairs in (edits.set, edits.add)
            for name, value in pairs.items()
            if name.lower() in {"host", ":authority"}
        ]
    if len(written) > 1:
        yield from wrong(where, f"{at}.headers.request", f"the authority is rewritten {len(written)} times")
