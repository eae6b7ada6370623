"""What is logged, where and in which words. That lines are written: ``test_callers.py``."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.views import AccessLog
from xds import envoy
from xds.translate import access_logs


def written(log: AccessLog) -> dict[str, Any]:
    (found,) = access_logs.traffic(log)
    literal = envoy.as_dict(found)
    assert literal["name"] == "envoy.access_loggers.file"
    config: dict[str, Any] = literal["typed_config"]
    return config


def line(log: AccessLog) -> str:
    return str(written(log)["log_format"]["text_format_source"]["inline_string"])


def test_nothing_is_logged_where_no_file_is_named() -> None:
    assert access_logs.traffic(None) == []
    assert access_logs.unmatched(None) == []


def test_the_line_is_istios_unless_the_mesh_has_its_own() -> None:
    assert line(AccessLog(path="/dev/stdout")) == access_logs.TEXT_FORMAT
    assert access_logs.TEXT_FORMAT.count("%") == 2 * 24
    assert written(AccessLog(path="/dev/stdout"))["path"] == "/dev/stdout"


@pytest.mark.parametrize("said", ["%PROTOCOL%", "%PROTOCOL%\n"])
def test_a_line_ends_also_where_the_user_forgot_to_end_it(said: str) -> None:
    assert line(AccessLog(path="/log", format=said)) == "%PROTOCOL%\n"


def test_json_has_istios_keys_unless_the_mesh_has_its_own() -> None:
    assert written(AccessLog(path="/log", json=True))["log_format"]["json_format"] == access_logs.JSON_FORMAT
    own = AccessLog(path="/log", json=True, format='{"code": "%RESPONSE_CODE%", "deep": {"a": "b"}}')
    assert written(own)["log_format"]["json_format"] == {"code": "%RESPONSE_CODE%", "deep": {"a": "b"}}


@pytest.mark.parametrize("said", ["not json", '["a list"]'])
def test_what_is_no_json_object_is_istios_format_as_in_istio(said: str) -> None:
    log = AccessLog(path="/log", json=True, format=said)
    assert written(log)["log_format"]["json_format"] == access_logs.JSON_FORMAT


def test_a_listener_logs_only_what_no_filter_chain_took() -> None:
    (found,) = access_logs.unmatched(AccessLog(path="/log"))
    assert envoy.as_dict(found)["filter"] == {"response_flag_filter": {"flags": ["NR"]}}
