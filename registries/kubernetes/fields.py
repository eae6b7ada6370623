"""Fields of objects of the Kubernetes API, each read as what it has to be.

``null`` is the same as nothing said. A field of another type raises :class:`Unreadable`, and nothing but it.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

from mesh.labels import NO_LABELS, Labels, labels

Json = Mapping[str, Any]
T = TypeVar("T")


class Unreadable(Exception):
    """An object, or a field of it, is not what the API says it is."""


def text(data: Json, name: str) -> str:
    return _field(data, name, str, "text", "")


def number(data: Json, name: str) -> int:
    return _field(data, name, int, "a number", 0)


def flag(data: Json, name: str, *, absent: bool) -> bool:
    return _field(data, name, bool, "true or false", absent)


def mapping(data: Json, name: str) -> dict[str, Any]:
    return _field(data, name, dict, "an object", {})


def items(data: Json, name: str) -> list[dict[str, Any]]:
    return _listed(data, name, dict, "an object")


def texts(data: Json, name: str) -> tuple[str, ...]:
    return tuple(_listed(data, name, str, "text"))


def pairs(data: Json, name: str) -> Labels:
    found = mapping(data, name)
    if not found:
        return NO_LABELS
    for key, value in found.items():
        if not isinstance(value, str):
            raise Unreadable(f"{name}.{key}: expected text, found {type(value).__name__}")
    return _shared(labels((sys.intern(key), value) for key, value in found.items()))


def ip(said: str) -> str:
    """An IP address in its shortest spelling; the Pod and the slices that say it share one object."""
    try:
        return sys.intern(str(ipaddress.ip_address(said)))
    except ValueError:
        raise Unreadable(f"expected an IP address, found {said!r}") from None


def created(metadata: Json) -> datetime | None:
    said = text(metadata, "creationTimestamp")
    if not said:
        return None
    try:
        return datetime.fromisoformat(said)
    except ValueError:
        raise Unreadable(f"creationTimestamp: expected a time, found {said!r}") from None


def _field(data: Json, name: str, kind: type[T], word: str, absent: T) -> T:
    value = data.get(name)
    if value is None:
        return absent
    if not isinstance(value, kind):
        raise Unreadable(f"{name}: expected {word}, found {type(value).__name__}")
    return value


def _listed(data: Json, name: str, kind: type[T], word: str) -> list[T]:
    found = _field(data, name, list, "a list", [])
    for index, value in enumerate(found):
        if not isinstance(value, kind):
            raise Unreadable(f"{name}[{index}]: expected {word}, found {type(value).__name__}")
    return found


# The Pods of one template have the same labels, and so have the Services of one chart.
@lru_cache(maxsize=16384)
def _shared(found: Labels) -> Labels:
    return found
