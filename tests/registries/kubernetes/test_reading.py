"""Which namespaces of a cluster are read: Kubernetes' selectors, any of which suffices."""

from __future__ import annotations

import pytest

from mesh.kinds.selectors import LabelSelector, LabelSelectorRequirement
from mesh.labels import labels
from registries.kubernetes.reading import Reading


def seen(namespace: dict[str, str] | None, *selectors: LabelSelector) -> bool:
    reading = Reading(registry="east", discovery_selectors=selectors)
    return reading.is_seen(None if namespace is None else labels(namespace))


def where(key: str, operator: str, *values: str) -> LabelSelector:
    requirement = LabelSelectorRequirement(key=key, operator=operator, values=values)
    return LabelSelector(match_expressions=(requirement,))


@pytest.mark.parametrize(
    ("selector", "namespace", "expected"),
    [
        (where("env", "In", "a", "b"), {"env": "b"}, True),
        (where("env", "In", "a"), {"env": "b"}, False),
        (where("env", "In", "a"), {}, False),
        (where("env", "NotIn", "a"), {"env": "b"}, True),
        (where("env", "NotIn", "a"), {}, True),
        (where("env", "NotIn", "a"), {"env": "a"}, False),
        (where("env", "Exists"), {"env": ""}, True),
        (where("env", "Exists"), {}, False),
        (where("env", "DoesNotExist"), {}, True),
        (where("env", "DoesNotExist"), {"env": ""}, False),
        (where("env", "Odd"), {"env": ""}, False),
        (LabelSelector(match_labels={"env": "a"}), {"env": "a", "team": "b"}, True),
        (LabelSelector(match_labels={"env": "a"}), {"env": "b"}, False),
        (LabelSelector(), {}, True),
    ],
)
def test_a_selector_picks_namespaces_by_label(
    selector: LabelSelector, namespace: dict[str, str], expected: bool
) -> None:
    assert seen(namespace, selector) is expected


def test_any_selector_suffices_and_none_at_all_sees_everything() -> None:
    assert seen({"env": "a"}, where("env", "In", "b"), where("env", "In", "a"))
    assert seen({})
    assert seen(None)


def test_a_namespace_that_is_not_known_yet_is_not_picked() -> None:
    assert not seen(None, where("env", "DoesNotExist"))
