"""A mapping that cannot change and can be hashed: what a kind has where Istio has a map.

Entries are kept sorted by key, so that two documents that list them in different orders yield
equal values, and whatever is built by walking one is the same every time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar, final, get_args

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

K = TypeVar("K", str, int)
V_co = TypeVar("V_co", covariant=True)


@final
class FrozenMap(Mapping[K, V_co], Generic[K, V_co]):
    """An immutable, hashable, sorted mapping."""

    __slots__ = ("_entries", "_hash")

    def __init__(self, entries: Mapping[K, V_co] | Iterable[tuple[K, V_co]] = ()) -> None:
        self._entries: dict[K, V_co] = dict(sorted(dict(entries).items(), key=lambda entry: entry[0]))
        self._hash: int | None = None

    @property
    def pairs(self) -> tuple[tuple[K, V_co], ...]:
        """The entries as a sorted tuple: the form of :data:`mesh.labels.Labels`."""
        return tuple(self._entries.items())

    def __getitem__(self, key: K) -> V_co:
        return self._entries[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FrozenMap):
            return self._entries == other._entries
        return isinstance(other, Mapping) and self._entries == dict(other)

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(self.pairs)
        return self._hash

    def __repr__(self) -> str:
        return f"FrozenMap({self._entries!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        key, value = get_args(source) or (str, Any)
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.no_info_before_validator_function(
                _thawed,
                core_schema.dict_schema(handler.generate_schema(key), handler.generate_schema(value)),
            ),
        )


def _thawed(value: object) -> object:
    """A frozen map may be handed in again (a model built from parts of another)."""
    return dict(value) if isinstance(value, FrozenMap) else value
