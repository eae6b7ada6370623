"""Dataclasses as JSON: what is left out, what is shared, and what cannot be read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

import pytest

from registries.coding import Codec


class Colour(IntEnum):
    RED = 0
    BLUE = 1


@dataclass(frozen=True)
class Part:
    name: str
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Thing:
    part: Part
    parts: tuple[Part, ...] = ()
    colour: Colour = Colour.RED
    made: datetime | None = None
    is_new: bool = True


@dataclass(frozen=True)
class Odd:
    number: float


FULL = Thing(
    Part("a", (("k", "v"),)),
    (Part("a", (("k", "v"),)),),
    Colour.BLUE,
    datetime(2026, 1, 1, tzinfo=UTC),
    False,
)


def codec() -> Codec[Thing]:
    return Codec(Thing, {})


@pytest.mark.parametrize("thing", [FULL, Thing(Part(""))])
def test_what_was_written_is_read_back(thing: Thing) -> None:
    assert codec().read(codec().write(thing)) == thing


def test_defaults_are_left_out() -> None:
    assert json.loads(codec().write(Thing(Part("a")))) == {"part": {"name": "a"}}


def test_equal_values_are_read_as_one_object() -> None:
    read = codec().read(codec().write(FULL))
    assert read.part is read.parts[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "{}",
        '{"part": 3}',
        '{"part": {"name": 3}}',
        '{"part": {"name": "a"}, "size": 1}',
        '{"part": {"name": "a"}, "is_new": 1}',
        '{"part": {"name": "a"}, "colour": 9}',
    ],
)
def test_what_is_no_such_value_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        codec().read(text)


def test_a_type_that_cannot_be_written_is_found_at_once() -> None:
    with pytest.raises(TypeError, match=r"^no way to write <class 'float'>$"):
        Codec(Odd, {})
