"""What Envoy would refuse before it looks any closer: the constraints written in its own protos.

One field out of bounds makes Envoy throw away the whole response it came in (reference/envoy-bets.md,
8), so each new resource is checked before it is sent. The rules are the ``validate.rules`` options of
the descriptors, compiled once per message type into closures; nested ``Any`` messages are opened
where the pool knows them. A few failures that Envoy answers with silence are checked as well.
Not checked: what Envoy decides while it builds a resource. That is answered per resource.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor

from xds import envoy

Found = Iterator[tuple[str, str]]
Check = Callable[[Any], Found]
"""A value in; the path below it and the rule, for each rule that it breaks, out."""


class ConstraintError(ValueError):
    """A message of ours breaks constraints of Envoy's. A bug: what ``check`` accepts does not lead here."""


def serialised(message: Any) -> bytes:
    """The bytes of a message that breaks no constraint.

    :raises ConstraintError: naming every one that is broken.
    """
    if found := violations(message):
        raise ConstraintError(f"Envoy would refuse {message.DESCRIPTOR.name}: {'; '.join(found)}")
    return envoy.serialised(message)


def violations(message: Any) -> tuple[str, ...]:
    """``path: rule`` for each constraint the message breaks."""
    return tuple(f"{path.lstrip('.')}: {rule}" for path, rule in _rules(message.DESCRIPTOR).check(message))


@dataclass(frozen=True, slots=True)
class _Rules:
    """The compiled rules of one message type."""

    present: dict[int, tuple[str, Check]]
    """By field number: what is asked of the field's value when it is set."""
    absent: tuple[tuple[frozenset[int], str, str], ...]
    """Field numbers of which one must be set, the path, and what is said if none is."""
    whole: Check | None

    def check(self, message: Any) -> Found:
        said = message.ListFields()
        for field, value in said:
            known = self.present.get(field.number)
            if known is not None:
                name, check = known
                for path, rule in check(value):
                    yield f".{name}{path}", rule
        if self.absent:
            numbers = {field.number for field, _ in said}
            for wanted, path, rule in self.absent:
                if wanted.isdisjoint(numbers):
                    yield path, rule
        if self.whole is not None:
            yield from self.whole(message)


@functools.cache
def _rules(descriptor: Descriptor) -> _Rules:
    present: dict[int, tuple[str, Check]] = {}
    absent: list[tuple[frozenset[int], str, str]] = []
    for field in descriptor.fields:
        asked = _field_rules(field)
        check = _field(field, asked)
        if check is not None:
            present[field.number] = (field.name, check)
        if field.containing_oneof is None:  # of a oneof, only the field that was chosen is looked at
            absent += [
                (frozenset((field.number,)), f".{field.name}", rule) for rule in _when_unset(field, asked)
            ]
    for oneof in descriptor.oneofs:
        if _is_required(oneof):
            numbers = frozenset(field.number for field in oneof.fields)
            absent.append((numbers, f".{oneof.name}", "one of it must be set"))
    return _Rules(present, tuple(absent), _KNOWN_FAILURES.get(descriptor.full_name))


def _option(options: Any, kind: str, extension: str) -> Any:
    """An option that the default pool knows only as bytes, read with the private pool's classes."""
    again = envoy.message(kind).FromString(options.SerializeToString())
    return again.Extensions[envoy.pool().FindExtensionByName(extension)]


def _field_rules(field: FieldDescriptor) -> Any:
    return _option(field.GetOptions(), "google.protobuf.FieldOptions", "validate.rules")


def _is_required(oneof: OneofDescriptor) -> bool:
    return bool(_option(oneof.GetOptions(), "google.protobuf.OneofOptions", "validate.required"))


def _kind(rules: Any) -> str:
    return str(rules.WhichOneof("type") or "")


def _when_unset(field: FieldDescriptor, rules: Any) -> Iterator[str]:
    """What leaving the field out breaks."""
    kind = _kind(rules)
    if rules.message.required or (kind in {"any", "duration", "timestamp"} and getattr(rules, kind).required):
        yield "must be set"
    elif field.is_repeated:
        if kind == "repeated" and rules.repeated.min_items:
            yield f"must have at least {rules.repeated.min_items} items"
        if kind == "map" and rules.map.min_pairs:
            yield f"must have at least {rules.map.min_pairs} pairs"
    elif not field.has_presence and kind:
        check = _scalar(kind, getattr(rules, kind))
        if check is not None:
            yield from (rule for _, rule in check(field.default_value))


