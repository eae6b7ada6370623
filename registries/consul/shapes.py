"""The shapes of what Consul says, checked where it comes in; behind this module they are taken for granted.

What is no list of registrations at all is not Consul, and is not believed. Within such a list one that
cannot be read must not stop the others: it is left out, and a person is told. ``null`` means that nothing is
said, as Go writes it for empty lists and maps.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mesh.errors import Unavailable

PASSING = "passing"
Shape = Callable[[Any, str], str]
"""Takes a value and where it stands; tells the place in it that is wrong, nothing when all is well."""
Trouble = tuple[str, str, str]
"""A check that does not pass: its node, its id and its status."""


def rows(body: Any, **fields: type) -> list[dict[str, Any]]:
    """A list of objects that have these fields; ``null`` is an empty one.

    :raises Unavailable: when it is not: what answers is not Consul.
    """
    found = [] if body is None else body
    if isinstance(found, list) and all(_has(row, fields) for row in found):
        return found
    raise Unavailable(f"Consul answers without {', '.join(fields)}", hint="check the address of the registry")


def entries_of(body: Any) -> list[dict[str, Any]]:
    """The body of ``health/service``; what is within an entry is told by :func:`misshapen`.

    :raises Unavailable: when it is not one.
    """
    return rows(body, Node=dict, Service=dict)


def misshapen(entry: Mapping[str, Any]) -> str:
    """The first place in an entry that is not as Consul says it, such as ``Service.Weights.Passing``."""
    return _ENTRY(entry, "").removeprefix(".")


def at(entry: Mapping[str, Any], place: str) -> Any:
    """What stands at a place, ``None`` where it leads nowhere."""
    found: Any = entry
    for key in place.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def troubles(entry: Mapping[str, Any]) -> Iterator[Trouble]:
    """The checks of one entry that do not pass, its node's included: also of an entry that is left out."""
    checks = entry.get("Checks")
    for check in checks if isinstance(checks, list) else ():
        if not _CHECK(check, "Checks") and check["Status"] != PASSING:
            yield trouble(check)


def trouble(check: Mapping[str, Any]) -> Trouble:
    return sys.intern(check["Node"]), check["CheckID"], sys.intern(check["Status"])


def node_of(entry: Mapping[str, Any]) -> tuple[str, int] | None:
    """The node, and the index at which it changed last; ``None`` when it does not say."""
    node = entry["Node"]
    name, index = node.get("Node"), node.get("ModifyIndex")
    return (sys.intern(name), index) if isinstance(name, str) and isinstance(index, int) else None


def _has(row: object, fields: Mapping[str, type]) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(name), kind) for name, kind in fields.items())


def _text(value: Any, where: str) -> str:
    """Text that can be written down again: JSON may hold halves of characters, UTF-8 cannot."""
    if not isinstance(value, str):
        return where
    if value.isascii():
        return ""
    return where if any("\ud800" <= one <= "\udfff" for one in value) else ""


def _number(value: Any, where: str) -> str:
    return "" if isinstance(value, int) and not isinstance(value, bool) else where


def _maybe(shape: Shape) -> Shape:
    return lambda value, where: "" if value is None else shape(value, where)


def _list(shape: Shape) -> Shape:
    def wrong(value: Any, where: str) -> str:
        if not isinstance(value, list):
            return where
        return next((where for one in value if shape(one, where)), "")

    return wrong


def _map(shape: Shape) -> Shape:
    """Keys may be anything, so a wrong value is told by the map that holds it."""

    def wrong(value: Any, where: str) -> str:
        if not isinstance(value, dict):
            return where
        return next((where for pair in value.items() if _text(pair[0], where) or shape(pair[1], where)), "")

    return wrong


def _object(**fields: Shape) -> Shape:
    """With these fields among others."""

    def wrong(value: Any, where: str) -> str:
        if not isinstance(value, dict):
            return where
        for name, shape in fields.items():
            if found := shape(value.get(name), f"{where}.{name}"):
                return found
        return ""

    return wrong


_TEXT, _NUMBER, _TEXTS = _maybe(_text), _maybe(_number), _maybe(_map(_text))
_LOCALITY = _maybe(_object(Region=_TEXT, Zone=_TEXT))
_CHECK = _object(Node=_text, CheckID=_text, Status=_text)
_ENTRY = _object(
    Node=_object(
        Node=_text,
        Address=_TEXT,
        Datacenter=_TEXT,
        ModifyIndex=_number,
        Meta=_TEXTS,
        TaggedAddresses=_TEXTS,
        Locality=_LOCALITY,
    ),
    Service=_object(
        ID=_text,
        Service=_text,
        Kind=_TEXT,
        Address=_TEXT,
        Port=_NUMBER,
        Tags=_maybe(_list(_text)),
        Meta=_TEXTS,
        Weights=_maybe(_object(Passing=_NUMBER, Warning=_NUMBER)),
        TaggedAddresses=_maybe(_map(_object(Address=_TEXT, Port=_NUMBER))),
        Ports=_maybe(_list(_object(Name=_TEXT, Port=_NUMBER))),
        Locality=_LOCALITY,
    ),
    Checks=_maybe(_list(_CHECK)),
)
