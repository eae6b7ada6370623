"""Tables of the documents that come from ``mesh.kinds``: which kinds, and what becomes of their fields."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from mesh.kinds import KINDS, NOT_YET, KindRow
from mesh.kinds.authorization import SUPPORTED_ACTIONS
from mesh.kinds.frozen import FrozenMap
from mesh.kinds.kind import Kind, PartsPerMillion, Struct
from mesh.kinds.service_entry import SUPPORTED_RESOLUTIONS
from mesh.kinds.shape import fields, inner
from mesh.kinds.verdicts import Verdict, Verdicts, leaves

MANY = 8
# Fields that are carried out with some of their values only; all others are refused by name.
SUPPORTED_VALUES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("AuthorizationPolicy", "action"): SUPPORTED_ACTIONS,
    ("Gateway", "servers.tls.mode"): ("SIMPLE", "AUTO_PASSTHROUGH"),
    ("Mesh", "meshConfig.outboundTrafficPolicy.mode"): ("REGISTRY_ONLY", "ALLOW_ANY"),
    ("ServiceEntry", "resolution"): SUPPORTED_RESOLUTIONS,
}
_UNIONS = (Union, types.UnionType)
_SPELLED: Mapping[Any, str] = {
    PartsPerMillion: "0 to 100",
    Struct: "anything",
    str: "text",
    bool: "true or false",
    int: "number",
    float: "number",
    timedelta: "duration",
}


def page_of(row: KindRow) -> str:
    """The file of a kind's page: ``virtual-service.md``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", row.kind).lower() + ".md"


def support_table() -> list[str]:
    """One line per kind: its versions, and where its fields stand."""
    return [
        "| kind | versions | carried out | no effect here | refused |",
        "|---|---|---|---|---|",
        *(_support(row) for row in KINDS.values()),
    ]


def not_yet() -> list[str]:
    """The kinds of known groups that are refused as a whole, by group."""
    return [f"- `{group}`: {', '.join(kinds)}" for group, kinds in NOT_YET.items()]


def _support(row: KindRow) -> str:
    kept = list(dict.fromkeys(path.partition(".")[0] for path in row.verdicts.carried_out))
    cells = (
        f"[{row.kind}](docs/kinds/{page_of(row)})",
        ", ".join(row.versions),
        _spelled(kept),
        _several(row.verdicts.no_effect),
        _several([*_once(row.verdicts.refused), *_refused_values(row)]),
    )
    return f"| {' | '.join(cells)} |"


def _refused_values(row: KindRow) -> Iterator[str]:
    for (kind, path), supported in SUPPORTED_VALUES.items():
        if kind == row.kind:
            refused = (choice for choice in all_choices(row, path) if choice not in supported)
            yield from (f"{path}: {choice}" for choice in refused)


def all_choices(row: KindRow, path: str) -> tuple[str, ...]:
    """Every value that the model knows for a field that has few."""
    model = row.model
    *above, last = path.split(".")
    for name in above:
        below = inner(fields(model)[name][1])
        assert below is not None
        model = below
    return choices(fields(model)[last][1])


def _once(paths: Iterable[str]) -> list[str]:
    """Without what is said of a policy's copies (of subsets, of single ports) as of the policy."""
    plain = [re.sub(r"\bsubsets\.|\.portLevelSettings\b", "", path) for path in paths]
    return list(dict.fromkeys(plain))


def _several(paths: Iterable[str]) -> str:
    listed = list(paths)
    if len(listed) > MANY:
        return f"{len(listed)} of them, see its page"
    return _spelled(listed) or "–"


def field_table(row: KindRow) -> list[str]:
    """Every field of a kind in order, as far down as its parts differ in what becomes of them."""
    lines = _fields(row, row.model, "", {})
    return ["| field | value | what becomes of it |", "|---|---|---|", *(f"| {line} |" for line in lines)]


def choices(annotation: Any) -> tuple[str, ...]:
    """The values of a field that has few."""
    if get_origin(annotation) is Literal:
        return tuple(choice for choice in get_args(annotation) if choice)
    return next((found for part in get_args(annotation) if (found := choices(part))), ())


def _fields(row: KindRow, model: type[Kind], above: str, seen: dict[type[Kind], str]) -> Iterator[str]:
    for name, (_, annotation) in fields(model).items():
        path, below = above + name, inner(annotation)
        if below is None or not below.model_fields or _is_refused_whole(path, below, row.verdicts):
            yield _field(row, path, annotation)
        elif below in seen and _judged_alike(below, row.verdicts, path, seen[below]):
            yield f"`{path}` | {value_of(annotation)} | as `{seen[below]}`"
        else:
            seen.setdefault(below, path)
            yield from _fields(row, below, f"{path}.", seen)


def _field(row: KindRow, path: str, annotation: Any) -> str:
    supported = SUPPORTED_VALUES.get((row.kind, path))
    if supported is None:
        return f"`{path}` | {value_of(annotation)} | {_verdict(path, row.verdicts)}"
    refused = [choice for choice in choices(annotation) if choice not in supported]
    return f"`{path}` | {_spelled(supported)} | carried out; refused: {_spelled(refused)}"


def _spelled(values: Iterable[str]) -> str:
    return " ".join(f"`{value}`" for value in values)


def _is_refused_whole(path: str, below: type[Kind], verdicts: Verdicts) -> bool:
    """Whether nothing below is carried out, for one and the same reason."""
    return verdicts.of(path) not in (None, Verdict.CARRIED_OUT) and not any(
        found is Verdict.CARRIED_OUT for found in (verdicts.of(f"{path}.{leaf}") for leaf in leaves(below))
    )


def _judged_alike(model: type[Kind], verdicts: Verdicts, path: str, first: str) -> bool:
    return all(verdicts.of(f"{path}.{leaf}") is verdicts.of(f"{first}.{leaf}") for leaf in leaves(model))


def _verdict(path: str, verdicts: Verdicts) -> str:
    verdict, at = verdicts.of(path), path
    while at and not any(at in listed for listed in (verdicts.no_effect, verdicts.refused)):
        at = at.rpartition(".")[0]
    match verdict:
        case Verdict.NO_EFFECT:
            return f"no effect: {verdicts.no_effect[at]}"
        case Verdict.REFUSED:
            return f"refused: {verdicts.refused[at]}"
        case _:
            return "carried out"


def value_of(annotation: Any) -> str:
    """What a person may write there."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation in _SPELLED:
        return _SPELLED[annotation]
    if origin is Annotated:
        return value_of(parts[0])
    if origin in _UNIONS:
        return value_of(next(part for part in parts if part is not type(None)))
    if origin is Literal:
        return _spelled(choices(annotation))
    if origin is tuple:
        return f"list of {value_of(parts[0])}"
    if origin is FrozenMap:
        return f"map to {value_of(parts[1])}"
    return annotation.__name__ if inner(annotation) is not None else "anything"
