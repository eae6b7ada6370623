"""Problems, status and explanations as text or JSON.

Text is for people and may change. JSON is a promise (DESIGN 3.2).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from mesh.problems import Problem
from reconciler.reading import Report


class Output(StrEnum):
    """How an answer is printed."""

    TEXT = "text"
    JSON = "json"


def problems(report: Report, output: Output | str) -> str:
    """Everything that ``check`` found, and how much of it."""
    if output == Output.JSON:
        found = {
            "problems": [problem_fields(problem) for problem in report.problems],
            "counts": report.counts,
        }
        return json.dumps(found, indent=2, ensure_ascii=False)
    return "\n".join([*(problem_lines(problem) for problem in report.problems), _summary(report.counts)])


def problem_lines(problem: Problem) -> str:
    """``file:line: severity CODE path: message`` and the hint below it."""
    return f"{problem}\n    hint: {problem.hint}" if problem.hint else str(problem)


def problem_fields(problem: Problem) -> dict[str, Any]:
    """A problem in every JSON answer. ``object`` is null where it is not known."""
    return {
        "code": problem.code,
        "severity": str(problem.severity),
        "file": problem.where.file,
        "line": problem.where.line,
        "path": problem.path,
        "object": str(problem.object) if problem.object is not None else None,
        "message": problem.message,
        "hint": problem.hint,
    }


def _summary(counts: Mapping[str, int]) -> str:
    found = ", ".join(
        _several(counts[name], name) for name in ("errors", "warnings", "infos") if counts[name]
    )
    read = f"{_several(counts['objects'], 'objects')} in {_several(counts['files'], 'files')}"
    return f"{read}: {found or 'no problems'}"


def _several(count: int, name: str) -> str:
    return f"{count} {name if count != 1 else name.removesuffix('s')}"
