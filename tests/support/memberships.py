"""Proxies, parts and a directory for tests of the xDS protocol, without a world behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from mesh.latest import Latest
from mesh.proxies import NodeId, Proxy, Role
from xds import envoy
from xds.admission import admit
from xds.bodies import Bodies
from xds.directory import Caller, Refusal
from xds.metrics import Metrics
from xds.resources import Assignment, Part, Resource
from xds.session import Settings
from xds.suspects import Limits


def a_resource(type_url: str, name: str, content: str = "v1") -> Resource:
    """Opaque bytes: the protocol never looks inside."""
    return Resource.of_bytes(name, type_url, f"{name}={content}".encode())


def a_part(type_url: str, **contents: str) -> Part:
    """``a_part(CLUSTER, a="v1")``."""
    return Part.of(type_url, [a_resource(type_url, name, content) for name, content in contents.items()])


def an_assignment(*parts: Part, revision: str = "r1") -> Assignment:
    """The parts, sorted by type in the order given."""
    by_type: dict[str, tuple[Part, ...]] = {}
    for part in parts:
        by_type[part.type_url] = (*by_type.get(part.type_url, ()), part)
    return Assignment(by_type, revision)


def a_world(version: str = "v1", *, revision: str = "r1") -> Assignment:
    """Two clusters with endpoints, a listener and its route table, all of one content."""
    return an_assignment(
        a_part(envoy.CLUSTER, a=version, b=version),
        a_part(envoy.ENDPOINTS, a=version, b=version),
        a_part(envoy.LISTENER, web=version),
        a_part(envoy.ROUTES, table=version),
        revision=revision,
    )


def a_proxy(name: str = "web-1", namespace: str = "web", account: str = "front") -> Proxy:
    return Proxy(
        role=Role.SIDECAR, name=name, namespace=namespace, address="10.0.0.1", service_account=account
    )


def node_id(proxy: Proxy) -> str:
    node = NodeId(
        role=proxy.role,
        address=proxy.address,
        name=proxy.name,
        namespace=proxy.namespace,
        domain=proxy.domain,
    )
    return str(node)


class FakeMembership:
    """Remembers what it was told."""

    def __init__(self, assignment: Assignment, proxy: Proxy | None = None) -> None:
        self.proxy = proxy or a_proxy()
        self.assignment = Latest(assignment)
        self.held: dict[str, tuple[Part, ...]] = {}
        self.refusals: list[Refusal] = []
        self.has_left = False

    def acknowledged(self, type_url: str, parts: tuple[Part, ...]) -> None:
        self.held[type_url] = parts

    def refused(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    def leave(self) -> None:
        self.has_left = True


class FakeDirectory:
    """Knows some proxies and what each shall have; admits by the real rules."""

    def __init__(self, assignments: Mapping[str, Latest[Assignment]], *proxies: Proxy) -> None:
        self._assignments = assignments
        self._proxies = {(proxy.namespace, proxy.name): proxy for proxy in proxies}
        self.members: list[FakeMembership] = []

    async def join(self, node: NodeId, metadata: Mapping[str, Any], caller: Caller) -> FakeMembership:
        proxy = admit(node, caller, self._proxies.get((node.namespace, node.name)))
        assignment = self._assignments[proxy.name]
        member = FakeMembership(assignment.value, proxy)
        member.assignment = assignment
        self.members.append(member)
        return member


def some_settings(**words: Any) -> Settings:
    """Settings of a server of its own, with a registry of its own."""
    limits = words.pop("limits", Limits())
    return Settings(bodies=Bodies(), metrics=Metrics(CollectorRegistry()), limits=limits, **words)
