"""What a demo reads of the control plane's status: seen, held or live, on how many proxies, since when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A unit of acceptance that is not at the newest commit. ``accepted`` is the commit it stays at."""

    accepted: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far the newest commit has come. ``live`` is the revision whose acknowledgements are counted."""

    revision: str
    held: tuple[Held, ...]
    live: str
    acknowledged: int
    connected: int
    pushed_at_ms: int | None
    acknowledged_at_ms: int | None
    refused: tuple[str, ...] = ()
    disconnected: tuple[str, ...] = ()
    """Workloads whose proxies are awaited, as ``name.namespace``."""
    registries: Mapping[str, str] = field(default_factory=dict)
    """How well each registry is heard."""

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> Self:
        """What ``meshwright status --output json`` says."""
        live = answer["live"]
        return cls(
            revision=answer["revision"],
            held=tuple(_held(unit) for unit in answer["units"] if unit["held_since"]),
            live=live["revision"],
            acknowledged=live["acknowledged"],
            connected=live["connected"],
            pushed_at_ms=live["pushed_at_ms"],
            acknowledged_at_ms=live["acknowledged_at_ms"],
            refused=tuple(_refusal(refusal) for refusal in live["refused"]),
            disconnected=tuple(live["disconnected"]),
            registries={one["name"]: one["state"] for one in answer["registries"]},
        )

    def is_live(self, commit: str, proxies: int) -> bool:
        """Whether ``commit`` is acknowledged by all of ``proxies``."""
        return (
            (self.live, self.acknowledged, self.connected) == (commit, proxies, proxies)
            and not self.held
            and self.acknowledged_at_ms is not None
        )

    def is_held(self, commit: str) -> bool:
        """Whether ``commit`` was read and is kept from going live."""
        return self.revision == commit and bool(self.held)

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(problem for held in self.held for problem in held.problems)


def _held(unit: Mapping[str, Any]) -> Held:
    problems = tuple(_problem(problem) for problem in unit["problems"] if problem["severity"] == "error")
    return Held(accepted=unit["accepted"], problems=problems)


def _problem(problem: Mapping[str, Any]) -> str:
    path = f" {problem['path']}" if problem["path"] else ""
    return f"{problem['file']}:{problem['line']}: {problem['code']}{path}: {problem['message']}"


def _refusal(refusal: Mapping[str, Any]) -> str:
    return f"{refusal['proxy']} refuses {refusal['resource']}: {refusal['message']}"
