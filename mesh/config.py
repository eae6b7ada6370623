"""All accepted objects, indexed by kind, namespace and host.

A :class:`Config` is a value. Building the next one keeps every *slice* (the objects of one kind in
one namespace) that did not change as the same tuple, and every object that did not change as the
same object, so that whoever remembers a result by the identity of its inputs (DESIGN D1) finds it
again. Positions in files are not here: they belong to a revision (``reconciler/reading.py``).

Order decides ties that Kubernetes breaks by age: stamped objects before unstamped ones, oldest
first, then by namespace and name. Stamps are compared within one unit of acceptance only, else a
tenant could win every tie with an old date; so objects of different units are in the units' order,
the mesh's own first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from typing import Any, Generic, Self, TypeVar

from mesh.kinds.kind import Kind
from mesh.kinds.mesh import Mesh
from mesh.kinds.mesh_config import MeshConfig
from mesh.labels import NO_LABELS, Labels
from mesh.names import ObjectKey

K_co = TypeVar("K_co", bound=Kind, covariant=True)

MESH_UNIT = ""
_DEFAULTS = Mesh()
_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ConfigObject(Generic[K_co]):
    """One accepted object. Equal when key, unit and text are: the rest follows from the text."""

    key: ObjectKey
    spec: K_co
    digest: bytes
    labels: Labels = NO_LABELS
    annotations: Labels = NO_LABELS
    created: datetime | None = None
    unit: str = MESH_UNIT

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ConfigObject):
            return NotImplemented
        return self is other or self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[ObjectKey, str, bytes]:
        return self.key, self.unit, self.digest

    @property
    def order(self) -> tuple[str, bool, datetime, str, str]:
        """The sort key of the tie rule above."""
        return (
            self.unit,
            self.created is None,
            self.created or _BEGINNING,
            self.key.namespace,
            self.key.name,
        )


Slice = tuple[ConfigObject[Any], ...]


@dataclass(frozen=True, eq=False)
class Config:
    """Every accepted object. Made by :meth:`build`; equal when the generations are."""

    _slices: dict[tuple[str, str], Slice] = field(default_factory=dict)
    _kinds: dict[str, Slice] = field(default_factory=dict)
    _by_key: dict[ObjectKey, ConfigObject[Any]] = field(default_factory=dict)

    @classmethod
    def build(cls, objects: Iterable[ConfigObject[Any]], previous: Config | None = None) -> Self:
        """The config of these objects, sharing with ``previous`` what did not change.

        :raises ValueError: when two objects have one key; the caller reports that as a problem.
        """
        before = previous or Config()
        gathered: defaultdict[tuple[str, str], list[ConfigObject[Any]]] = defaultdict(list)
        by_key: dict[ObjectKey, ConfigObject[Any]] = {}
        for found in objects:
            if found.key in by_key:
                raise ValueError(f"two objects are called {found.key}")
            known = before.get(found.key)
            kept = known if known is not None and known == found else found
            by_key[kept.key] = kept
            gathered[kept.key.kind, kept.key.namespace].append(kept)
        slices = {
            at: _shared(members, before._slices.get(at))  # noqa: SLF001 - our own class
            for at, members in sorted(gathered.items())
        }
        of_kind: defaultdict[str, list[ConfigObject[Any]]] = defaultdict(list)
        for (kind, _), members in slices.items():
            of_kind[kind].extend(members)
        kinds = {
            kind: _shared(members, before._kinds.get(kind))  # noqa: SLF001 - our own class
            for kind, members in of_kind.items()
        }
        return cls(slices, kinds, by_key)

    def of(self, kind: str) -> Slice:
        """All objects of a kind, in order."""
        return self._kinds.get(kind, ())

    def within(self, kind: str, namespace: str) -> Slice:
        """The objects of a kind in one namespace, in order; the same tuple as long as equal."""
        return self._slices.get((kind, namespace), ())

    def get(self, key: ObjectKey) -> ConfigObject[Any] | None:
        return self._by_key.get(key)

    def __iter__(self) -> Iterator[ConfigObject[Any]]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and (self is other or self.generation == other.generation)

    def __hash__(self) -> int:
        return hash(self.generation)

    @cached_property
    def namespaces(self) -> tuple[str, ...]:
        """Every namespace that has an object, sorted."""
        return tuple(sorted({namespace for _, namespace in self._slices if namespace}))

    @cached_property
    def generation(self) -> bytes:
        """A hash over every object's key, unit and text, whatever order they came in."""
        total = blake2b(digest_size=16)
        for members in self._slices.values():
            for member in members:
                total.update(f"{member.key}\0{member.unit}\0".encode())
                total.update(member.digest)
        return total.digest()

    @property
    def mesh(self) -> Mesh:
        """What the Mesh document says; the defaults when there is none."""
        found = self.of("Mesh")
        return found[0].spec if found else _DEFAULTS

    @property
    def mesh_config(self) -> MeshConfig:
        """Istio's MeshConfig, what is not said having Istio's default."""
        return self.mesh.mesh_config

    @property
    def root_namespace(self) -> str:
        return self.mesh_config.root_namespace

    @property
    def trust_domain(self) -> str:
        return self.mesh_config.trust_domain


def _shared(members: list[ConfigObject[Any]], previous: Slice | None) -> Slice:
    ordered = tuple(sorted(members, key=lambda member: member.order))
    # Members that did not change are the previous objects themselves, so this compares pointers.
    return previous if previous is not None and ordered == previous else ordered
