from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Iterator

import pytest

from reconciler.logs import KeysAndValues, set_up


def a_line(message: str, *, level: int = logging.INFO, **extra: object) -> str:
    """What one event looks like, without its time."""
    made = logging.getLogger("xds").makeRecord("xds", level, "", 0, message, (), None, extra=extra)
    return KeysAndValues().format(made).partition(" ")[2]


def test_an_event_is_a_phrase_and_its_keys_in_the_order_given() -> None:
    assert a_line("world published", revision="3f2a91c", services=41) == (
        "INFO world published revision=3f2a91c services=41"
    )


def test_a_line_begins_with_the_time_in_utc() -> None:
    record = logging.getLogger("xds").makeRecord("xds", logging.INFO, "", 0, "stopping", (), None)
    record.created, record.msecs = 0.0, 7.0

    assert KeysAndValues().format(record) == "1970-01-01T00:00:00.007Z INFO stopping"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("", "''"),
        ("two words", "'two words'"),
        ('a "quote"', "'a \"quote\"'"),
        ("line\nbreak", r"'line\nbreak'"),
        ("\x1b[31mred", r"'\x1b[31mred'"),
        (None, "None"),
        (1.5, "1.5"),
    ],
)
def test_a_value_cannot_be_taken_for_anything_else(value: object, shown: str) -> None:
    """Also not by a terminal: what a proxy or a document says is shown, never obeyed."""
    assert a_line("x", value=value) == f"INFO x value={shown}"


def test_a_traceback_follows_its_line() -> None:
    try:
        int("no")
    except ValueError:
        record = logging.getLogger("xds").makeRecord("xds", logging.ERROR, "", 0, "broke", (), sys.exc_info())
    first, *rest = KeysAndValues().format(record).splitlines()

    assert first.endswith("ERROR broke")
    assert rest[-1] == "ValueError: invalid literal for int() with base 10: 'no'"


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    rooms = [logging.getLogger(name) for name in ("mesh", "registries", "ca", "xds", "reconciler")]
    levels = [room.level for room in rooms]
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    for room, level in zip(rooms, levels, strict=True):
        room.setLevel(level)


@pytest.mark.usefixtures("restored")
def test_libraries_speak_from_warnings_upward_only() -> None:
    stream = io.StringIO()
    set_up("DEBUG", stream)
    for name in ("xds.fleet", "aiohttp.server"):
        for level in (logging.DEBUG, logging.WARNING):
            logging.getLogger(name).log(level, "said")

    said = [re.sub(r"^\S+ ", "", line) for line in stream.getvalue().splitlines()]
    assert said == ["DEBUG said", "WARNING said", "WARNING said"]
