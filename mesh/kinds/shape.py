"""Whether a document has the shape of its kind, in words that a person can act on.

pydantic finds every mistake at once; what is added here is Istio's code, the path as it is written
in the document, what was found, and the nearest known name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mesh.kinds.kind import Kind, described
from mesh.places import Place, Step, spell
from mesh.problems import Problem

K = TypeVar("K", bound=Kind)


def fit(model: type[K], value: object, place: Place, at: str) -> tuple[K | None, tuple[Problem, ...]]:
    """The value as a ``model``, or everything that keeps it from being one.

    :param at: the path of the value in its document (``spec``).
    """
    try:
        return model.model_validate(value, by_alias=True, by_name=False), ()
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
    if any(mistake["input"] is None for mistake in mistakes):
        # `timeout:` with nothing behind it is "not said" to Kubernetes. Looked for only now,
        # because hardly any document has one.
        said = _without_nulls(value)
        if said != value:
            return fit(model, said, place, at)
    return None, tuple(_problem(model, mistake, place, at) for mistake in mistakes)


def _without_nulls(value: object) -> object:
    """The value without fields that are null; nulls in lists stay, and are mistakes."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value


def _problem(model: type[Kind], mistake: ErrorDetails, place: Place, at: str) -> Problem:
    # A wrong key of a map is placed at "[key]" below itself.
    steps: tuple[Step, ...] = tuple(step for step in mistake["loc"] if step != "[key]")
    path = spell((*at.split("."), *steps))
    message, hint = _said(model, mistake, steps)
    return place.problem("IST0106", path, message, hint)


# What pydantic expected, by the type of its error.
_EXPECTED: Mapping[str, str] = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "tuple_type": "a list",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
}


def _said(model: type[Kind], mistake: ErrorDetails, steps: tuple[Step, ...]) -> tuple[str, str]:
    """The message and the hint."""
    found = described(mistake["input"])
    context = mistake.get("ctx", {})
    match mistake["type"]:
        case "missing":
            return "missing, and required", ""
        case "extra_forbidden":
            return "unknown field", nearest(str(steps[-1]), names(_model_at(model, steps[:-1])))
        case "literal_error":
            choices = _choices(str(context["expected"]))
            hint = nearest(str(mistake["input"]), choices)
            return f"expected one of {', '.join(choices)}, found {found}", hint
        case "greater_than_equal":
            return f"expected a number from {context['ge']}, found {found}", ""
        case "less_than":
            return f"expected a number below {context['lt']}, found {found}", ""
        case "value_error":
            return str(context["error"]), ""
        case kind if kind in _EXPECTED:
            hint = _quote(mistake["input"]) if kind == "string_type" else ""
            return f"expected {_EXPECTED[kind]}, found {found}", hint
        case _:
            return f"{mistake['msg'][:1].lower()}{mistake['msg'][1:]}, found {found}", ""


def _choices(expected: str) -> tuple[str, ...]:
    """The members of pydantic's ``'A', 'B' or 'C'``."""
    return tuple(part.strip(" '") for part in expected.replace(" or ", ", ").split(","))


def _quote(value: object) -> str:
    """YAML's oldest trap: an unquoted word or number that was meant as text."""
    if isinstance(value, bool):
        return "put quotes around it; unquoted it is true or false to YAML"
    return "put quotes around it" if isinstance(value, int | float) else ""


def nearest(word: str, known: tuple[str, ...]) -> str:
    """``did you mean 'http'?``, or nothing when no known word is near."""
    near = get_close_matches(word, known, n=1, cutoff=0.6) or get_close_matches(
        word.lower(), [name for name in known if name.lower() == word.lower()], n=1, cutoff=0.0
    )
    return f"did you mean {near[0]!r}?" if near else ""


@cache
def fields(model: type[Kind]) -> Mapping[str, tuple[str, Any]]:
    """Per name in documents: the field's name in Python and its annotation."""
    return {
        field.alias or name: (name, field.rebuild_annotation()) for name, field in model.model_fields.items()
    }


def names(model: type[Kind] | None) -> tuple[str, ...]:
    return tuple(fields(model)) if model is not None else ()


def inner(annotation: Any) -> type[Kind] | None:
    """The kind inside an annotation: of ``tuple[Server, ...]`` and ``FrozenMap[str, Server]`` too."""
    if isinstance(annotation, type) and issubclass(annotation, Kind):
        return annotation
    for part in _parts(annotation):
        if (found := inner(part)) is not None:
            return found
    return None


def _parts(annotation: Any) -> Iterator[Any]:
    yield from (part for part in get_args(annotation) if part is not Ellipsis)


def _model_at(model: type[Kind], steps: tuple[Step, ...]) -> type[Kind] | None:
    """The kind that stands at a path of documents; list indexes and map keys lead nowhere new."""
    at: type[Kind] | None = model
    for step in steps:
        if at is not None and isinstance(step, str) and step in fields(at):
            at = inner(fields(at)[step][1])
    return at
