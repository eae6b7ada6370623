"""The objects of one kind that a cluster has, as far as we have heard."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, Generic, Protocol, TypeVar

from mesh.clock import breathe
from registries.kubernetes.objects import Key

_AT_ONCE: Final = 50  # slices of a hundred endpoints are indexed in ten milliseconds


class Keyed(Protocol):
    """An object that says what it is called."""

    @property
    def key(self) -> Key: ...


T = TypeVar("T", bound=Keyed)
Changed = Callable[[T | None, T | None], None]
"""Called with an object before and after; ``None`` where it does not exist."""


class Table(Generic[T]):
    """Objects by key. Owned by the reflector of its kind; ``changed`` hears of real changes only."""

    def __init__(self, kind: str, changed: Changed[T]) -> None:
        self.kind = kind
        self._changed = changed
        self._objects: dict[Key, T] = {}
        self.unreadable: dict[Key, str] = {}
        """What is wrong with objects that cannot be read; what was known of them before stays."""

    def get(self, key: Key) -> T | None:
        return self._objects.get(key)

    def put(self, new: T) -> None:
        """It exists, as this."""
        self.unreadable.pop(new.key, None)
        before = self._objects.get(new.key)
        if before != new:
            self._objects[new.key] = new
            self._changed(before, new)

    def drop(self, key: Key) -> None:
        """It is gone."""
        self.unreadable.pop(key, None)
        if (before := self._objects.pop(key, None)) is not None:
            self._changed(before, None)

    async def replace(self, listed: Collection[T], unreadable: Mapping[Key, str]) -> None:
        """A full list: what it does not name has gone, and nobody told us.

        What cannot be read exists all the same, so it is never taken for gone. The loop is given back now
        and then; each single step is true by itself.
        """
        self.unreadable = dict(unreadable)
        alive = {*(one.key for one in listed), *unreadable}
        for number, key in enumerate(self._objects.keys() - alive, 1):
            self.drop(key)
            if number % _AT_ONCE == 0:
                await breathe()
        for number, one in enumerate(listed, 1):
            self.put(one)
            if number % _AT_ONCE == 0:
                await breathe()

    def __iter__(self) -> Iterator[T]:
        return iter(self._objects.values())

    def __len__(self) -> int:
        return len(self._objects)
