"""What every kind shares: the frozen base, and the spelled types its fields are made of.

Presence is proto3's, because Istio's defaults depend on it: a field that Istio can tell from its
zero (a message, a wrapper, a member of a oneof) is ``None`` when not said; any other has its zero.
Lists are tuples and maps are :class:`~mesh.kinds.frozen.FrozenMap`, so that every kind and every
part of one is hashable and can be a key of the memo (DESIGN D1).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, Strict, WithJsonSchema

from mesh.durations import parse_duration, parts_per_million
from mesh.kinds.frozen import FrozenMap

TEXT_SHOWN_MAX = 80
# Go's: 2^63 nanoseconds. Istio reads no longer one, and Envoy's own limit is above it.
DURATION_MAX = timedelta(days=106_751)


def camel(name: str) -> str:
    """Protobuf's JSON name of a field: ``consecutive_5xx_errors`` is ``consecutive5xxErrors``."""
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


class Kind(BaseModel):
    """A part of a document: frozen, hashable, camelCase in documents, unknown fields forbidden.

    Snake-case names are for Python only; documents are validated with ``by_name=False``.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=camel,
        validate_by_name=True,
        validate_by_alias=True,
    )


def _expected(what: str, found: str) -> ValueError:
    """A mistake as pydantic collects them, also for what is of the wrong type."""
    return ValueError(f"expected {what}, found {found}")


def _duration(value: object) -> timedelta:
    what = "a duration such as '5s'"
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise _expected(what, described(value))
    try:
        duration = parse_duration(value)
    except (ValueError, OverflowError):
        raise _expected(what, described(value)) from None
    if abs(duration) > DURATION_MAX:
        raise _expected(f"{what}, of at most {DURATION_MAX.days} days", described(value))
    return duration


def _parts_per_million(value: object) -> int:
    what = "a number from 0 to 100"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _expected(what, described(value))
    try:
        return parts_per_million(str(value))
    except ValueError:
        raise _expected(what, repr(value)) from None


def described(value: object) -> str:
    """What a person would call a wrong value: ``a list``, ``text``, ``the number 3``."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            # Whoever wrote a megabyte knows what it says.
            return f"text {value!r}" if len(value) <= TEXT_SHOWN_MAX else f"text of {len(value)} characters"
        case int() | float():
            return f"the number {value}"
        case list() | tuple():
            return "a list"
        case dict() | FrozenMap():
            return "a mapping"
        case _:
            return f"a {type(value).__name__}"


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _expected("a number", described(value))
    return value


def _frozen(value: object) -> object:
    """Free-form JSON, made hashable."""
    if isinstance(value, dict):
        return FrozenMap((str(key), _frozen(inner)) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return tuple(_frozen(inner) for inner in value)
    return value


Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]
Number = Annotated[int, Strict(), Field(ge=-(2**31), lt=2**31)]
Unsigned = Annotated[int, Strict(), Field(ge=0, lt=2**32)]
Unsigned64 = Annotated[int, Strict(), Field(ge=0, lt=2**64)]
Double = Annotated[float, Field(allow_inf_nan=False)]
# Strict floats refuse integers, lax ones take text: only the second is a mistake of the user's.
Real = Annotated[Double, BeforeValidator(_number)]
Duration = Annotated[timedelta, PlainValidator(_duration), WithJsonSchema({"type": "string"})]
PartsPerMillion = Annotated[
    int, PlainValidator(_parts_per_million), WithJsonSchema({"type": "number", "minimum": 0, "maximum": 100})
]
# Free-form JSON: fields whose shape is somebody else's.
Struct = Annotated[Any, PlainValidator(_frozen), WithJsonSchema({})]
Texts = tuple[Text, ...]
StringMap = FrozenMap[Text, Text]

NOTHING: StringMap = FrozenMap()


class Percent(Kind):
    """A percentage. Istio, "Percent". Kept as parts per million (``mesh.durations``)."""

    value: PartsPerMillion = 0