def _field(field: FieldDescriptor, rules: Any) -> Check | None:
    """The check of a field that is set."""
    if field.is_repeated:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return _map(field.message_type, rules.map)
        return _list(_one(field, rules.repeated.items), rules.repeated)
    return _one(field, rules)


def _one(field: FieldDescriptor, rules: Any) -> Check | None:
    """The check of one value: a scalar, a wrapped scalar, a duration, or a message."""
    kind = _kind(rules)
    if field.message_type is None:
        return _enum(field, rules.enum) if kind == "enum" else _scalar(kind, getattr(rules, kind, None))
    name = field.message_type.full_name
    if name == "google.protobuf.Any":
        return _any
    if name == "google.protobuf.Duration":
        return _duration(rules.duration) if kind == "duration" else None
    if rules.message.skip:
        return None
    if kind and name.startswith("google.protobuf."):
        inner = _scalar(kind, getattr(rules, kind))
        return None if inner is None else lambda value: inner(value.value)
    message_type = field.message_type
    return (lambda value: _rules(message_type).check(value)) if _matters(message_type) else None


@functools.cache
def _matters(descriptor: Descriptor) -> bool:
    """Whether anything in or below this message is asked for. Most of what is deep is not."""
    seen, todo = set(), [descriptor]
    while todo:
        current = todo.pop()
        if current.full_name in seen:
            continue
        seen.add(current.full_name)
        if current.full_name == "google.protobuf.Any" or current.full_name in _KNOWN_FAILURES:
            return True
        if any(_is_required(oneof) for oneof in current.oneofs):
            return True
        for field in current.fields:
            if _field_rules(field).ByteSize():
                return True
            if field.message_type is not None:
                todo.append(field.message_type)
    return False


def _any(value: Any) -> Found:
    return iter(_inside(value.type_url, value.value))


@functools.lru_cache(maxsize=1024)
def _inside(type_url: str, body: bytes) -> tuple[tuple[str, str], ...]:
    """Remembered: the filters and sockets of one listener are mostly those of the next."""
    try:
        inner = envoy.message(type_url.rpartition("/")[2])
    except KeyError:
        return ()  # newer than our descriptors, or TypedStruct's business
    if not _matters(inner.DESCRIPTOR):
        return ()
    return tuple(_rules(inner.DESCRIPTOR).check(inner.FromString(body)))


def _list(item: Check | None, rules: Any) -> Check | None:
    low, high = rules.min_items, rules.max_items or None
    is_unique = rules.unique
    if item is None and not low and high is None and not is_unique:
        return None

    def check(values: Any) -> Found:
        if low and len(values) < low:
            yield "", f"must have at least {low} items"
        if high is not None and len(values) > high:
            yield "", f"must have at most {high} items"
        if is_unique and len(set(values)) < len(values):
            yield "", "must not repeat an item"
        if item is not None:
            for at, value in enumerate(values):
                for path, rule in item(value):
                    yield f"[{at}]{path}", rule

    return check


def _map(entry: Descriptor, rules: Any) -> Check | None:
    of_key = _one(entry.fields_by_name["key"], rules.keys)
    of_value = _one(entry.fields_by_name["value"], rules.values)
    if of_key is None and of_value is None:
        return None

    def check(pairs: Any) -> Found:
        for key, value in pairs.items():
            for path, rule in (*(of_key(key) if of_key else ()), *(of_value(value) if of_value else ())):
                yield f"[{key!r}]{path}", rule

    return check


def _enum(field: FieldDescriptor, rules: Any) -> Check:
    assert field.enum_type is not None
    allowed = {value.number for value in field.enum_type.values} - set(rules.not_in)
    if not rules.defined_only:
        return lambda value: iter((("", f"must not be {value}"),) if value in rules.not_in else ())
    return lambda value: iter(() if value in allowed else (("", f"must not be {value}"),))


_BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "gt": ("greater than", lambda value, bound: value > bound),
    "gte": ("at least", lambda value, bound: value >= bound),
    "lt": ("less than", lambda value, bound: value < bound),
    "lte": ("at most", lambda value, bound: value <= bound),
    "const": ("exactly", lambda value, bound: value == bound),
}


