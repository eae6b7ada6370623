"""Files to documents to config, collecting problems.

A :class:`Reader` is handed files, from Git or from a folder, and makes one :class:`Reading`: the
config, everything that is wrong, and where each object stands. It remembers what it has parsed and
judged, so that a commit costs what it changed and every unchanged object stays the same object
(DESIGN D1). It decides nothing about acceptance.

Files are the repository's, and whoever can write it is not trusted: hidden folders are not looked
into, links are not followed, sizes are limited, and no path in a document is ever opened.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from mesh.analysis import Finding, KnownService, analyse
from mesh.config import Config, ConfigObject
from mesh.documents import FILE_BYTES_MAX, Document, DocumentCache, parse_file
from mesh.errors import Misconfigured
from mesh.kinds.guards import Guards
from mesh.kinds.mesh import Mesh, Paths
from mesh.kinds.objects import Foreign, SpecCache, read_object
from mesh.names import DEFAULT_DOMAIN, DEFAULT_NAMESPACE, ObjectKey
from mesh.places import Place
from mesh.problems import Problem, Severity, Where, has_errors, in_order
from reconciler.units import folders, owner

SUFFIXES: Final = (".yaml", ".yml", ".json")
MESH_FILE: Final = "mesh.yaml"
# Old versions of documents that may be remembered before they are dropped.
FORGET_ABOVE: Final = 1_000


class SourceFile(Protocol):
    """A file as whoever fetched it hands it over."""

    @property
    def path(self) -> str: ...

    @property
    def blob(self) -> str:
        """What tells this content from every other; empty when that is not known."""
        ...

    @property
    def data(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file of a folder: its path from there, with slashes, and its bytes."""

    path: str
    data: bytes = field(repr=False)
    blob: str = ""


Taken = tuple[Document, ConfigObject[Any] | Foreign | None, tuple[Problem, ...]]
"""A document, what it is, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class _File:
    """One file, read. A file that did not change is not looked into again."""

    path: str
    documents: tuple[Taken, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What some files say."""

    config: Config
    problems: tuple[Problem, ...]
    tenancy: tuple[str, ...]
    places: Mapping[ObjectKey, Place] = field(repr=False)
    documents: int = 0
    foreign: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def contents(self) -> Mapping[ObjectKey, str]:
        """Each object, sound or broken, and the file it is in."""
        return {key: place.file for key, place in self.places.items()}

    @property
    def guards(self) -> Guards:
        return self.config.mesh.guards

    def where(self, key: ObjectKey) -> Where | None:
        """The file and line of an object in this revision."""
        place = self.places.get(key)
        return place.where() if place is not None else None


@dataclass(slots=True)
class _Found:
    """What has been gathered so far."""

    problems: list[Problem] = field(default_factory=list)
    objects: dict[ObjectKey, ConfigObject[Any]] = field(default_factory=dict)
    places: dict[ObjectKey, Place] = field(default_factory=dict)
    broken: set[ObjectKey] = field(default_factory=set)
    foreign: Counter[tuple[str, str]] = field(default_factory=Counter)
    first_foreign: dict[tuple[str, str], Place] = field(default_factory=dict)
    services: list[KnownService] = field(default_factory=list)


