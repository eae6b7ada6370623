"""How one cluster is read: what the Mesh document and the settings of the mesh say about it."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.kinds.selectors import LabelSelector, LabelSelectorRequirement
from mesh.labels import Labels
from mesh.names import DEFAULT_DOMAIN, ROOT_NAMESPACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The choices for one cluster; those that are not said are Istio's defaults."""

    registry: str
    cluster_domain: str = DEFAULT_DOMAIN
    trust_domain: str = ""
    """That of the cluster's workloads, if it is not the mesh's: they are called, and no members."""
    export_to: tuple[str, ...] = ("*",)
    """For Services without the annotation."""
    root_namespace: str = ROOT_NAMESPACE
    """The namespace whose label names the network of the whole cluster."""
    discovery_selectors: tuple[LabelSelector, ...] = ()
    external_ips: bool = False
    """Whether a Service may claim addresses by ``externalIPs``."""

    def is_seen(self, labels: Labels | None) -> bool:
        """Whether a namespace with these labels is read; ``None``: it is not known (yet).

        Any of the selectors suffices, and none at all sees everything. Istio, "discoverySelectors".
        """
        if not self.discovery_selectors:
            return True
        return labels is not None and any(_selects(one, dict(labels)) for one in self.discovery_selectors)


def _selects(selector: LabelSelector, labels: dict[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _holds(one, labels) for one in selector.match_expressions
    )


def _holds(requirement: LabelSelectorRequirement, labels: dict[str, str]) -> bool:
    """Kubernetes, "Labels and Selectors": ``NotIn`` also holds where there is no such label."""
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value in requirement.values
        case "NotIn":
            return value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            return False
