"""From one document to one object of a kind, or to everything that is wrong with it.

Shape, verdicts and the kind's own checks are all asked, so that one mistake hides no other. The
same text yields the same spec, the very object, as long as somebody remembers it (DESIGN D1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator

from mesh.config import MESH_UNIT, ConfigObject
from mesh.documents import Document, Remembered
from mesh.kinds import KINDS, NOT_YET, KindRow
from mesh.kinds.kind import NOTHING, Kind, StringMap, Struct, Text, described
from mesh.kinds.rules import dns_label, domain, wrong
from mesh.kinds.shape import fit, nearest
from mesh.kinds.verdicts import judge
from mesh.labels import labels
from mesh.names import DEFAULT_NAMESPACE, ObjectKey
from mesh.places import Place
from mesh.problems import Problem


@dataclass(frozen=True, slots=True)
class Known:
    """A spec that was made before, and whether nothing at all was to be said about it."""

    spec: Kind
    is_clean: bool


SpecCache = Remembered[bytes, Known]

_ENVELOPE = ("apiVersion", "kind", "metadata", "spec", "status")
_NO_METADATA: Mapping[str, Any] = {}


def _timestamp(value: object) -> datetime | None:
    # An export of an object that was never stored says null.
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError(f"expected a time such as '2024-01-31T12:00:00Z', found {described(value)}")
    return time


class ObjectMeta(Kind):
    """Kubernetes' ``ObjectMeta``, of which a mesh needs the first five fields."""

    name: Text
    namespace: Text = ""
    labels: StringMap = NOTHING
    annotations: StringMap = NOTHING
    creation_timestamp: Annotated[datetime | None, BeforeValidator(_timestamp)] = None
    generate_name: Struct = None
    self_link: Struct = None
    uid: Struct = None
    resource_version: Struct = None
    generation: Struct = None
    deletion_timestamp: Struct = None
    deletion_grace_period_seconds: Struct = None
    owner_references: Struct = None
    finalizers: Struct = None
    managed_fields: Struct = None
    cluster_name: Struct = None


@dataclass(frozen=True, slots=True)
class Foreign:
    """A document that is somebody else's: only counted."""

    group: str
    kind: str


def read_object(
    document: Document, specs: SpecCache | None = None, unit: str = MESH_UNIT
) -> tuple[ConfigObject[Kind] | Foreign | None, tuple[Problem, ...]]:
    """The object that a document is, and its problems.

    ``None`` when it cannot be made; an object with errors is made where that much is possible.
    """
    data, place = document.data, document.place()
    found = _row(data, place)
    if not isinstance(found, KindRow):
        return found if isinstance(found, Foreign) else None, () if isinstance(found, Foreign) else (found,)
    problems: list[Problem] = [
        place.problem("IST0106", name, "unknown field", nearest(name, _ENVELOPE))
        for name in data
        if name not in _ENVELOPE
    ]
    meta, wrong_meta = fit(ObjectMeta, data.get("metadata") or _NO_METADATA, place, "metadata")
    problems += wrong_meta
    key = _key(found, meta)
    place = document.place(key)
    if meta is not None:
        problems += wrong(place, "metadata.name", domain(meta.name))
        if meta.namespace:
            problems += wrong(place, "metadata.namespace", dns_label(meta.namespace))
    spec, wrong_spec = _spec(found, document, place, specs)
    problems += wrong_spec
    if meta is None or key is None or spec is None:
        return None, tuple(problems)
    made = ConfigObject(
        key=key,
        spec=spec,
        digest=document.digest,
        labels=labels(meta.labels),
        annotations=labels(meta.annotations),
        created=meta.creation_timestamp,
        unit=unit,
    )
    return made, tuple(problems)


def _key(row: KindRow, meta: ObjectMeta | None) -> ObjectKey | None:
    if meta is None:
        return None
    namespace = (meta.namespace or DEFAULT_NAMESPACE) if row.is_namespaced else ""
    return ObjectKey(row.kind, namespace, meta.name)


def _spec(
    row: KindRow, document: Document, place: Place, specs: SpecCache | None
) -> tuple[Kind | None, tuple[Problem, ...]]:
    written = document.data.get("spec")
    if written is None and row.is_spec_required:
        return None, (place.problem("IST0106", "spec", "missing, and required"),)
    known = specs.get(document.digest) if specs is not None else None
    if known is not None and known.is_clean:
        return known.spec, ()
    spec, problems = fit(row.model, {} if written is None else written, place, "spec")
    if known is not None:
        # Read again for the lines of its problems alone.
        spec = known.spec
    problems = (*problems, *judge(written, row.plan, place, ("spec",)))
    if spec is not None:
        problems = (*problems, *row.check(spec, place))
        if known is None and specs is not None:
            specs.keep(document.digest, Known(spec, is_clean=not problems))
    return spec, problems


def _row(data: Mapping[str, Any], place: Place) -> KindRow | Foreign | Problem:
    """Which kind the document is of; a problem when it should be one and is not."""
    version, kind = data.get("apiVersion"), data.get("kind")
    if version is None and kind is None:
        return Foreign("", "")
    if not isinstance(version, str) or not isinstance(kind, str):
        missing = "kind" if isinstance(version, str) else "apiVersion"
        return place.problem("MW0009", missing, "missing, or not text, and required")
    group, _, number = version.rpartition("/")
    row = KINDS.get((group, kind))
    if row is not None:
        if number in row.versions:
            return row
        message = f"{kind} has no version {number!r}"
        return place.problem("MW0009", "apiVersion", message, f"use {group}/{row.versions[0]}")
    if group not in NOT_YET:
        return Foreign(group, kind)
    if kind in NOT_YET[group]:
        return place.problem("MW0004", "kind", f"kind {kind!r} is not supported yet", "remove the document")
    known = tuple(name for owner, name in KINDS if owner == group) + NOT_YET[group]
    return place.problem("MW0009", "kind", f"{group} has no kind {kind!r}", nearest(kind, known))