def _duration(rules: Any) -> Check | None:
    bounds = [
        (words, holds, (bound.seconds, bound.nanos))
        for name, (words, holds) in _BOUNDS.items()
        if rules.HasField(name)
        for bound in (getattr(rules, name),)
    ]

    def check(value: Any) -> Found:
        span = (value.seconds, value.nanos)
        for words, holds, bound in bounds:
            if not holds(span, bound):
                yield "", f"must be {words} {bound[0] + bound[1] / 1e9:g}s"

    return check if bounds else None


_TESTS = {
    "min_len": ("at least {} characters", lambda value, bound: len(value) >= bound),
    "max_len": ("at most {} characters", lambda value, bound: len(value) <= bound),
    "min_bytes": ("at least {} bytes", lambda value, bound: len(_encoded(value)) >= bound),
    "max_bytes": ("at most {} bytes", lambda value, bound: len(_encoded(value)) <= bound),
    "prefix": ("something that begins with {!r}", lambda value, bound: value.startswith(bound)),
    "suffix": ("something that ends with {!r}", lambda value, bound: value.endswith(bound)),
    "pattern": ("something that matches {!r}", lambda value, bound: re.search(bound, value) is not None),
}

# protoc-gen-validate, ``validate.proto``, ``KnownRegex``: by regex and strictness.
_KNOWN_REGEX = {
    (1, True): re.compile(r"\A:?[0-9a-zA-Z!#$%&'*+-.^_|~`]+\Z"),
    (1, False): re.compile(r"\A[^\x00\x0A\x0D]*\Z"),
    (2, True): re.compile(r"\A[^\x00-\x08\x0A-\x1F\x7F]*\Z"),
    (2, False): re.compile(r"\A[^\x00\x0A\x0D]*\Z"),
}


def _encoded(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


Test = tuple[Callable[[Any, Any], bool], Any, str]
"""Whether a value holds against a bound, and what is said if not."""


def _scalar(kind: str, rules: Any) -> Check | None:
    """The check of a plain value: number, text, bytes, truth."""
    if rules is None or kind in {"message", "repeated", "map", "any", "duration", "timestamp", "enum"}:
        return None
    tests = tuple(_tests(kind, rules))
    if not tests:
        return None
    may_be_empty = bool(getattr(rules, "ignore_empty", False))

    def check(value: Any) -> Found:
        if may_be_empty and not value:
            return
        for holds, bound, rule in tests:
            if not holds(value, bound):
                yield "", rule

    return check


def _tests(kind: str, rules: Any) -> Iterator[Test]:
    for name, (words, holds) in (*_BOUNDS.items(), *_TESTS.items()):
        if name in rules.DESCRIPTOR.fields_by_name and rules.HasField(name):
            bound = getattr(rules, name)
            said = words.format(bound) if "{" in words else f"{words} {bound}"
            yield holds, bound, f"must be {said}"
    choices = tuple(getattr(rules, "in", ()))
    if choices:
        yield lambda value, bound: value in bound, choices, f"must be one of {choices}"
    if kind == "string" and rules.well_known_regex:
        pattern = _KNOWN_REGEX[rules.well_known_regex, rules.strict]
        what = "header name" if rules.well_known_regex == 1 else "header value"
        yield lambda value, bound: bound.match(value) is not None, pattern, f"must be a {what}"


# Envoy's defaults, from the comments in cluster.proto.
_RING_MINIMUM, _RING_MAXIMUM, _MAGLEV_TABLE = 1024, 8 * 1024 * 1024, 65537


def _ring(message: Any) -> Found:
    """Else the cluster never warms, and neither ACK nor NACK comes."""
    low = message.minimum_ring_size.value if message.HasField("minimum_ring_size") else _RING_MINIMUM
    high = message.maximum_ring_size.value if message.HasField("maximum_ring_size") else _RING_MAXIMUM
    if low > high:
        yield ".minimum_ring_size", f"must be at most maximum_ring_size, {high}"


def _maglev(message: Any) -> Found:
    """Likewise."""
    size = message.table_size.value if message.HasField("table_size") else _MAGLEV_TABLE
    if any(size % divisor == 0 for divisor in range(2, int(size**0.5) + 1)) or size < 2:
        yield ".table_size", "must be a prime number"


_KNOWN_FAILURES: dict[str, Check] = {
    "envoy.config.cluster.v3.Cluster.RingHashLbConfig": _ring,
    "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash": _ring,
    "envoy.config.cluster.v3.Cluster.MaglevLbConfig": _maglev,
    "envoy.extensions.load_balancing_policies.maglev.v3.Maglev": _maglev,
}
