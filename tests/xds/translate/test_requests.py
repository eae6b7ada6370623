"""What a real Envoy does with real requests, given the routes and clusters we make."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.kinds.header_operators import PLAIN, WITH_ARGUMENT
from mesh.views import Destination, Route, TrafficPolicy, VirtualHost
from tests.support.envoys import (
    Answer,
    Application,
    Running,
    a_listener,
    a_static_cluster,
    application,
    needs_envoy,
    refusal,
    running,
)
from tests.support.views import (
    SETTINGS,
    a_cluster,
    a_destination,
    a_policy,
    a_route,
    a_table,
    a_virtual_host,
    an_endpoint,
)
from xds import envoy
from xds.memo import Memo
from xds.translate import clusters, routes
from xds.translate.endpoints import assignment

BY_USER = a_policy(loadBalancer={"consistentHash": {"httpHeaderName": "x-user"}})
V1, V2 = a_destination(subset="v1"), a_destination(subset="v2")
GONE = a_destination("gone", port=0)


def hashed() -> Destination:
    return a_destination(subset="hashed", hash_by=BY_USER.load_balancer)


def shared(*shares: tuple[Destination, int]) -> tuple[Destination, ...]:
    return tuple(
        Destination(host=one.host, port=one.port, subset=one.subset, weight=weight) for one, weight in shares
    )


ALWAYS = {"percentage": {"value": 100}}
HOSTS: dict[str, tuple[Route, ...]] = {
    "one": (a_route(V1),),
    "weights": (a_route(*shared((V1, 70), (V2, 30))),),
    "half-gone": (a_route(*shared((V1, 50), (GONE, 50)), retries={"attempts": 0}),),
    "gone": (a_route(GONE),),
    "matches": (
        a_route(V2, match={"headers": {"end-user": {"exact": "jason"}}}),
        a_route(V2, match={"uri": {"regex": "/v[2]/.*"}, "method": {"exact": "GET"}}),
        a_route(V2, match={"queryParams": {"version": {"exact": "2"}}}),
        a_route(V2, match={"uri": {"prefix": "/CASE"}, "ignoreUriCase": True}),
        a_route(V2, match={"uri": {"exact": "/without"}, "withoutHeaders": {"stay": {"exact": "yes"}}}),
        a_route(V1),
    ),
    "delayed": (a_route(V1, fault={"delay": {"fixedDelay": "0.3s", **ALWAYS}}),),
    "aborted": (a_route(V1, fault={"abort": {"httpStatus": 418, **ALWAYS}}),),
    "untouched": (a_route(V1, fault={"abort": {"httpStatus": 418}}),),
    "mirrored": (a_route(V1, mirrors=((V2, 1_000_000),)),),
    "prefix": (a_route(V1, match={"uri": {"prefix": "/old/"}}, rewrite={"uri": "/new/"}),),
    "exact": (a_route(V1, match={"uri": {"exact": "/old"}}, rewrite={"uri": "/new", "authority": "other"}),),
    "regex": (a_route(V1, match={"uri": {"regex": "/o.*"}}, rewrite={"uri": "/new"}),),
    "groups": (a_route(V1, rewrite={"uriRegexRewrite": {"match": "^/v1/(.*)$", "rewrite": r"/\1"}}),),
    "redirected": (
        a_route(redirect={"uri": "/new", "authority": "there", "redirectCode": 302, "scheme": "https"}),
    ),
    "answered": (a_route(directResponse={"status": 410, "body": {"string": "gone for good"}}),),
    "impatient": (a_route(V1, timeout="0.2s"),),
    "retried": (a_route(V1, retries={"attempts": 2, "retryOn": "503"}),),
    "not-retried": (a_route(V1, retries={"attempts": 0}),),
    "edited": (
        a_route(
            V1,
            headers={
                "request": {
                    "set": {"x-set": "new", "Host": "other"},
                    "add": {"x-add": "2"},
                    "remove": ["x-gone"],
                },
                "response": {"set": {"x-answer": "yes"}, "remove": ["x-application"]},
            },
        ),
    ),
    "hashed": (a_route(hashed()),),
}


def virtual_hosts() -> tuple[VirtualHost, ...]:
    return tuple(a_virtual_host(name, *written) for name, written in HOSTS.items())


@contextlib.contextmanager
def applications() -> Iterator[tuple[Application, Application]]:
    with application("v1") as v1, application("v2") as v2:
        yield v1, v2


class House:
    """One Envoy with all routes, and the two applications behind it."""

    def __init__(self, proxy: Running, v1: Application, v2: Application) -> None:
        self.proxy, self.v1, self.v2 = proxy, v1, v2

    def get(self, host: str, path: str = "/", **fields: Any) -> Answer:
        return self.proxy.get(path, host, **fields)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("envoy")
    with applications() as (v1, v2):
        subsets: dict[str, tuple[tuple[int, ...], TrafficPolicy]] = {
            "v1": ((v1.port,), a_policy()),
            "v2": ((v2.port,), a_policy()),
            "hashed": ((v1.port, v2.port), BY_USER),
        }
        static = [
            a_static_cluster(
                clusters.outbound(a_cluster(subset=subset, policy=policy), SETTINGS),
                assignment("x", tuple(an_endpoint("127.0.0.1", port) for port in ports)),
            )
            for subset, (ports, policy) in subsets.items()
        ]
        (table,) = routes.route_tables((a_table(*virtual_hosts(), fallback=None),), SETTINGS, Memo())
        listener = a_listener("main", envoy.as_dict(table.message))
        bootstrap = {"static_resources": {"clusters": static, "listeners": [listener]}}
        with running(bootstrap, folder) as proxy:
            yield House(proxy, v1, v2)


@needs_envoy
def test_requests_are_shared_by_weight(house: House) -> None:
    seen = Counter(house.get("weights").json["application"] for _ in range(200))
    assert 100 < seen["v1"] < 180
    assert seen["v1"] + seen["v2"] == 200


@needs_envoy
def test_a_destination_that_leads_nowhere_fails_its_share_alone(house: House) -> None:
    seen = Counter(house.get("half-gone").status for _ in range(60))
    assert set(seen) == {200, 503}
    assert house.get("gone").status == 503


@needs_envoy
@pytest.mark.parametrize(
    ("path", "headers", "method", "expected"),
    [
        ("/", {}, "GET", "v1"),
        ("/", {"end-user": "jason"}, "GET", "v2"),
        ("/", {"end-user": "jasons"}, "GET", "v1"),
        ("/v2/x", {}, "GET", "v2"),
        ("/v2/x", {}, "POST", "v1"),
        ("/?version=2", {}, "GET", "v2"),
        ("/?version=3", {}, "GET", "v1"),
        ("/case/x", {}, "GET", "v2"),
        ("/without", {}, "GET", "v2"),
        ("/without", {"stay": "no"}, "GET", "v2"),
        ("/without", {"stay": "yes"}, "GET", "v1"),
    ],
)
def test_the_first_match_that_holds_decides(
    house: House, path: str, headers: dict[str, str], method: str, expected: str
) -> None:
    answer = house.get("matches", path, headers=headers, method=method)
    assert answer.json["application"] == expected


@needs_envoy
def test_a_delay_delays(house: House) -> None:
    before = time.monotonic()
    assert house.get("delayed").status == 200
    assert time.monotonic() - before >= 0.28


@needs_envoy
def test_an_abort_aborts_its_share_and_a_share_not_said_is_none(house: House) -> None:
    assert house.get("aborted").status == 418
    assert house.get("untouched").status == 200


@needs_envoy
def test_a_mirror_sees_the_request_as_it_was(house: House) -> None:
    house.v2.asked.clear()
    assert house.get("mirrored", "/copy").json["application"] == "v1"
    pause = time.monotonic() + 5
    while not house.v2.asked and time.monotonic() < pause:
        house.get("one")
    assert [(asked["path"], asked["headers"]["host"]) for asked in house.v2.asked] == [("/copy", "mirrored")]


@needs_envoy
@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("prefix", "/old/page", ("/new/page", "prefix")),
        ("exact", "/old", ("/new", "other")),
        ("regex", "/old/page", ("/new", "regex")),
        ("groups", "/v1/page?x=1", ("/page?x=1", "groups")),
    ],
)
def test_the_application_sees_the_rewritten_path_and_host(
    house: House, host: str, path: str, expected: tuple[str, str]
) -> None:
    asked = house.get(host, path).json
    assert (asked["path"], asked["headers"]["host"]) == expected


@needs_envoy
def test_a_redirect_and_a_direct_response_need_no_application(house: House) -> None:
    answer = house.get("redirected")
    assert (answer.status, answer.headers["location"]) == (302, "https://there/new")
    answer = house.get("answered")
    assert (answer.status, answer.text) == (410, "gone for good")


@needs_envoy
def test_failures_are_retried_unless_retries_are_off(house: House) -> None:
    house.v1.failures = 2
    assert house.get("retried").status == 200
    house.v1.failures = 1
    assert house.get("not-retried").status == 503


@needs_envoy
def test_a_timeout_ends_a_request(house: House) -> None:
    house.v1.pause = 0.6
    before = time.monotonic()
    assert house.get("impatient").status == 504
    assert time.monotonic() - before < 0.6
    house.v1.pause = 0.0


@needs_envoy
def test_headers_are_edited_on_the_way_there_and_back(house: House) -> None:
    answer = house.get("edited", headers={"x-set": "old", "x-add": "1", "x-gone": "1"})
    seen = answer.json["headers"]
    assert (seen["x-set"], seen["host"], "x-gone" in seen) == ("new", "other", False)
    assert seen["x-add"].replace(" ", "") in ("1,2", "2")
    assert answer.headers["x-answer"] == "yes"
    assert "x-application" not in answer.headers


@needs_envoy
def test_equal_hash_keys_go_to_the_same_endpoint(house: House) -> None:
    def chosen(user: int) -> set[str]:
        answers = (house.get("hashed", headers={"x-user": f"user-{user}"}) for _ in range(4))
        return {answer.json["application"] for answer in answers}

    choices = [chosen(user) for user in range(20)]
    assert all(len(choice) == 1 for choice in choices)
    assert set().union(*choices) == {"v1", "v2"}


@needs_envoy
def test_a_name_that_is_in_no_virtual_host_is_not_found(house: House) -> None:
    assert house.get("nobody").status == 404


@needs_envoy
def test_envoy_takes_every_table_we_can_make(tmp_path: Path) -> None:
    tables = (
        a_table(*virtual_hosts()),
        a_table(*virtual_hosts(), name="http_proxy"),
        a_table(a_virtual_host(https_redirect=True), name="http.8080", fallback=None),
        a_table(a_virtual_host(domains=("*",)), name="80"),
    )
    assert refusal(routes.route_tables(tables, SETTINGS, Memo()), tmp_path) == ""


@needs_envoy
def test_envoy_takes_every_operator_that_is_accepted_in_headers(tmp_path: Path) -> None:
    arguments = {
        "COMMON_DURATION": "DS_RX_BEG:DS_RX_END:ms",
        "METADATA": "ROUTE:a:b",
        "CEL": "request.protocol",
    }
    written = [f"%{name}%" for name in PLAIN]
    written += [f"%{name}({arguments.get(name, 'x')})%" for name in WITH_ARGUMENT]
    edits = {"request": {"set": {f"x-{at}": value for at, value in enumerate(sorted(written))}}}
    (table,) = routes.route_tables(
        (a_table(a_virtual_host("all", a_route(V1, headers=edits))),), SETTINGS, Memo()
    )
    assert refusal([table], tmp_path) == ""


@needs_envoy
def test_what_envoy_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    """The check above can fail."""
    (table,) = routes.route_tables((a_table(a_virtual_host(domains=("a", "a"))),), SETTINGS, Memo())
    assert "Duplicate entry of domain a" in refusal([table], tmp_path)
