"""The kinds of objects that are listed and watched, and where they are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from registries.kubernetes import objects
from registries.kubernetes.fields import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind of object that is listed and watched."""

    kind: str
    path: str
    parse: Callable[[Json], Any]
    page: int = 250
    """How many objects one answer holds: a Pod, a Node or a slice has ten kilobytes and more."""
    fields: str = ""
    """A field selector, for some of them only."""

    @property
    def chosen(self) -> dict[str, str]:
        """The part of every question that says which ones."""
        return {"fieldSelector": self.fields} if self.fields else {}


SERVICES = Resource(kind="Service", path="/api/v1/services", parse=objects.service)
SLICES = Resource(
    kind="EndpointSlice",
    path="/apis/discovery.k8s.io/v1/endpointslices",
    parse=objects.endpoint_slice,
    page=100,
)
PODS = Resource(kind="Pod", path="/api/v1/pods", parse=objects.pod, page=100)
NODES = Resource(kind="Node", path="/api/v1/nodes", parse=objects.node, page=100)
NAMESPACES = Resource(kind="Namespace", path="/api/v1/namespaces", parse=objects.namespace)
