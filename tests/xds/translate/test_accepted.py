"""What ``check`` accepts breaks no constraint of Envoy's: hostile values in the place of sound ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.config import Config, ConfigObject
from mesh.documents import parse_file
from mesh.kinds.objects import read_object
from mesh.problems import has_errors
from mesh.proxies import Interception
from mesh.scope import OutboundKey, Scope
from mesh.world import World
from tests.support.catalogues import catalogue
from xds import translate
from xds.memo import Memo

Step = str | int
Spec = dict[str, Any]

REVIEWS = {"host": "reviews.example", "subset": "v1"}
EDITS = {"set": {"x-set": "1", "host": "b"}, "add": {"x-add": "%REQ(x-y)%"}, "remove": ["x-gone"]}
ANSWER_EDITS = {"set": {"x-set": "1"}, "remove": ["x-gone"]}
VIRTUAL_SERVICE: Spec = {
    "hosts": ["reviews.example", "other.example"],
    "http": [
        {
            "name": "all",
            "match": [
                {
                    "uri": {"prefix": "/a"},
                    "method": {"exact": "GET"},
                    "authority": {"regex": "a.*"},
                    "headers": {"x-user": {"exact": "me"}, "x-any": {}},
                    "withoutHeaders": {"x-not": {"prefix": "a"}},
                    "queryParams": {"q": {"exact": "1"}, "r": {"regex": ".*"}},
                },
                {"uri": {"regex": "/b.*"}},
            ],
            "route": [
                {
                    "destination": REVIEWS,
                    "weight": 40,
                    "headers": {"request": {"set": {"x-v": "1"}}, "response": ANSWER_EDITS},
                },
                {"destination": {"host": "reviews.example", "subset": "v2"}, "weight": 30},
                {"destination": {"host": "other.example"}, "weight": 30},
            ],
            "timeout": "2s",
            "retries": {"attempts": 2, "perTryTimeout": "1s", "retryOn": "5xx,503", "backoff": "25ms"},
            "rewrite": {"uri": "/c"},
            "fault": {
                "delay": {"fixedDelay": "1s", "percentage": {"value": 10}},
                "abort": {"httpStatus": 503, "percentage": {"value": 0.5}},
            },
            "mirrors": [{"destination": {"host": "other.example"}, "percentage": {"value": 1}}],
            "headers": {"request": EDITS, "response": ANSWER_EDITS},
        },
        {
            "match": [{"uri": {"prefix": "/r"}}],
            "redirect": {"prefixRewrite": "/s", "authority": "there.example", "redirectCode": 302},
        },
        {"match": [{"uri": {"exact": "/r"}}], "redirect": {"uri": "/s", "scheme": "https", "port": 8443}},
        {"match": [{"uri": {"exact": "/d"}}], "directResponse": {"status": 418, "body": {"bytes": "aGk="}}},
        {
            "match": [{"uri": {"exact": "/e"}}],
            "directResponse": {"status": 418, "body": {"string": "hi"}},
        },
        {
            "rewrite": {"authority": "x", "uriRegexRewrite": {"match": "/(a)", "rewrite": "/\\1"}},
            "route": [{"destination": REVIEWS}],
            "fault": {"abort": {"grpcStatus": "INTERNAL", "percentage": {"value": 1}}},
            "mirror": {"host": "other.example"},
            "mirrorPercentage": {"value": 5},
        },
    ],
}
POOL = {
    "tcp": {
        "maxConnections": 1,
        "connectTimeout": "1s",
        "idleTimeout": "1s",
        "maxConnectionDuration": "1s",
        "tcpKeepalive": {"probes": 1, "time": "1s", "interval": "1s"},
    },
    "http": {
        "http1MaxPendingRequests": 1,
        "http2MaxRequests": 1,
        "maxRequestsPerConnection": 1,
        "maxRetries": 1,
        "idleTimeout": "1s",
        "h2UpgradePolicy": "UPGRADE",
        "maxConcurrentStreams": 1,
        "http2KeepAlive": {"interval": "1s", "timeout": "1s"},
    },
}
OUTLIERS = {
    "splitExternalLocalOriginErrors": True,
    "consecutiveLocalOriginFailures": 1,
    "consecutiveGatewayErrors": 1,
    "consecutive5xxErrors": 1,
    "interval": "1s",
    "baseEjectionTime": "1s",
    "maxEjectionPercent": 10,
    "minHealthPercent": 10,
    "outlierDetectionHttpErrorCodes": [500, 503],
}
COOKIE = {"name": "c", "path": "/", "ttl": "1s", "attributes": [{"name": "SameSite", "value": "Lax"}]}
DESTINATION_RULE: Spec = {
    "host": "reviews.example",
    "trafficPolicy": {
        "loadBalancer": {"consistentHash": {"httpHeaderName": "x-user", "ringHash": {"minimumRingSize": 9}}},
        "connectionPool": POOL,
        "outlierDetection": OUTLIERS,
        "tls": {"mode": "SIMPLE", "sni": "a.example", "subjectAltNames": ["a.example"]},
        "portLevelSettings": [
            {
                "port": {"number": 7000},
                "loadBalancer": {"consistentHash": {"useSourceIp": True, "maglev": {"tableSize": 11}}},
                "connectionPool": POOL,
            }
        ],
    },
    "subsets": [
        {
            "name": "v1",
            "labels": {"version": "v1"},
            "trafficPolicy": {"loadBalancer": {"consistentHash": {"httpCookie": COOKIE}}},
        },
        {
            "name": "v2",
            "labels": {"version": "v2"},
            "trafficPolicy": {
                "loadBalancer": {"consistentHash": {"httpQueryParameterName": "q", "minimumRingSize": 5}},
                "tls": {
                    "mode": "MUTUAL",
                    "clientCertificate": "/c",
                    "privateKey": "/k",
                    "caCertificates": "/r",
                },
            },
        },
    ],
}
SERVICES = [
    {
        "hosts": [f"{name}.example"],
        "addresses": [address],
        "ports": [{"number": 9080, "name": "http"}, {"number": 7000, "name": "any"}],
        "endpoints": [{"address": "10.0.0.1", "labels": {"version": "v1"}}],
        "resolution": "STATIC",
    }
    for name, address in (("reviews", "240.0.0.1"), ("other", "240.0.0.2"))
]

TEXTS = st.one_of(
    st.sampled_from(["", "a\nb", "\x00", "\x7f", "a b", "é", "x" * 300, "%", "%%", "a=", "\\9", "\\", "*"]),
    st.text(max_size=8),
)
NUMBERS = st.one_of(
    st.sampled_from([-1, 0, 99, 101, 600, 65535, 65536, 8388608, 8388609, 5000011, 2**31 - 1, 2**32 - 1]),
    st.integers(0, 2**64 - 1),
)
SPANS = st.sampled_from(["0s", "1ns", "1us", "0.5ms", "1ms", "1.5ms", "-1s", "2562047h", "106751d", "300h"])


def leaves(value: Any, path: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    """The paths of all values, and of all keys that a user chose (they end in ``KEY``)."""
    match value:
        case dict():
            for key, inner in value.items():
                yield from leaves(inner, (*path, key))
                if path and path[-1] in _MAPS:
                    yield (*path, key, KEY)
        case list():
            for index, inner in enumerate(value):
                yield from leaves(inner, (*path, index))
        case _:
            yield path


KEY = -1
_MAPS = {"headers", "withoutHeaders", "queryParams", "set", "add", "labels"}
_FIELDS_NAMED_HEADERS = {"request", "response"}


def replaced(spec: Spec, path: tuple[Step, ...], value: Any) -> Spec:
    made = deepcopy(spec)
    at: Any = made
    if path[-1] == KEY:
        for step in path[:-2]:
            at = at[step]
        at[value] = at.pop(path[-2])
        return made
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return made


def hostile(draw: Callable[[Any], Any], spec: Spec) -> Spec:
    """The spec with one or two of its values replaced."""
    paths = [path for path in leaves(spec) if not (path[-1] == KEY and path[-2] in _FIELDS_NAMED_HEADERS)]
    path = draw(st.sampled_from(paths))
    at: Any = spec
    for step in path[:-1] if path[-1] == KEY else path:
        at = at[step]
    if path[-1] == KEY or (isinstance(at, str) and not _is_span(at)):
        value = draw(TEXTS)
    elif isinstance(at, str):
        value = draw(SPANS)
    else:
        value = draw(NUMBERS)
    return replaced(spec, path, value)


def _is_span(text: str) -> bool:
    return text[:1].isdigit() and text[-1] == "s"


def an_object(kind: str, name: str, spec: Spec) -> ConfigObject[Any] | None:
    """The object, unless ``check`` has an error to report."""
    whole = {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop"},
        "spec": spec,
    }
    documents, problems = parse_file("a.json", json.dumps(whole).encode())
    assert not problems
    made, found = read_object(documents[0])
    return made if isinstance(made, ConfigObject) and not has_errors(found) else None


def broken(virtual: ConfigObject[Any], rule: ConfigObject[Any]) -> list[str]:
    """What could not be made of a mesh with these two, for both kinds of interception."""
    services = [an_object("ServiceEntry", f"s{n}", spec) for n, spec in enumerate(SERVICES)]
    config = Config.build([virtual, rule, *(one for one in services if one is not None)], None)
    world = World(config=config, services=catalogue(config))
    scope, memo = Scope(), Memo()
    for interception in (Interception.REDIRECT, Interception.NONE):
        view = scope.outbound(world, OutboundKey(namespace="shop", interception=interception))
        assert view.clusters
        translate.outbound_resources(view, memo)
    return [f"{one.resource}: {one.reason}" for one in memo.broken]


SOUND = (
    an_object("VirtualService", "routes", VIRTUAL_SERVICE),
    an_object("DestinationRule", "rule", DESTINATION_RULE),
)


def test_the_sound_objects_are_accepted_and_made() -> None:
    virtual, rule = SOUND
    assert virtual is not None
    assert rule is not None
    assert broken(virtual, rule) == []


@settings(max_examples=400)
@given(st.data())
def test_a_virtual_service_that_is_accepted_breaks_no_constraint(data: st.DataObject) -> None:
    virtual, rule = an_object("VirtualService", "routes", hostile(data.draw, VIRTUAL_SERVICE)), SOUND[1]
    if virtual is not None and rule is not None:
        assert broken(virtual, rule) == []


@settings(max_examples=400)
@given(st.data())
def test_a_destination_rule_that_is_accepted_breaks_no_constraint(data: st.DataObject) -> None:
    virtual, rule = SOUND[0], an_object("DestinationRule", "rule", hostile(data.draw, DESTINATION_RULE))
    if virtual is not None and rule is not None:
        assert broken(virtual, rule) == []
