"""A registry: a source of services and workloads outside the repository (ours)."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.kinds import guards, registry_consul, registry_kubernetes
from mesh.kinds.guards import Guards
from mesh.kinds.kind import Kind, Text, Texts
from mesh.kinds.registry_consul import Consul
from mesh.kinds.registry_kubernetes import Kubernetes
from mesh.kinds.rules import dns_label, one_of, said, wrong
from mesh.places import Place
from mesh.problems import Problem
from mesh.services import GIT


class Registry(Kind):
    """One source. The name ``git`` is the repository itself, for which only ``shareHosts`` can be said."""

    name: Text = ""
    consul: Consul | None = None
    kubernetes: Kubernetes | None = None
    network: Text = ""
    """The network of its endpoints, where neither they nor ``meshNetworks`` say another."""
    share_hosts: Texts = ()
    """Hosts (``*`` and ``*.suffix`` allowed) that it serves together with the registry that owns them."""
    guards: Guards | None = None
    """Instead of the mesh's, as a whole."""


def check(registries: tuple[Registry, ...], where: Place, at: str) -> Iterator[Problem]:
    """Names are unique, and every registry is of exactly one kind."""
    names: set[str] = set()
    for index, registry in enumerate(registries):
        here = f"{at}[{index}]"
        yield from wrong(where, f"{here}.name", dns_label(registry.name))
        if registry.name in names:
            yield from wrong(where, f"{here}.name", f"two registries are called {registry.name!r}")
        names.add(registry.name)
        of_kind = said(consul=registry.consul, kubernetes=registry.kubernetes)
        if registry.name == GIT and of_kind:
            yield from wrong(where, f"{here}.name", f"{GIT!r} is the repository itself: choose another name")
        elif registry.name != GIT:
            yield from one_of(where, here, of_kind)
            if not of_kind:
                yield from wrong(where, here, "expected one of consul, kubernetes")
        if registry.consul is not None:
            yield from registry_consul.check(registry.consul, where, f"{here}.consul")
        if registry.kubernetes is not None:
            yield from registry_kubernetes.check(registry.kubernetes, where, f"{here}.kubernetes")
        if registry.guards is not None:
            yield from guards.check(registry.guards, where, f"{here}.guards")
