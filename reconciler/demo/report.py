"""What a demo has shown, step by step: as a table for people, as JSON for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import zip_longest

_COLUMNS = (("commit", 7), ("step", 19), ("expected", 28), ("observed", 28), ("ACK after", 9), ("", 6))
_GAP = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """One row. ``push_to_ack_ms`` is ``None`` where nothing was pushed that a proxy had to acknowledge.

    ``measured_ms`` are further times, by what they are of.
    """

    name: str
    commit: str
    push_to_ack_ms: int | None
    expected: str
    observed: str
    ok: bool
    measured_ms: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole demo. ``envoy`` is the version of the proxies, ``proxies`` their number."""

    envoy: str
    proxies: int
    steps: tuple[StepReport, ...]

    @property
    def ok(self) -> bool:
        """Whether every step held."""
        return bool(self.steps) and all(step.ok for step in self.steps)

    @property
    def exit_code(self) -> int:
        return 0 if self.ok else 1


def as_json(report: Report) -> str:
    """The one JSON document of ``--output json``."""
    return json.dumps({"ok": report.ok} | asdict(report), indent=2)


@dataclass(slots=True)
class Table:
    """The steps as rows, each shown as soon as it is known, and the head above the first."""

    show: Callable[[str], None]
    _has_head: bool = False

    def add(self, step: StepReport) -> None:
        if not self._has_head:
            self.show(head())
            self._has_head = True
        self.show(row(step))


def foot(report: Report) -> str:
    """What the times of the table are, and the verdict."""
    return (
        "\nACK after: from the beginning of git push to the acknowledgement of the last proxy.\n"
        f"{verdict(report)}"
    )


def verdict(report: Report) -> str:
    """What held, in one line."""
    of = len(report.steps)
    failed = [step.name for step in report.steps if not step.ok]
    held = (
        f"{of - len(failed)} of {of} steps held, not: {', '.join(failed)}"
        if failed or not of
        else f"every step held ({of}): {', '.join(step.name for step in report.steps)}"
    )
    return f"{held}; {report.proxies} proxies, Envoy {report.envoy}"


def head() -> str:
    """The first lines of the table."""
    return "\n".join((_line(name for name, _ in _COLUMNS), _line("-" * width for _, width in _COLUMNS)))


def row(step: StepReport) -> str:
    """One step as lines of the table."""
    waited = "-" if step.push_to_ack_ms is None else f"{step.push_to_ack_ms} ms"
    verdict = "ok" if step.ok else "FAILED"
    cells = (step.commit[:7], step.name, step.expected, step.observed, waited.rjust(9), verdict)
    wrapped = [textwrap.wrap(cell, width) for cell, (_, width) in zip(cells, _COLUMNS, strict=True)]
    return "\n".join(_line(parts) for parts in zip_longest(*wrapped, fillvalue=""))


def _line(cells: Iterable[str]) -> str:
    padded = (cell.ljust(width) for cell, (_, width) in zip(cells, _COLUMNS, strict=True))
    return _GAP.join(padded).rstrip()
