"""Which requests a route is for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mesh.kinds import matches
from mesh.kinds.frozen import FrozenMap
from mesh.kinds.header_rules import header_match_name
from mesh.kinds.kind import NOTHING, Flag, Kind, StringMap, Text, Texts, Unsigned
from mesh.kinds.matches import StringMatch
from mesh.kinds.rules import below, dns_label, domain, each, label_pairs, port, wrong
from mesh.places import Place
from mesh.problems import Problem

StringMatches = FrozenMap[Text, StringMatch]
NO_MATCHES: StringMatches = FrozenMap()
# Envoy's own limit.
PARAMETER_BYTES_MAX: Final = 1024


class HTTPMatchRequest(Kind):
    """All of these must hold. Istio, "HTTPMatchRequest"."""

    name: Text = ""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: StringMatches = NO_MATCHES
    port: Unsigned = 0
    source_labels: StringMap = NOTHING
    gateways: Texts = ()
    query_params: StringMatches = NO_MATCHES
    ignore_uri_case: Flag = False
    without_headers: StringMatches = NO_MATCHES
    source_namespace: Text = ""
    stat_prefix: Text = ""


def check_match(match: HTTPMatchRequest, where: Place, at: str) -> Iterator[Problem]:
    if match.uri is not None:
        # Envoy takes an empty prefix of a path, and of nothing else.
        yield from matches.check(match.uri, where, f"{at}.uri", may_be_empty_prefix=True)
    for name, match_of in (
        ("scheme", match.scheme),
        ("method", match.method),
        ("authority", match.authority),
    ):
        if match_of is not None:
            yield from matches.check(match_of, where, f"{at}.{name}")
    for field, headers in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
        for name, header in headers.items():
            path = below(f"{at}.{field}", name)
            yield from wrong(where, path, header_match_name(name))
            if name.startswith("@request.auth.claims"):
                yield where.problem("MW0004", path, "matching on claims of a token is not supported yet")
            yield from matches.check(header, where, path, star_is_present=True)
    yield from _parameters(match.query_params, where, f"{at}.queryParams")
    if match.port:
        yield from wrong(where, f"{at}.port", port(match.port))
    yield from label_pairs(where, f"{at}.sourceLabels", match.source_labels)
    yield from each(where, f"{at}.gateways", match.gateways, gateway_name)
    if match.source_namespace:
        yield from wrong(where, f"{at}.sourceNamespace", dns_label(match.source_namespace))


def _parameters(asked: StringMatches, where: Place, at: str) -> Iterator[Problem]:
    for name, parameter in asked.items():
        path = below(at, name)
        if not name or len(name.encode()) > PARAMETER_BYTES_MAX:
            message = f"expected the name of a parameter, of 1 to {PARAMETER_BYTES_MAX} bytes"
            yield from wrong(where, path, message)
        yield from matches.check(parameter, where, path, star_is_present=True)


def gateway_name(text: str) -> str:
    """``gateway``, ``namespace/gateway``, ``./gateway`` or ``mesh``."""
    namespace, slash, name = text.partition("/")
    if not slash:
        return domain(text)
    if namespace == ".":
        return dns_label(name)
    return dns_label(namespace) or dns_label(name)
