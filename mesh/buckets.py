"""A mapping by name that is never edited: the next one shares with it all but what changed.

A dictionary that is copied for every change costs as much as all that did not change. So the entries lie in
buckets by the hash of their names: an edit copies one small bucket, and who asks what changed looks only
into buckets that are not the same object. The number of buckets follows the number of entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, ValuesView
from typing import Any, Self, TypeVar, overload

V_co = TypeVar("V_co", covariant=True)
V = TypeVar("V")
T = TypeVar("T")

_ENTRIES_MAX = 128
"""Per bucket, on average: beyond it there are four times as many buckets."""
_NOTHING: tuple[dict[str, Any], ...] = ({},)


class _Values(ValuesView[V_co]):
    """Without looking up each name: there may be a hundred thousand."""

    _mapping: Buckets[V_co]

    def __iter__(self) -> Iterator[V_co]:
        return (value for bucket in self._mapping.in_buckets() for value in bucket.values())


class Buckets(Mapping[str, V_co]):
    """Names to values. Made by :meth:`of` and :meth:`edited`."""

    __slots__ = ("_buckets", "_length")

    def __init__(self, buckets: tuple[dict[str, V_co], ...] = _NOTHING, length: int = 0) -> None:
        self._buckets, self._length = buckets, length

    @classmethod
    def of(cls, entries: Mapping[str, V_co]) -> Self:
        """These entries; itself when they are buckets already."""
        if isinstance(entries, cls):
            return entries
        count = 1
        while len(entries) > count * _ENTRIES_MAX:
            count *= 4
        buckets: tuple[dict[str, V_co], ...] = tuple({} for _ in range(count))
        for name, value in entries.items():
            buckets[hash(name) % count][name] = value
        return cls(buckets, len(entries))

    def edited(self: Buckets[V], edits: Mapping[str, V | None]) -> Buckets[V]:
        """With these values in place of those before, and without those that are ``None``.

        Itself when every edit is the very object that is there.
        """
        changed: dict[int, dict[str, V]] = {}
        length = self._length
        for name, value in edits.items():
            at = hash(name) % len(self._buckets)
            bucket = changed.get(at, self._buckets[at])
            known = bucket.get(name)
            if known is value:
                continue
            if at not in changed:
                bucket = changed[at] = dict(bucket)
            if value is None:
                del bucket[name]
                length -= 1
            else:
                bucket[name] = value
                length += known is None
        if not changed:
            return self
        buckets = tuple(changed.get(at, bucket) for at, bucket in enumerate(self._buckets))
        made = Buckets(buckets, length)
        return Buckets.of(dict(made)) if length > len(buckets) * _ENTRIES_MAX else made

    def changed_since(self, before: Mapping[str, Any]) -> Iterator[str]:
        """The names whose value is another object than before, or is in one of the two only."""
        if before is self:
            return
        old = Buckets.of(before)
        if len(old._buckets) == len(self._buckets):  # noqa: SLF001 - our own class
            pairs = zip(old._buckets, self._buckets, strict=True)  # noqa: SLF001 - our own class
        else:
            pairs = zip((dict(old),), (dict(self),), strict=True)
        for left, entered in pairs:
            if left is not entered:
                yield from (name for name in {**left, **entered} if left.get(name) is not entered.get(name))

    def values(self) -> ValuesView[V_co]:
        return _Values(self)

    def in_buckets(self) -> Iterator[Mapping[str, V_co]]:
        return iter(self._buckets)

    def __getitem__(self, name: str) -> V_co:
        return self._buckets[hash(name) % len(self._buckets)][name]

    @overload
    def get(self, name: str, /) -> V_co | None: ...

    @overload
    def get(self, name: str, /, default: V_co | T) -> V_co | T: ...

    def get(self, name: str, /, default: Any = None) -> Any:
        return self._buckets[hash(name) % len(self._buckets)].get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._buckets[hash(name) % len(self._buckets)]

    def __iter__(self) -> Iterator[str]:
        return (name for bucket in self._buckets for name in bucket)

    def __len__(self) -> int:
        return self._length
