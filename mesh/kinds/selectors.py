"""How an object says which workloads it is about, shared."""

from __future__ import annotations

from mesh.kinds.frozen import FrozenMap
from mesh.kinds.kind import NOTHING, Kind, StringMap, Text, Texts


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
