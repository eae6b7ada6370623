"""Named bytes with content-hash versions; sets of them by reference; the consistency check.

A resource is serialised once (DESIGN D3). A :class:`Part` is everything of one type that one facet
contributes; it is replaced only when something in it changed, so streams refer to it instead of
copying it, and :func:`diff` between two parts is computed once for all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from mesh.names import ObjectKey
from xds import constraints, envoy


def version_of(body: bytes) -> str:
    """The version of a resource: 8 bytes of BLAKE2b over what is sent, as 16 hexadecimal digits."""
    return blake2b(body, digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One resource as it travels. ``body`` is the serialised ``google.protobuf.Any``.

    ``sources`` are the configuration objects it came from; files and lines belong to a revision and
    are looked up when someone asks. ``endpoints_of`` and ``routes`` name what must exist beside it.
    """

    name: str
    type_url: str
    body: bytes
    version: str
    sources: tuple[ObjectKey, ...] = ()
    needs: tuple[str, ...] = ()
    """EDS names (of a cluster) or route tables (of a listener) that this resource points at."""

    @classmethod
    def of(
        cls, name: str, value: Any, *, sources: tuple[ObjectKey, ...] = (), needs: tuple[str, ...] = ()
    ) -> Resource:
        """Serialise ``value``, which is not used again.

        :raises ConstraintError: when Envoy would refuse it, and with it whatever is sent beside it.
        """
        body = constraints.serialised(value)
        return cls.of_bytes(name, envoy.type_url(value), body, sources=sources, needs=needs)

    @classmethod
    def of_bytes(
        cls,
        name: str,
        type_url: str,
        value: bytes,
        *,
        sources: tuple[ObjectKey, ...] = (),
        needs: tuple[str, ...] = (),
    ) -> Resource:
        """From the bytes of the message itself, whose parts were checked when they were made."""
        body = field(1, type_url.encode()) + field(2, value)
        return cls(name, type_url, body, version_of(body), sources, needs)

    @property
    def message(self) -> Any:
        """The message, parsed anew. For people and tests."""
        return envoy.unpacked(self.body)


def varint(number: int) -> bytes:
    """A protobuf base-128 varint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, value: bytes) -> bytes:
    """A length-delimited protobuf field. Fields concatenate: bodies are joined, never rebuilt."""
    return varint(number << 3 | 2) + varint(len(value)) + value


_serials = itertools.count(1)


class Part:
    """An immutable set of resources of one type. Compared by identity.

    ``serial`` grows with every part made, so that of two parts of one facet the newer is known (D16).
    Keeps the last few differences to parts before it, so that every stream that moves from the same old
    part to this one gets the same object.
    """

    __slots__ = ("_changes", "resources", "serial", "type_url")

    def __init__(self, type_url: str, resources: Mapping[str, Resource]) -> None:
        self.type_url = type_url
        self.serial = next(_serials)
        self.resources = resources
        self._changes: dict[int, tuple[Part, Change]] = {}

    @classmethod
    def of(cls, type_url: str, resources: Iterable[Resource]) -> Part:
        """:raises ValueError: when two resources have one name, which is a bug of translation."""
        found: dict[str, Resource] = {}
        for resource in resources:
            if found.setdefault(resource.name, resource) is not resource:
                raise ValueError(f"two resources of one name: {resource.name!r}")
        return cls(type_url, found)

    def succeeded_by(self, resources: Mapping[str, Resource]) -> Part:
        """This very part when ``resources`` are the same versions under the same names, else a new one."""
        same = len(resources) == len(self.resources) and all(
            (old := self.resources.get(name)) is new or (old is not None and old.version == new.version)
            for name, new in resources.items()
        )
        return self if same else Part(self.type_url, resources)

    def since(self, old: Part) -> Change:
        """What a proxy that holds ``old`` must be told to hold this."""
        known = self._changes.get(id(old))
        if known is not None and known[0] is old:
            return known[1]
        change = _compare(old, self)
        # Whoever still holds the old part goes to this one: what led to it is not asked for again, and
        # would keep every part there ever was.
        old._changes.clear()
        if len(self._changes) >= _REMEMBERED_CHANGES:
            self._changes.clear()
        self._changes[id(old)] = (old, change)
        return change

    def __len__(self) -> int:
        return len(self.resources)


# A part is reached from the one before it, from nothing, and from a few older ones by slow readers.
_REMEMBERED_CHANGES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """The difference between two parts."""

    changed: tuple[Resource, ...]
    removed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed)


def _compare(old: Part, new: Part) -> Change:
    before, after = old.resources, new.resources
    changed = tuple(
        resource
        for name, resource in after.items()
        if (known := before.get(name)) is None or known.version != resource.version
    )
    return Change(changed, tuple(name for name in before if name not in after))


NOTHING: Mapping[str, Part] = {type_url: Part(type_url, {}) for type_url in envoy.TYPES}
"""The empty part of each type."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one proxy shall have: the parts of its facets by type, and the revision they came from.

    Parts of one type never share a name. Two assignments with the same parts are equal to a proxy.
    """

    parts: Mapping[str, tuple[Part, ...]]
    revision: str


class InconsistentError(Exception):
    """Resources of ours point at resources of ours that do not exist. A bug: it is raised, not reported."""


def check_consistent(parts: Mapping[str, tuple[Part, ...]]) -> None:
    """Every EDS cluster has its assignment and every listener its route table.

    Routes to clusters that do not exist are the user's business and stay visible (STYLE 4.3).
    :raises InconsistentError:
    """
    for pointing, pointed in ((envoy.CLUSTER, envoy.ENDPOINTS), (envoy.LISTENER, envoy.ROUTES)):
        known = [part.resources for part in parts.get(pointed, ())]
        for part in parts.get(pointing, ()):
            for resource in part.resources.values():
                for name in resource.needs:
                    if not any(name in names for names in known):
                        raise InconsistentError(f"{resource.name!r} points at {name!r}, which does not exist")
