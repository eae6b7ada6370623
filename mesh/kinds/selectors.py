"""How an object says which workloads it is about, shared."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.kinds.frozen import FrozenMap
from mesh.kinds.kind import NOTHING, Kind, StringMap, Text, Texts
from mesh.kinds.rules import label_pairs, wrong
from mesh.places import Place
from mesh.problems import Problem


class WorkloadSelector(Kind):
    """The networking kinds' selector: by ``labels``. Istio, "WorkloadSelector" of Sidecar."""

    labels: StringMap = NOTHING


class PolicySelector(Kind):
    """The security kinds' selector: by ``matchLabels``. Istio, ``type.v1beta1.WorkloadSelector``."""

    match_labels: StringMap = NOTHING


class PolicyTargetReference(Kind):
    """The object a policy is attached to. Istio, ``type.v1beta1.PolicyTargetReference``."""

    group: Text = ""
    kind: Text
    name: Text
    namespace: Text = ""


class LabelSelectorRequirement(Kind):
    """One expression over labels. Kubernetes, ``LabelSelectorRequirement``."""

    key: Text
    operator: Text
    values: Texts = ()


class LabelSelector(Kind):
    """Labels and expressions. Kubernetes, ``LabelSelector``."""

    match_labels: StringMap = FrozenMap()
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


_OF_VALUES = ("In", "NotIn")
_OF_KEYS = ("Exists", "DoesNotExist")


def check(selector: LabelSelector, where: Place, at: str) -> Iterator[Problem]:
    """Kubernetes, ``ValidateLabelSelector``."""
    yield from label_pairs(where, f"{at}.matchLabels", selector.match_labels)
    for index, one in enumerate(selector.match_expressions):
        here = f"{at}.matchExpressions[{index}]"
        if one.operator not in _OF_VALUES + _OF_KEYS:
            expected = ", ".join(_OF_VALUES + _OF_KEYS)
            yield from wrong(where, f"{here}.operator", f"expected one of {expected}, found {one.operator!r}")
        elif one.operator in _OF_VALUES and not one.values:
            yield from wrong(where, f"{here}.values", f"{one.operator} needs at least one value")
        elif one.operator in _OF_KEYS and one.values:
            yield from wrong(where, f"{here}.values", f"{one.operator} takes no values")
