"""The verdict of every field: carried out, no effect here, or refused by name.

Silence is the only wrong answer (STYLE 4.4): a field that Istio has and we do not carry out is
reported where somebody says it. A verdict holds for everything below its path; a longer path
overrides it. What says no more than the default is not reported, so that an export of a cluster
with every default spelled out is taken as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from pydantic_core import PydanticUndefined

from mesh.kinds.kind import Kind
from mesh.kinds.shape import fields, inner
from mesh.places import Place, Step, spell
from mesh.problems import Problem


class Verdict(Enum):
    """What becomes of a field."""

    CARRIED_OUT = "carried out"
    NO_EFFECT = "no effect here"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Verdicts:
    """One kind's verdicts, by path in documents without list indexes and map keys.

    ``no_effect`` says why, ``refused`` what to do instead.
    """

    carried_out: tuple[str, ...]
    no_effect: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def of(self, path: str) -> Verdict | None:
        """The verdict of a field: its own, else that of the nearest field above it."""
        while path:
            for verdict, listed in (
                (Verdict.CARRIED_OUT, self.carried_out),
                (Verdict.NO_EFFECT, self.no_effect),
                (Verdict.REFUSED, self.refused),
            ):
                if path in listed:
                    return verdict
            path = path.rpartition(".")[0]
        return None


def words(text: str) -> tuple[str, ...]:
    """Paths from a text: ``http.{name timeout}`` stands for ``http.name`` and ``http.timeout``."""
    found: list[str] = []
    stack: list[str] = [""]
    for part in text.replace("{", " { ").replace("}", " } ").split():
        if part == "{":
            stack.append(found.pop())
        elif part == "}":
            stack.pop()
        else:
            found.append(stack[-1] + part)
    return tuple(found)


def leaves(model: type[Kind], above: str = "", seen: tuple[type[Kind], ...] = ()) -> Iterator[str]:
    """The path of every field of a kind that has no fields below it."""
    for name, (_, annotation) in fields(model).items():
        below = inner(annotation)
        if below is None or below in seen or not below.model_fields:
            yield above + name
        else:
            yield from leaves(below, f"{above}{name}.", (*seen, model))


@dataclass(slots=True)
class Plan:
    """The paths worth looking at, as a tree, so that a document is walked once and shallowly."""

    default: Any = None
    code: str = ""
    reason: str = ""
    model: type[Kind] | None = None
    below: dict[str, Plan] = field(default_factory=dict)


def plan(model: type[Kind], verdicts: Verdicts) -> Plan:
    """:raises KeyError: when a verdict names a field that the kind does not have: a bug of ours."""
    root = Plan(model=model)
    for code, listed in (("MW0005", verdicts.no_effect), ("MW0004", verdicts.refused)):
        for path, reason in listed.items():
            at = root
            for name in path.split("."):
                at = _step(at, name)
            at.code, at.reason = code, reason
    for path in verdicts.carried_out:
        at = root
        for name in path.split("."):
            at = _step(at, name)
    return root


def _step(at: Plan, name: str) -> Plan:
    if name not in at.below:
        if at.model is None:
            raise KeyError(name)
        own, annotation = fields(at.model)[name]
        default = at.model.model_fields[own].default
        at.below[name] = Plan(
            default=None if default is PydanticUndefined else default, model=inner(annotation)
        )
    return at.below[name]


def judge(spec: object, rules: Plan, place: Place, at: tuple[Step, ...]) -> Iterator[Problem]:
    """Every field that is said and not carried out. ``spec`` is as written, well-formed or not."""
    if isinstance(spec, list):
        for index, item in enumerate(spec):
            yield from judge(item, rules, place, (*at, index))
        return
    if not isinstance(spec, dict):
        return
    for name, below in rules.below.items():
        if name not in spec or _says_nothing(spec[name], below.default):
            continue
        path = (*at, name)
        if below.code == "MW0004":
            yield place.problem("MW0004", spell(path), f"{name!r} is not supported yet", below.reason)
        elif below.code:
            yield place.problem("MW0005", spell(path), f"{name!r} has no effect here: {below.reason}")
        elif below.below:
            yield from judge(spec[name], below, place, path)


def _says_nothing(value: object, default: object) -> bool:
    # `in` would ask for hashes, and lists have none.
    return value is None or value == [] or value == default  # noqa: PLR1714
