"""Mappings made of one mapping per namespace.

A change in one namespace replaces that one's mapping and shares all others, so that who asks what changed
looks only where they are not the same object.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterator, Mapping, ValuesView
from types import MappingProxyType
from typing import Any, TypeVar, overload

from mesh.buckets import Buckets

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
V_co = TypeVar("V_co", covariant=True)
_EMPTY: Mapping[str, Any] = MappingProxyType({})


class _Values(ValuesView[V_co]):
    """Without looking up each key: there may be a hundred thousand."""

    _mapping: ByNamespace[Any, V_co]

    def __iter__(self) -> Iterator[V_co]:
        return (value for part in self._mapping.parts.values() for value in part.values())


class ByNamespace(Mapping[K, V_co]):
    """Keys are made of a namespace and a name; how is said by subclasses."""

    __slots__ = ("parts",)

    def __init__(self, parts: Mapping[str, Mapping[str, V_co]] = _EMPTY) -> None:
        self.parts = parts

    @staticmethod
    @abstractmethod
    def _split(key: Any) -> tuple[str, str]:
        """Namespace and name of a key."""

    @staticmethod
    @abstractmethod
    def _joined(namespace: str, name: str) -> Any:
        """The key of a namespace and a name."""

    def __getitem__(self, key: K) -> V_co:
        namespace, name = self._split(key)
        try:
            return self.parts[namespace][name]
        except KeyError:
            raise KeyError(key) from None

    @overload
    def get(self, key: K, /) -> V_co | None: ...

    @overload
    def get(self, key: K, /, default: V_co | T) -> V_co | T: ...

    def get(self, key: K, /, default: Any = None) -> Any:
        namespace, name = self._split(key)
        return self.within(namespace).get(name, default)

    def values(self) -> ValuesView[V_co]:
        return _Values(self)

    def __iter__(self) -> Iterator[K]:
        return (self._joined(namespace, name) for namespace, part in self.parts.items() for name in part)

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts.values())

    def within(self, namespace: str) -> Mapping[str, V_co]:
        """What is in one namespace, by name: the same object as long as nothing in it changed."""
        return self.parts.get(namespace, _EMPTY)

    def changed_since(self, before: ByNamespace[K, V_co]) -> Iterator[K]:
        """The keys whose value is another object than before, or is in one of the two only."""
        for namespace in {*self.parts, *before.parts}:
            new = Buckets.of(self.within(namespace))
            for name in new.changed_since(before.within(namespace)):
                yield self._joined(namespace, name)
