"""Frozen dataclasses as JSON, and exactly back.

How a type is written follows from its fields, so a new field needs no word here. Fields at their defaults are
left out. What is read is one object per value, as labels, localities and names are shared by thousands.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Generic, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
_Write = Callable[[Any], Any]
_Read = Callable[[Any], Any]


class Codec(Generic[T]):
    """Writes and reads one type.

    ``shared`` holds every value that was read; codecs that have it in common share what they read.
    """

    def __init__(self, kind: Any, shared: dict[object, object]) -> None:
        self._share = shared.setdefault
        self._known: dict[Any, tuple[_Write, _Read]] = {}
        self._write, self._read = self._ways(kind)

    def write(self, value: T) -> str:
        return json.dumps(self._write(value), separators=(",", ":"), ensure_ascii=False)

    def read(self, text: str) -> T:
        """The inverse of :meth:`write`.

        :raises ValueError: when it is not what :meth:`write` made of this type.
        """
        try:
            return cast("T", self._read(json.loads(text)))
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"cannot read {text[:80]!r}: {error}") from error

    def _ways(self, kind: Any) -> tuple[_Write, _Read]:
        if kind not in self._known:
            self._known[kind] = self._made(kind)
        return self._known[kind]

    def _made(self, kind: Any) -> tuple[_Write, _Read]:
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType):
            (inner,) = (argument for argument in arguments if argument is not types.NoneType)
            write, read = self._ways(inner)
            return (
                lambda value: None if value is None else write(value),
                lambda plain: None if plain is None else read(plain),
            )
        if origin is tuple:
            return self._tuple(arguments)
        if is_dataclass(kind):
            return self._dataclass(kind)
        if kind is datetime:
            return datetime.isoformat, datetime.fromisoformat
        if issubclass(kind, Enum):
            return lambda value: value.value, kind
        if kind is str:
            return str, self._text
        if kind in (int, bool):
            return kind, lambda plain: _checked(plain, kind)
        raise TypeError(f"no way to write {kind}")

    def _text(self, plain: Any) -> object:
        if type(plain) is not str:
            raise TypeError(f"expected text, found {plain!r}")
        return self._share(plain, plain)

    def _tuple(self, arguments: tuple[Any, ...]) -> tuple[_Write, _Read]:
        if arguments[1:] != (...,):
            writes, reads = zip(*map(self._ways, arguments), strict=True)
            return (
                lambda value: [write(one) for write, one in zip(writes, value, strict=True)],
                lambda plain: self._once(tuple([read(one) for read, one in zip(reads, plain, strict=True)])),
            )
        write, read = self._ways(arguments[0])
        # Those of dataclasses are long and seldom equal to another: not worth a hash.
        share = tuple if is_dataclass(arguments[0]) else lambda found: self._once(tuple(found))
        return (
            lambda value: [write(one) for one in value],
            lambda plain: share(map(read, plain)),
        )

    def _once(self, value: object) -> object:
        return self._share(value, value)

    def _dataclass(self, kind: Any) -> tuple[_Write, _Read]:
        hints = get_type_hints(kind)
        ways = {field.name: (*self._ways(hints[field.name]), _default(field)) for field in fields(kind)}
        reads = {name: read for name, (_, read, _) in ways.items()}
        is_compared_by_value = kind.__eq__ is not object.__eq__

        def write(value: Any) -> dict[str, Any]:
            plain = {}
            for name, (written, _, default) in ways.items():
                if (part := getattr(value, name)) != default:
                    plain[name] = written(part)
            return plain

        def read(plain: Any) -> object:
            value = kind(**{name: reads[name](part) for name, part in plain.items()})
            return self._share(value, value) if is_compared_by_value else value

        return write, read


def _default(field: Field[Any]) -> object:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def _checked(plain: object, kind: type) -> object:
    if type(plain) is not kind:
        raise TypeError(f"expected {kind.__name__}, found {plain!r}")
    return plain
