"""Istio's spellings of time and percentage, and back.

Istio reads Go durations (``1h30m``, ``1.5s``, ``300ms``); protobuf JSON writes seconds (``5s``).
Both are understood. A percentage is kept as parts per million, because a float can neither be
hashed nor compared and the value is part of memo keys (Envoy's ``FractionalPercent.MILLION``).
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal, InvalidOperation

_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_MICROSECONDS = {
    "ns": Decimal("0.001"),
    "us": Decimal(1),
    "µs": Decimal(1),
    "ms": Decimal(1000),
    "s": Decimal(1_000_000),
    "m": Decimal(60_000_000),
    "h": Decimal(3_600_000_000),
}
MILLION = 1_000_000


def parse_duration(text: str) -> timedelta:
    """A Go or protobuf duration. :raises ValueError: when it is neither."""
    body = text.removeprefix("-")
    negative = body != text
    total, at = Decimal(0), 0
    if body == "0":
        return timedelta(0)
    for part in _PART.finditer(body):
        if part.start() != at:
            break
        total += Decimal(part[1]) * _MICROSECONDS[part[2]]
        at = part.end()
    if not body or at != len(body):
        raise ValueError(f"not a duration: {text!r}")
    try:
        return timedelta(microseconds=int(-total if negative else total))
    except OverflowError:
        raise ValueError(f"too long a duration: {text!r}") from None


def format_duration(value: timedelta) -> str:
    """The protobuf JSON spelling: seconds, with as many decimals as needed."""
    microseconds = value // timedelta(microseconds=1)
    whole, rest = divmod(abs(microseconds), 1_000_000)
    sign = "-" if microseconds < 0 else ""
    fraction = f".{rest:06d}".rstrip("0") if rest else ""
    return f"{sign}{whole}{fraction}s"


def spoken_duration(value: timedelta) -> str:
    """Go's spelling, for people: ``168h``, ``1h30m``, ``1.5s``. What is nought is left out."""
    seconds, _, fraction = format_duration(abs(value)).removesuffix("s").partition(".")
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    precise = f"{rest}.{fraction}" if fraction else str(rest)
    parts = ((str(hours), "h"), (str(minutes), "m"), (precise, "s"))
    spoken = "".join(f"{number}{unit}" for number, unit in parts if number != "0")
    return f"{'-' if value < timedelta(0) else ''}{spoken or '0s'}"


def parts_per_million(percent: float | str) -> int:
    """A percentage (0 to 100) as parts per million, rounded to the nearest. :raises ValueError:"""
    try:
        value = Decimal(str(percent))
    except InvalidOperation:
        raise ValueError(f"not a percentage: {percent!r}") from None
    # NaN cannot even be compared.
    if value.is_nan() or not 0 <= value <= 100:
        raise ValueError(f"not between 0 and 100: {percent!r}")
    return int((value * 10_000).to_integral_value())
