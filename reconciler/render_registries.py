"""Registries as text, for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from reconciler.render_status import table


def registries(answer: Mapping[str, Any]) -> str:
    """One line per registry, and below what is wrong or held."""
    found = answer["registries"]
    if not found:
        return "no registry but the repository (spec.registries of the Mesh document names others)"
    rows = [("REGISTRY", "PROVIDER", "STATE", "HEARD", "SERVICES", "INSTANCES", "WORKLOADS", "HELD")]
    for one in found:
        counts = (str(one[name]) for name in ("services", "instances", "workloads"))
        rows.append((one["name"], one["provider"], state(one), _heard(one), *counts, _missing(one)))
    notes = (line for one in found for line in _notes(one))
    return "\n".join([*table(rows), *notes])


def state(one: Mapping[str, Any]) -> str:
    return f"{one['state']}, awaited" if one["is_awaited"] else str(one["state"])


def _heard(one: Mapping[str, Any]) -> str:
    return f"{one['age_s']:.0f} s ago" if one["age_s"] is not None else "never"


def _missing(one: Mapping[str, Any]) -> str:
    missing = (
        held["missing"] for held in one["held"] if not held["service"] and held["measure"] == "instances"
    )
    return str(sum(missing) or "-")


def _notes(one: Mapping[str, Any]) -> Iterable[str]:
    if one["error"]:
        yield f"{one['name']}: {one['error']}"
        if one["hint"]:
            yield f"  hint: {one['hint']}"
    for held in one["held"]:
        until = held["believed_at"]
        when = f"believed at {_clock(until)}" if until else "until the registry is heard"
        whose = held["service"] or "all services"
        yield f"{one['name']}: holds {held['missing']} of {held['of']} {held['measure']} of {whose}, {when}"
    if one["held"] or one["is_awaited"]:
        yield f"  hint: if that is right: meshwright registries release {one['name']}"
    if one["remarks"]:
        yield f"{one['name']}: {one['remarks']} remarks, see meshwright status"


def released(answer: Mapping[str, Any]) -> str:
    """What an operator's word has let go."""
    parts = []
    if answer["held"]:
        parts.append(f"{answer['held']} removals are believed")
    if answer["was_awaited"]:
        parts.append("nobody waits for it any more")
    return f"{answer['registry']}: {', '.join(parts) or 'released'}"


def _clock(stamp: str) -> str:
    return f"{datetime.fromisoformat(stamp).astimezone(UTC):%H:%M:%S}Z"
