"""What is found by something else than its key: Pods by Node, slices by Pod, Services by selector.

Neither kind of index leaves anything behind where nothing is left: names come and go for as long as the
cluster lives.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Generic, TypeVar

from registries.kubernetes.objects import Key

H = TypeVar("H", bound=Hashable)


class Index(Generic[H]):
    """Many keys at each place."""

    def __init__(self) -> None:
        self._keys: dict[H, set[Key]] = {}

    def at(self, place: H) -> Collection[Key]:
        return self._keys.get(place, ())

    def add(self, place: H, key: Key) -> None:
        self._keys.setdefault(place, set()).add(key)

    def discard(self, place: H, key: Key) -> None:
        if (found := self._keys.get(place)) is None:
            return
        found.discard(key)
        if not found:
            del self._keys[place]

    def forget(self, place: H) -> None:
        """Everything at this place."""
        self._keys.pop(place, None)

    def move(self, key: Key, before: set[H], after: set[H]) -> None:
        """The key was at the places ``before``, and is at those ``after``."""
        for place in before - after:
            self.discard(place, key)
        for place in after - before:
            self.add(place, key)


class SparseIndex:
    """One key, or very few, at each of very many places: a set for each would cost more than all the rest.

    Equal tuples are one object: a hundred Pods in one slice share theirs.
    """

    def __init__(self) -> None:
        self._keys: dict[Key, tuple[Key, ...]] = {}

    def at(self, place: Key) -> tuple[Key, ...]:
        return self._keys.get(place, ())

    def move(self, key: Key, before: set[Key], after: set[Key]) -> None:
        """The key was at the places ``before``, and is at those ``after``."""
        alone = (key,)
        for place in before - after:
            if left := tuple(one for one in self._keys.get(place, ()) if one != key):
                self._keys[place] = left
            else:
                self._keys.pop(place, None)
        for place in after - before:
            known = self._keys.get(place)
            self._keys[place] = alone if known is None else (*known, key)

    @property
    def places(self) -> Mapping[Key, tuple[Key, ...]]:
        return self._keys