class Reader:
    """Reads files again and again, remembering. Owned by the task that reads."""

    def __init__(self) -> None:
        self._documents = DocumentCache()
        self._specs = SpecCache()
        self._files: dict[tuple[str, str, str], _File] = {}
        self._size = 0
        self._is_asking_for_all = False
        self._config = Config()

    def __call__(
        self,
        files: Iterable[SourceFile],
        *,
        passed_over: Sequence[Problem] = (),
        tenancy: Sequence[str] = (),
    ) -> Reading:
        """One reading.

        :param files: in the order in which they count: of two that define one object the first
            keeps it.
        :param passed_over: what could not even be read as files.
        :param tenancy: the units' folders, as last accepted; the Mesh document counts only outside.
        """
        units = folders(tenancy)
        read = [self._read(file, owner(file.path, units)) for file in files if is_ours(file.path)]
        mesh = _the_mesh((taken[0] for file in read for taken in file.documents), units)
        paths = self._paths(mesh)
        found = _Found(problems=[problem for problem in passed_over if _concerns(problem, paths)])
        for file in read:
            if paths.selects(file.path):
                found.problems += file.problems
                for document, made, problems in file.documents:
                    _take(document, made, problems, found, mesh)
        config = self._build(found)
        reading = _reading(config, found, sum(len(file.documents) for file in read))
        self._size = reading.documents
        return reading

    def keep(self, reading: Reading) -> None:
        """This one is served: the next share with it what did not change, whatever is tried meanwhile."""
        self._config = reading.config

    def forget(self) -> None:
        """Drop what old versions left behind, once it is much. Call it between readings."""
        if self._is_asking_for_all:
            self._documents.drop_unused()
            self._specs.drop_unused()
            self._is_asking_for_all = False
        elif len(self._documents) > FORGET_ABOVE + 2 * self._size:
            # Without its files the next reading asks for every document in force; only then is it
            # known which are not.
            self._files.clear()
            self._is_asking_for_all = True

    def _read(self, file: SourceFile, unit: str) -> _File:
        key = file.path, file.blob, unit
        known = self._files.get(key) if file.blob else None
        if known is not None:
            return known
        documents, problems = parse_file(file.path, file.data, self._documents)
        taken = tuple((document, *read_object(document, self._specs, unit)) for document in documents)
        made = _File(file.path, taken, problems)
        if file.blob:
            self._files[key] = made
        return made

    def _paths(self, mesh: Document | None) -> Paths:
        if mesh is not None:
            made, _ = read_object(mesh, self._specs)
            if isinstance(made, ConfigObject) and isinstance(made.spec, Mesh):
                return made.spec.paths
        return Paths()

    def _build(self, found: _Found) -> Config:
        """The config of what is sound; references are checked with what is broken still in place.

        So a mistake in a ServiceEntry is one problem and not one more per route to it.
        """
        sound = [made for key, made in found.objects.items() if key not in found.broken]
        config = Config.build(sound, self._config)
        everything = Config.build(found.objects.values(), config) if found.broken else config
        for finding in analyse(everything, found.services):
            found.problems.append(_placed(finding, found.places[finding.object]))
        return config


def _take(
    document: Document,
    made: ConfigObject[Any] | Foreign | None,
    problems: tuple[Problem, ...],
    found: _Found,
    mesh: Document | None,
) -> None:
    if isinstance(made, Foreign):
        _pass_over(document, made, found)
        return
    found.problems += problems
    if made is None:
        return
    place = document.place(made.key)
    if made.key.kind == "Mesh" and document is not mesh:
        found.problems.append(_other_mesh(place, mesh))
    elif made.key in found.objects:
        first = found.places[made.key].where()
        message = f"{_spoken(made.key)} is defined twice, first at {first}"
        found.problems.append(place.problem("MW0003", "metadata.name", message, "remove one of them"))
    else:
        found.objects[made.key] = made
        found.places[made.key] = place
        if has_errors(problems):
            found.broken.add(made.key)


def _concerns(problem: Problem, paths: Paths) -> bool:
    """A file has to be chosen; of a folder, or what may be one, no more is known than that it is left out."""
    path = problem.where.file
    return paths.selects(path) if is_ours(path) else not paths.excludes(path)


def is_ours(path: str) -> bool:
    """YAML and JSON, outside hidden folders (``.git``, ``.github``, our own ``.meshwright``)."""
    return path.endswith(SUFFIXES) and not any(part.startswith(".") for part in path.split("/"))


def _the_mesh(documents: Iterable[Document], units: Sequence[str]) -> Document | None:
    """The Mesh document: outside the units' folders, the one nearest to the root."""
    candidates = [
        document
        for document in documents
        if document.data.get("kind") == "Mesh"
        and str(document.data.get("apiVersion", "")).startswith("meshwright.dev/")
        and not owner(document.file, units)
    ]
    return min(candidates, key=lambda found: (found.file.count("/"), found.file, found.line), default=None)


def _other_mesh(place: Place, mesh: Document | None) -> Problem:
    if mesh is None:
        message = "a Mesh document inside a folder of tenancy does not count"
        return place.problem("MW0010", "kind", message, "move it out of the folder, or remove it")
    message = f"a second Mesh document; the first is at {mesh.place().where()}"
    return place.problem("MW0003", "kind", message, "remove one of them, or exclude it with spec.paths")


def _spoken(key: ObjectKey) -> str:
    return f"{key.kind} {key.namespace}/{key.name}" if key.namespace else f"{key.kind} {key.name}"


def _placed(finding: Finding, place: Place) -> Problem:
    return place.problem(finding.code, finding.path, finding.message, finding.hint)


def _pass_over(document: Document, foreign: Foreign, found: _Found) -> None:
    kind = (foreign.group, foreign.kind)
    found.foreign[kind] += 1
    found.first_foreign.setdefault(kind, document.place())
    if kind == ("", "Service"):
        found.services += _kubernetes_service(document)


