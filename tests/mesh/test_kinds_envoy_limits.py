"""Values that Istio takes and that would make Envoy refuse a whole table: refused here, each by its field."""

from __future__ import annotations

import pytest

from tests.support.documents import problems_of

A_ROUTE = "route: [{destination: {host: a}}]"


def http(route: str) -> str:
    return f"hosts: [a]\nhttp: [{{{route}}}]"


def hashing(key: str) -> str:
    return f"host: a\ntrafficPolicy: {{loadBalancer: {{consistentHash: {{{key}}}}}}}"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            http('redirect: {uri: "/a\\nb"}'),
            "spec.http[0].redirect.uri: control characters are not allowed here: '/a\\nb'",
        ),
        (
            http('redirect: {authority: "a\\0b"}'),
            "spec.http[0].redirect.authority: control characters are not allowed here: 'a\\x00b'",
        ),
        (
            http('rewrite: {authority: "a\\rb"}, ' + A_ROUTE),
            "spec.http[0].rewrite.authority: control characters are not allowed here: 'a\\rb'",
        ),
        (
            http('rewrite: {uri: "/a\\nb"}, ' + A_ROUTE),
            "spec.http[0].rewrite.uri: control characters are not allowed here: '/a\\nb'",
        ),
        (
            http(f"rewrite: {{uri: /{'x' * 16384}}}, " + A_ROUTE),
            "spec.http[0].rewrite.uri: expected at most 16384 bytes, found 16385",
        ),
        (
            http('headers: {request: {set: {x: "a\\nb"}}}, ' + A_ROUTE),
            "spec.http[0].headers.request.set.x: control characters are not allowed here: 'a\\nb'",
        ),
        (
            http("headers: {request: {set: {x: '%FOO%'}}}, " + A_ROUTE),
            "spec.http[0].headers.request.set.x: Envoy has no operator '%FOO%'",
        ),
        (
            http("headers: {request: {set: {x: '100%% %REQ%'}}}, " + A_ROUTE),
            "spec.http[0].headers.request.set.x: '%REQ%' needs an argument: '%REQ(...)%'",
        ),
        (
            http('headers: {response: {remove: ["x y"]}}, ' + A_ROUTE),
            "spec.http[0].headers.response.remove[0]: not the name of a header: 'x y'",
        ),
        (
            http("match: [{queryParams: {'': {exact: a}}}], " + A_ROUTE),
            'spec.http[0].match[0].queryParams[""]: expected the name of a parameter, of 1 to 1024 bytes',
        ),
        (
            http("route: [" + ", ".join(["{destination: {host: a}, weight: 2147483647}"] * 3) + "]"),
            "spec.http[0].route: the weights add up to 6442450941, more than 4294967295",
        ),
        (
            http("directResponse: {status: 200, body: {bytes: '?'}}"),
            "spec.http[0].directResponse.body.bytes: not base64",
        ),
        (
            http("rewrite: {uriRegexRewrite: {match: '/(a)', rewrite: '/\\2'}}, " + A_ROUTE),
            "spec.http[0].rewrite.uriRegexRewrite.rewrite: '\\2' is not in the match, which has 1 group",
        ),
        (
            http("rewrite: {uriRegexRewrite: {match: '/a', rewrite: '/\\x'}}, " + A_ROUTE),
            (
                "spec.http[0].rewrite.uriRegexRewrite.rewrite: "
                "expected a digit or a backslash after each backslash, found '/\\\\x'"
            ),
        ),
    ],
)
def test_a_virtual_service_says_nothing_that_envoy_cannot_be_told(spec: str, expected: str) -> None:
    assert problems_of("VirtualService", spec) == [f"error IST0106 {expected}"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            hashing("httpHeaderName: ''"),
            "loadBalancer.consistentHash.httpHeaderName: expected the name of a header, found nothing",
        ),
        (
            hashing("httpHeaderName: 'x y'"),
            "loadBalancer.consistentHash.httpHeaderName: not the name of a header: 'x y'",
        ),
        (
            hashing("httpCookie: {name: ''}"),
            "loadBalancer.consistentHash.httpCookie.name: expected the name of a cookie, found nothing",
        ),
        (
            hashing("httpCookie: {name: c, ttl: -1s}"),
            "loadBalancer.consistentHash.httpCookie.ttl: expected a duration from 0s",
        ),
        (
            hashing("httpCookie: {name: c, attributes: [{name: ''}]}"),
            (
                "loadBalancer.consistentHash.httpCookie.attributes[0].name: "
                "expected the name of an attribute, found nothing"
            ),
        ),
        (
            hashing("httpQueryParameterName: ''"),
            (
                "loadBalancer.consistentHash.httpQueryParameterName: "
                "expected the name of a parameter, found nothing"
            ),
        ),
        (
            hashing("useSourceIp: true, ringHash: {minimumRingSize: 8388609}"),
            (
                "loadBalancer.consistentHash.ringHash.minimumRingSize: "
                "expected a size of at most 8388608, found 8388609"
            ),
        ),
        (
            hashing("useSourceIp: true, maglev: {tableSize: 5000012}"),
            (
                "loadBalancer.consistentHash.maglev.tableSize: "
                "expected a prime number below 5000011, found 5000012"
            ),
        ),
        (
            f"host: a\ntrafficPolicy: {{tls: {{mode: SIMPLE, sni: {'x' * 256}}}}}",
            "tls.sni: expected at most 255 bytes, found 256",
        ),
        (
            'host: a\ntrafficPolicy: {tls: {mode: SIMPLE, sni: "a\\nb"}}',
            "tls.sni: control characters are not allowed here: 'a\\nb'",
        ),
    ],
)
def test_a_destination_rule_says_nothing_that_envoy_cannot_be_told(spec: str, expected: str) -> None:
    assert problems_of("DestinationRule", spec) == [f"error IST0106 spec.trafficPolicy.{expected}"]


def test_base64_is_read_as_protobuf_reads_it() -> None:
    """Either alphabet, padded or not, in one line or several."""
    for text in ("aGk=", "aGk", "_-8", "aG\\nk=\\n"):
        assert (
            problems_of("VirtualService", http(f'directResponse: {{status: 200, body: {{bytes: "{text}"}}}}'))
            == []
        )
