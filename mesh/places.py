"""From a path inside a document (``spec.http[0].timeout``) back to file and line.

A document's table of lines is relative to the document's own start, so that it is the same wherever
the document stands, and it is made only when somebody asks: most documents have no problem.
A path that does not exist (a field that is missing) is placed at its nearest ancestor that does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mesh.names import ObjectKey
from mesh.problems import Problem, Where

Step = str | int
Path = tuple[Step, ...]

_STEP = re.compile(r'\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]|\.?([^.\[\]"]+)')
_PLAIN = re.compile(r"[^.\[\]\"\\]+")


def spell(steps: Iterable[Step]) -> str:
    """``("spec", "http", 0, "timeout")`` as ``spec.http[0].timeout``.

    A key that holds a dot, a bracket or a quote is quoted: ``labels["app.kubernetes.io/name"]``.
    """
    spelled = ""
    for step in steps:
        if isinstance(step, int):
            spelled += f"[{step}]"
        elif _PLAIN.fullmatch(step):
            spelled += f".{step}" if spelled else step
        else:
            quoted = step.replace("\\", "\\\\").replace('"', '\\"')
            spelled += f'["{quoted}"]'
    return spelled


def steps(path: str) -> Path:
    """The inverse of :func:`spell`."""
    return tuple(_step(found) for found in _STEP.finditer(path))


def _step(found: re.Match[str]) -> Step:
    index, quoted, plain = found.groups()
    if index is not None:
        return int(index)
    if quoted is not None:
        return re.sub(r"\\(.)", r"\1", quoted)
    return str(plain)


class Table:
    """The lines of one document: per node, its own line and its children by key or index.

    Nodes are numbered; the root is 0. An aliased node is one node with several parents, which is
    why this is a graph of numbers and no tree of lines.
    """

    __slots__ = ("_children", "_lines")

    def __init__(self) -> None:
        self._lines: list[int] = []
        self._children: list[dict[Step, tuple[int, int]]] = []

    def node(self, line: int) -> int:
        """A new node that starts at ``line``."""
        self._lines.append(line)
        self._children.append({})
        return len(self._lines) - 1

    def child(self, parent: int, step: Step, node: int, line: int) -> None:
        """``node`` is what stands at ``step`` in ``parent``, written at ``line``."""
        self._children[parent][step] = node, line

    def merge(self, parent: int, other: int) -> None:
        """Take over the children of ``other`` that ``parent`` lacks (YAML's ``<<``)."""
        self._children[parent] = self._children[other] | self._children[parent]

    def line(self, path: Path) -> int:
        """The line of the path, or of its nearest ancestor that is there."""
        node, line = 0, self._lines[0] if self._lines else 0
        for step in path:
            found = self._children[node].get(step) if self._lines else None
            if found is None:
                break
            node, line = found
        return line


@dataclass(slots=True, eq=False)
class Lines:
    """One document's table of lines, made from its text when first asked for.

    ``inside`` is the path of the document within that text (an item of a ``kind: List``).
    """

    text: str = field(repr=False)
    trace: Callable[[str], Table] = field(repr=False)
    inside: Path = ()
    _table: Table | None = field(default=None, repr=False)

    def line(self, path: Path) -> int:
        """The line of a path, from 0 at the document's own first line."""
        if self._table is None:
            self._table = self.trace(self.text)
        start = self._table.line(self.inside)
        return self._table.line(self.inside + path) - start


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one document stands in one revision: what turns its paths into problems."""

    file: str
    line: int
    lines: Lines
    object: ObjectKey | None = None

    def where(self, path: str = "") -> Where:
        return Where(file=self.file, line=self.line + self.lines.line(steps(path)))

    def problem(self, code: str, path: str, message: str, hint: str = "") -> Problem:
        """A problem at a path of this document."""
        return Problem(
            code=code, where=self.where(path), path=path, message=message, object=self.object, hint=hint
        )
