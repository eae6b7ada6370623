"""Documents and objects from a few lines of YAML, for tests of what they mean."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

from mesh.config import Config, ConfigObject
from mesh.documents import Document, parse_file
from mesh.kinds.objects import read_object
from mesh.problems import Problem
from reconciler.reading import Reader, Reading, TextFile

NETWORKING = "networking.istio.io/v1"
SECURITY = "security.istio.io/v1"
_SECURITY_KINDS = {"PeerAuthentication", "AuthorizationPolicy"}


def a_document(text: str, file: str = "mesh/a.yaml") -> Document:
    documents, problems = parse_file(file, dedent(text).encode())
    assert problems == ()
    (document,) = documents
    return document


def written(kind: str, spec: str, name: str = "a", namespace: str = "bookinfo") -> str:
    """A whole document around a spec."""
    version = (
        "meshwright.dev/v1alpha1" if kind == "Mesh" else SECURITY if kind in _SECURITY_KINDS else NETWORKING
    )
    indented = "".join(f"  {line}\n" for line in dedent(spec).strip().splitlines())
    head = f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
    return f"{head}spec:\n{indented}" if indented.strip() else f"{head}spec: {{}}\n"


def an_object(kind: str, spec: str, name: str = "a", namespace: str = "bookinfo") -> ConfigObject[Any]:
    """A sound object, fresh from its text."""
    made, problems = read_object(a_document(written(kind, spec, name, namespace)))
    assert isinstance(made, ConfigObject), problems
    return made


def problems_of(kind: str, spec: str) -> list[str]:
    """Every problem of one object, without file and line: ``error MW0004 spec.tcp: ...``."""
    _, problems = read_object(a_document(written(kind, spec)))
    return [said(problem) for problem in problems]


def said(problem: Problem) -> str:
    return str(problem).split(": ", 1)[1]


def a_config(*objects: ConfigObject[Any], previous: Config | None = None) -> Config:
    return Config.build(objects, previous)


def read(*texts: str) -> Reading:
    """A reading of texts as files ``0.yaml``, ``1.yaml``, …"""
    return Reader()([TextFile(f"{index}.yaml", dedent(text).encode()) for index, text in enumerate(texts)])
