"""JSON of any size, read without keeping the loop.

A page of EndpointSlices has megabytes, and ``json.loads`` takes 20 milliseconds for each. A thread would not
help: it holds the interpreter's lock until it is done. So the lists of the outermost object are read item by
item, and the loop is given back in between.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from json import JSONDecodeError
from typing import Any, Final

from mesh.clock import breathe

_AT_ONCE: Final = 128 * 1024  # characters: some milliseconds
_DECODER: Final = json.JSONDecoder()
_BLANK: Final = re.compile(r"[ \t\n\r]*")


async def parsed(body: bytes) -> Any:
    """What ``json.loads`` makes of it.

    :raises ValueError: when it is not JSON in UTF-8.
    :raises RecursionError: when it is nested too deeply.
    """
    if len(body) <= _AT_ONCE:
        return json.loads(body)
    text = body.decode()
    if not text.startswith("{", _after_blank(text, 0)):
        return json.loads(text)
    found: dict[str, Any] = {}
    breathed = 0
    for at in _members(text, found):
        if at - breathed >= _AT_ONCE:
            breathed = at
            await breathe()
    return found


def _members(text: str, found: dict[str, Any]) -> Iterator[int]:
    """Fill the outermost object, and say now and then how far the text is read."""
    at = _after_blank(text, _after_blank(text, 0) + 1)
    if text.startswith("}", at):
        _end(text, at + 1)
        return
    while True:
        name, at = _value(text, at)
        if not isinstance(name, str):
            raise JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
        at = _past(text, at, ":")
        if text.startswith("[", at):
            items: list[Any] = []
            found[name] = items
            at = yield from _items(text, at, items)
        else:
            found[name], at = _value(text, at)
        yield at
        if text.startswith("}", at):
            _end(text, at + 1)
            return
        at = _past(text, at, ",")


def _items(text: str, at: int, items: list[Any]) -> Generator[int, None, int]:
    """Fill a list that begins at ``at``. Returns where the next thing begins."""
    at = _after_blank(text, at + 1)
    if text.startswith("]", at):
        return _after_blank(text, at + 1)
    while True:
        item, at = _value(text, at)
        items.append(item)
        yield at
        if text.startswith("]", at):
            return _after_blank(text, at + 1)
        at = _past(text, at, ",")


def _value(text: str, at: int) -> tuple[Any, int]:
    """One value, and where the next thing begins."""
    value, at = _DECODER.raw_decode(text, at)
    return value, _after_blank(text, at)


def _past(text: str, at: int, mark: str) -> int:
    if not text.startswith(mark, at):
        raise JSONDecodeError(f"Expecting {mark!r} delimiter", text, at)
    return _after_blank(text, at + 1)


def _end(text: str, at: int) -> None:
    if (at := _after_blank(text, at)) != len(text):
        raise JSONDecodeError("Extra data", text, at)


def _after_blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at
