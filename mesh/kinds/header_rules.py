"""Rules for what stands in headers: names, values, and everything that becomes part of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from mesh.kinds.header_operators import wrong_operator
from mesh.kinds.rules import wrong
from mesh.places import Place
from mesh.problems import Problem

# Envoy's own limit for names and values.
HEADER_BYTES_MAX: Final = 16384

_HEADER_NAME = re.compile(r"[-a-zA-Z0-9!#$%&'*+.^_`|~]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_PSEUDO_HEADERS: Final = frozenset({":method", ":scheme", ":authority", ":path", ":status"})


def header_match_name(name: str) -> str:
    if not name:
        return "expected the name of a header, found nothing"
    if name in _PSEUDO_HEADERS or name.startswith("@request.auth.claims") or _HEADER_NAME.fullmatch(name):
        return ""
    return f"not the name of a header: {name!r}"


def header_edit_name(name: str) -> str:
    """A header that may be removed, or edited in a response."""
    if name.lower() == "host" or name.startswith(":"):
        return f"{name!r} is not a header that can be edited here"
    return header_name(name)


def header_name(name: str) -> str:
    """Without Envoy's pseudo headers."""
    if not name:
        return "expected the name of a header, found nothing"
    if not _HEADER_NAME.fullmatch(name) or len(name) > HEADER_BYTES_MAX:
        return f"not the name of a header: {name!r}"
    return ""


def line(value: str) -> str:
    """What becomes part of a header: Envoy refuses a whole table for a line break in one."""
    if not _HEADER_VALUE.fullmatch(value):
        return f"control characters are not allowed here: {value!r}"
    size = len(value.encode())
    return f"expected at most {HEADER_BYTES_MAX} bytes, found {size}" if size > HEADER_BYTES_MAX else ""


def lines(place: Place, path: str, /, **values: str) -> Iterator[Problem]:
    """The rule over fields, named as in documents."""
    for name, value in values.items():
        yield from wrong(place, f"{path}.{name}", line(value))


def header_value(value: str) -> str:
    """Text in which ``%`` only stands in pairs around one of Envoy's operators, or doubled."""
    if message := line(value):
        return message
    if not re.fullmatch(r"(?:[^%]|%%|%[A-Z][A-Z0-9_]*(?:\([^)]*\))?(?::[0-9]+)?%)*", value):
        return f"not the value of a header: {value!r} (write '%%' for a percent sign)"
    return wrong_operator(value)