def _kubernetes_service(document: Document) -> Iterator[KnownService]:
    """A Service of Kubernetes in the repository, known to checks only."""
    meta, spec = document.data.get("metadata"), document.data.get("spec")
    if not isinstance(meta, dict) or not isinstance(spec, dict) or not isinstance(meta.get("name"), str):
        return
    namespace = str(meta.get("namespace") or DEFAULT_NAMESPACE)
    listed = spec.get("ports") if isinstance(spec.get("ports"), list) else []
    ports = (
        [port.get("port") for port in listed if isinstance(port, dict)] if isinstance(listed, list) else []
    )
    yield KnownService(
        host=f"{meta['name']}.{namespace}.svc.{DEFAULT_DOMAIN}",
        namespace=namespace,
        ports=tuple(port for port in ports if isinstance(port, int)),
    )


def _reading(config: Config, found: _Found, documents: int) -> Reading:
    for (group, kind), count in sorted(found.foreign.items()):
        name = f"{group}/{kind}" if group else kind or "no apiVersion and kind"
        several = "document" if count == 1 else "documents"
        message = f"{count} {several} of {name} passed over"
        found.problems.append(found.first_foreign[group, kind].problem("MW0006", "", message))
    meshes = [key for key in found.objects if key.kind == "Mesh"]
    # One that could not be read is not absent: its own problems say what is the matter.
    is_unread = any(one.object is not None and one.object.kind == "Mesh" for one in found.problems)
    if not meshes and not is_unread:
        where = Where(file=MESH_FILE)
        message = "no Mesh document: the defaults are used"
        found.problems.append(Problem(code="MW0008", where=where, message=message))
    tenants = found.objects[meshes[0]].spec.tenancy if meshes else ()
    return Reading(
        config=config,
        problems=in_order(found.problems),
        tenancy=tuple(tenant.path for tenant in tenants),
        places=found.places,
        documents=documents,
        foreign=dict(found.foreign),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What ``check`` has to say about a folder."""

    problems: tuple[Problem, ...]
    files: int
    objects: int
    is_strict: bool = False

    @property
    def counts(self) -> Mapping[str, int]:
        of = Counter(problem.severity for problem in self.problems)
        return {
            "files": self.files,
            "objects": self.objects,
            "errors": of[Severity.ERROR],
            "warnings": of[Severity.WARNING],
            "infos": of[Severity.INFO],
        }

    @property
    def exit_code(self) -> int:
        """DESIGN 3.2: 1 when there are errors, or warnings and somebody is strict about them."""
        return 1 if self.counts["errors"] or (self.is_strict and self.counts["warnings"]) else 0


def check_path(path: Path, *, is_strict: bool = False) -> Report:
    """Every problem in the mesh config under a folder, or in one file.

    :raises Misconfigured: when there is neither, or the file cannot be configuration.
    """
    problems: list[Problem] = []
    files = _one(path, problems) if path.is_file() else list(_files(path, problems))
    reader = Reader()
    reading = reader(files, passed_over=problems)
    if reading.tenancy:
        # Only now is it known which folders are units.
        reading = reader(files, passed_over=problems, tenancy=reading.tenancy)
    problems = list(reading.problems)
    if not len(reading.config) and not any(problem.severity is Severity.ERROR for problem in problems):
        place, where = ("file", path.name) if path.is_file() else ("folder", ".")
        message = f"no document of a mesh in this {place}"
        problems.append(Problem(code="MW0010", where=Where(file=where), message=message))
    return Report(
        problems=in_order(problems), files=len(files), objects=len(reading.places), is_strict=is_strict
    )


def _one(path: Path, problems: list[Problem]) -> list[TextFile]:
    if not is_ours(path.name):
        raise Misconfigured(
            f"{str(path)!r} is not a file of a mesh", hint=f"those end in {', '.join(SUFFIXES)}"
        )
    return list(_file(path, path.name, problems))


def _files(folder: Path, problems: list[Problem]) -> Iterator[TextFile]:
    """The files below a folder by path; links are not followed, as Git would not."""
    if not folder.is_dir():
        raise Misconfigured(
            f"no file or folder {str(folder)!r}", hint="name the folder that holds the mesh, or a file of it"
        )
    for root, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for path in (Path(root, name) for name in sorted(names)):
            name = path.relative_to(folder).as_posix()
            if not is_ours(name) or path.is_symlink() or not path.is_file():
                continue
            yield from _file(path, name, problems)


def _file(path: Path, name: str, problems: list[Problem]) -> Iterator[TextFile]:
    size = path.stat().st_size
    if size > FILE_BYTES_MAX:
        where = Where(file=name)
        message = f"the file has {size} bytes, more than {FILE_BYTES_MAX}"
        problems.append(Problem(code="MW0001", where=where, message=message, hint="split it"))
    else:
        yield TextFile(name, path.read_bytes())
