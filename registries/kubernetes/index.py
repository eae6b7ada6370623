"""What is found by something else than its key: Pods by Node, slices by Pod, Services by selector.

Neither kind of index leaves anything behind where nothing is left: names come and go for as long as the
cluster lives.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Generic, TypeVar

from registries.kubernetes.objects import Key

H = TypeVar("H", bound=Hashable)


class Index(Generic[H]):
    """Many keys at each place."""

    def __init__(self) -> None:
        # A dictionary of a hundred keys is half as large as a set of them.
        self._keys: dict[H, dict[Key, None]] = {}

    def at(self, place: H) -> Collection[Key]:
        return self._keys.get(place, ())

    def add(self, place: H, key: Key) -> None:
        self._keys.setdefault(place, {})[key] = None

    def discard(self, place: H, key: Key) -> None:
        if (found := self._keys.get(place)) is None:
            return
        found.pop(key, None)
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
    """One key, or very few, at each of very many: a collection for each would cost more than all the rest.

    A hundred Pods in one slice share one tuple. By namespace, then by name, so that no key has to be kept.
    """

    def __init__(self) -> None:
        self._keys: dict[str, dict[str, tuple[Key, ...]]] = {}

    def at(self, place: Key) -> tuple[Key, ...]:
        namespace, name = place
        return self._keys.get(namespace, {}).get(name, ())

    def move(self, key: Key, before: set[Key], after: set[Key]) -> None:
        """The key was at the places ``before``, and is at those ``after``."""
        for place in before - after:
            self._put(place, tuple(one for one in self.at(place) if one != key))
        alone = (key,)
        for place in after - before:
            known = self.at(place)
            self._put(place, (*known, key) if known else alone)

    def _put(self, place: Key, keys: tuple[Key, ...]) -> None:
        namespace, name = place
        named = self._keys.setdefault(namespace, {})
        if keys:
            named[name] = keys
            return
        named.pop(name, None)
        if not named:
            del self._keys[namespace]
