from __future__ import annotations

from typing import Any

import pytest

from tests.support.views import a_match
from xds import envoy
from xds.translate import matching

MATCH = "envoy.config.route.v3.RouteMatch"


def matched(**written: Any) -> dict[str, Any]:
    made = envoy.message(MATCH)()
    matching.write(a_match(**written), made)
    return envoy.as_dict(made)


def test_no_match_is_every_request() -> None:
    made = envoy.message(MATCH)()
    matching.write(None, made)
    assert envoy.as_dict(made) == {"prefix": "/"}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({}, {"prefix": "/"}),
        ({"uri": {"exact": "/login"}}, {"path": "/login"}),
        ({"uri": {"prefix": "/api/"}}, {"prefix": "/api/"}),
        ({"uri": {"regex": "/v[0-9]+/.*"}}, {"safe_regex": {"regex": "/v[0-9]+/.*"}}),
        ({"uri": {"regex": "*"}}, {"prefix": "/"}),
        ({"uri": {"exact": "/Login"}, "ignoreUriCase": True}, {"path": "/Login", "case_sensitive": False}),
    ],
    ids=["nothing", "exact", "prefix", "regex", "any", "ignoring case"],
)
def test_a_path_is_matched_as_written(written: dict[str, Any], expected: dict[str, Any]) -> None:
    assert matched(**written) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"exact": "jason"}, {"string_match": {"exact": "jason"}}),
        ({"exact": ""}, {"string_match": {"exact": ""}}),
        ({"prefix": "ja"}, {"string_match": {"prefix": "ja"}}),
        ({"regex": "ja.*"}, {"string_match": {"safe_regex": {"regex": "ja.*"}}}),
        ({}, {"present_match": True}),
        ({"regex": "*"}, {"present_match": True}),
        ({"prefix": ""}, {"present_match": True}),
    ],
    ids=["exact", "empty", "prefix", "regex", "nothing", "star", "empty prefix"],
)
def test_a_header_and_a_query_parameter_are_matched_alike(
    said: dict[str, str], expected: dict[str, Any]
) -> None:
    assert matched(headers={"end-user": said})["headers"] == [{"name": "end-user", **expected}]
    assert matched(queryParams={"user": said})["query_parameters"] == [{"name": "user", **expected}]


def test_a_header_that_must_not_be_there_is_inverted() -> None:
    made = matched(withoutHeaders={"canary": {}})
    assert made["headers"] == [{"name": "canary", "present_match": True, "invert_match": True}]


def test_a_header_that_must_not_have_a_value_may_be_missing() -> None:
    made = matched(withoutHeaders={"version": {"exact": "v1"}})
    assert made["headers"] == [
        {
            "name": "version",
            "string_match": {"exact": "v1"},
            "invert_match": True,
            "treat_missing_header_as_empty": True,
        }
    ]


def test_conditions_stand_in_one_order_however_they_were_written() -> None:
    """Equal documents give equal bytes."""
    one = matched(headers={"b": {}, "a": {}}, withoutHeaders={"a": {}}, method={"exact": "GET"})
    other = matched(method={"exact": "GET"}, withoutHeaders={"a": {}}, headers={"a": {}, "b": {}})
    assert one == other
    assert [header["name"] for header in one["headers"]] == ["a", "a", "b", ":method"]


def test_method_authority_and_scheme_are_pseudo_headers() -> None:
    made = matched(method={"exact": "POST"}, authority={"prefix": "api."}, scheme={"exact": "https"})
    assert made["headers"] == [
        {"name": ":method", "string_match": {"exact": "POST"}},
        {"name": ":authority", "string_match": {"prefix": "api."}},
        {"name": ":scheme", "string_match": {"exact": "https"}},
    ]
