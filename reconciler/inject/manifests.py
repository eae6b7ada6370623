"""A stream of manifests: who in it is a workload, and everything else as it came, byte for byte.

Documents that are not changed are not written anew, so their comments and quotes stay. A List is one
document: if one of its items gets a sidecar, all of it is written anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mesh.documents import Document, Piece, dump, parse_file, pieces, value
from mesh.names import ObjectKey
from mesh.places import Path, Place
from mesh.problems import Problem, has_errors, in_order
from reconciler.inject.flaws import Flaws
from reconciler.inject.pods import with_sidecar
from reconciler.inject.sidecar import Sidecar

_TEMPLATE: Path = ("spec", "template")
# Where a Pod's template stands, by group and kind.
_WORKLOADS: Mapping[tuple[str, str], Path] = {
    ("", "Pod"): (),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", *_TEMPLATE),
    ("argoproj.io", "Rollout"): _TEMPLATE,
}


@dataclass(frozen=True, slots=True)
class Injected:
    """What comes out, and what is to be said of it. With an error among the problems there is no text."""

    text: str
    problems: tuple[Problem, ...]


def inject(files: Iterable[tuple[str, str]], sidecar: Sidecar) -> Injected:
    """All files as one stream, each with its name for messages."""
    out = ""
    problems: list[Problem] = []
    for name, text in files:
        made = ""
        for piece in pieces(text.removeprefix("\ufeff")):
            written, found = _piece(name, piece, sidecar)
            # A document that stood on the line of its marker comes to stand below it.
            made += piece.before + ("\n" if written != piece.text and piece.before.endswith("---") else "")
            made += written
            problems += found
        out = _joined(out, made)
    return Injected("" if has_errors(problems) else out, in_order(problems))


def _joined(above: str, below: str) -> str:
    """Two files as one stream; the first, and one that says where it begins, stay as they are."""
    if above and not above.endswith("\n"):
        above += "\n"
    return above + below if not above or below.startswith("---") else f"{above}---\n{below}"


def _piece(file: str, piece: Piece, sidecar: Sidecar) -> tuple[str, tuple[Problem, ...]]:
    documents, problems = parse_file(file, piece.text.encode())
    above = piece.line - 1
    if problems:
        return piece.text, tuple(_moved(problem, above) for problem in problems)
    changed: list[Mapping[str, Any] | None] = []
    flaws: list[Problem] = []
    for document in documents:
        made, found = _object(document, above, sidecar)
        changed.append(made)
        flaws += found
    if not any(changed):
        return piece.text, tuple(flaws)
    whole = value(piece.text)
    if "items" in whole and whole.get("kind") == "List":
        items = [new or old for new, old in zip(changed, whole["items"], strict=True)]
        return dump({**whole, "items": items}), tuple(flaws)
    return dump(changed[0] or whole), tuple(flaws)


def _moved(problem: Problem, lines: int) -> Problem:
    where = replace(problem.where, line=problem.where.line + lines)
    return replace(problem, where=where)


def _object(document: Document, above: int, sidecar: Sidecar) -> tuple[dict[str, Any] | None, list[Problem]]:
    group, _, _ = str(document.data.get("apiVersion", "")).rpartition("/")
    kind = str(document.data.get("kind", ""))
    path = _WORKLOADS.get((group, kind))
    pod = _at(document.data, path) if path is not None else None
    if path is None or pod is None:
        return None, []
    place = Place(
        file=document.file, line=document.line + above, lines=document.lines, object=_key(document.data)
    )
    flaws = Flaws(place, path)
    made = with_sidecar(pod, sidecar, flaws)
    return (_replaced(document.data, path, made) if made is not None else None), flaws.problems


def _at(data: Mapping[str, Any], path: Path) -> Mapping[str, Any] | None:
    found: Any = data
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None
    return found if isinstance(found, dict) and isinstance(found.get("spec"), dict) else None


def _replaced(data: Mapping[str, Any], path: Path, pod: dict[str, Any]) -> dict[str, Any]:
    if not path:
        return pod
    return {**data, str(path[0]): _replaced(data[str(path[0])], path[1:], pod)}


def _key(data: Mapping[str, Any]) -> ObjectKey:
    metadata = data.get("metadata")
    said = metadata if isinstance(metadata, dict) else {}
    return ObjectKey(str(data.get("kind")), str(said.get("namespace", "")), str(said.get("name", "")))
