"""Status and proxies as text, for people. JSON is printed as the daemon gives it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any


def status(answer: Mapping[str, Any]) -> str:
    """What is served, unit by unit, and how far it has got."""
    git, live = answer["git"], answer["live"]
    fetched = _moment(git["fetched_at"]) or "never"
    lines = [
        f"repository  {git['url']} ({git['branch']})",
        f"revision    {_short(answer['revision']) or 'none yet'}, fetched {fetched}",
        f"state       {answer['state']}{_because(answer)}",
        f"live        {_live(live)}",
    ]
    if answer["hint"]:
        lines.append(f"            hint: {answer['hint']}")
    if live["behind"]:
        lines.append(f"behind      {', '.join(live['behind'])}")
    if live["disconnected"]:
        lines.append(f"not here    {', '.join(live['disconnected'])}")
    lines += [_registry(one) for one in answer["registries"]]
    lines += ["", *_units(answer["units"])]
    if warnings := [problem for problem in answer["problems"] if problem["severity"] != "info"]:
        lines += ["", *(line for problem in warnings for line in _with_hint(problem))]
    for refusal in live["refused"]:
        lines += ["", *_refusal(refusal)]
    for one in answer["broken"]:
        lines.append(f"BROKEN      {one['resource']}: {one['reason']} (a bug, see the log)")
        lines += _from(one["sources"])
    return "\n".join(lines)


def _because(answer: Mapping[str, Any]) -> str:
    return f" since {_moment(answer['since'])}: {answer['reason']}" if answer["reason"] else ""


def _live(live: Mapping[str, Any]) -> str:
    if not live["connected"]:
        return "no proxy is connected"
    share = f"{live['acknowledged']} of {live['connected']} connected proxies"
    return f"{_short(live['revision']) or 'nothing'} on {share}{_took(live)}"


def _registry(one: Mapping[str, Any]) -> str:
    heard = f"heard {one['age_s']:.0f} s ago" if one["age_s"] is not None else "never heard"
    knows = f"{one['services']} services, {one['instances']} instances"
    return f"registry    {one['name']} ({one['provider']}): {one['state']}, {heard}, {knows}"


def _took(live: Mapping[str, Any]) -> str:
    if live["acknowledged_at_ms"] is None or live["seen_at_ms"] is None:
        return ""
    return f", {max(0, live['acknowledged_at_ms'] - live['seen_at_ms'])} ms after it was accepted"


def _units(units: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [("UNIT", "SEEN", "ACCEPTED", "")]
    found: list[str] = []
    for unit in units:
        held = f"held since {_moment(unit['held_since'])}" if unit["held_since"] else ""
        rows.append((unit["name"], _short(unit["seen"]), _short(unit["accepted"]) or "-", held))
    heading, *lines = table(rows)
    for line, unit in zip(lines, units, strict=True):
        found += [line, *(f"  {text}" for problem in unit["problems"] for text in _with_hint(problem))]
    return [heading, *found]


def _with_hint(problem: Mapping[str, Any]) -> Iterable[str]:
    yield _problem(problem)
    if problem["hint"]:
        yield f"  hint: {problem['hint']}"


def _problem(said: Mapping[str, Any]) -> str:
    path = f" {said['path']}" if said["path"] else ""
    return f"{_place(said)}: {said['severity']} {said['code']}{path}: {said['message']}"


def _refusal(refusal: Mapping[str, Any]) -> Iterable[str]:
    yield (
        f"refused     proxy {refusal['proxy']} refused {refusal['type']} {refusal['resource']}"
        f" at {refusal['version']}: {refusal['message']}"
    )
    yield from _from(refusal["sources"])


def _from(sources: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    for source in sources:
        yield f"            from {_place(source)} {source['object']}"


def _place(found: Mapping[str, Any]) -> str:
    return f"{found['file']}:{found['line']}" if found["line"] else str(found["file"])


def proxies(answer: Mapping[str, Any]) -> str:
    """One line per connected proxy."""
    kinds = ("cds", "eds", "lds", "rds", "sds")
    rows: list[tuple[str, ...]] = [
        ("PROXY", *(kind.upper() for kind in kinds), "FACETS", "REVISION", "CERTIFICATE")
    ]
    notes = []
    for proxy in answer["proxies"]:
        types = proxy["types"]
        rows.append(
            (
                proxy["name"],
                *(types[kind]["sync"] for kind in kinds),
                "+".join(proxy["facets"]),
                _short(proxy["revision"]) or "behind",
                _left(proxy["certificate_end"]),
            )
        )
        notes += [
            f"  {proxy['name']} {kind}: {types[kind]['message']}" for kind in kinds if types[kind]["message"]
        ]
    if not answer["proxies"]:
        return "no proxy is connected"
    return "\n".join([*table(rows), *notes])


def _left(end: str | None) -> str:
    return f"until {datetime.fromisoformat(end):%Y-%m-%d %H:%M}Z" if end else "-"


def resources(answer: Mapping[str, Any], kind: str) -> str:
    """What a proxy was sent: each resource with the places it came from, then its content."""
    blocks = []
    for one in answer[kind]:
        places = ", ".join(f"{_place(source)} ({source['object']})" for source in one["sources"])
        body = json.dumps(one["resource"], indent=2)
        blocks.append(f"{one['name']}  {one['version']}\n  from {places or 'the mesh itself'}\n{body}")
    return "\n\n".join(blocks) or f"no {kind}"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _short(commit: str) -> str:
    return commit[:7]


def _moment(stamp: str | None) -> str:
    """``2026-11-23 12:52:09Z``; empty for none."""
    return f"{datetime.fromisoformat(stamp).astimezone(UTC):%Y-%m-%d %H:%M:%S}Z" if stamp else ""
