"""All that is known of one cluster, what of it belongs together, and what has to be joined again.

Every change marks the Services that it concerns, and no others: an EndpointSlice its Service, a Pod the
Services whose slices name it or whose selector picks it, a Node the Pods on it if it has moved, a Namespace
all that is in it if it is read from now on, or no longer. :meth:`Inventory.settle` joins what was marked.

Owned by the task of the registry. Nothing here waits, except to give the loop back.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final, TypeVar

from mesh.clock import breathe
from mesh.labels import selects
from mesh.services import Locality, Workload
from registries.answers import Remark
from registries.draft import Draft
from registries.kubernetes import joining, objects
from registries.kubernetes.index import Index, SparseIndex
from registries.kubernetes.objects import Key, Namespace, Node, Pod, Slice
from registries.kubernetes.reading import Reading
from registries.kubernetes.table import Table

T = TypeVar("T")
_NOWHERE: Final = Locality()
PATIENCE: Final = timedelta(seconds=2)
"""How long a slice may be ahead of the Pods that it names, before its Service is believed to be empty."""
_AT_ONCE: Final = 200  # Pods, or instances, that are made before the loop is given back


class Inventory:
    """Five tables, the indices between them, and what is dirty."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.services: Table[objects.Service] = Table("Service", self._service_changed)
        self.slices: Table[Slice] = Table("EndpointSlice", self._slice_changed)
        self.pods: Table[Pod] = Table("Pod", self._pod_changed)
        self.nodes: Table[Node] = Table("Node", self._node_changed)
        self.namespaces: Table[Namespace] = Table("Namespace", self._namespace_changed)
        self._slices_of: Index[Key] = Index()
        self._slices_naming = SparseIndex()
        """By Pod."""
        self._slices_on: Index[str] = Index()
        """By Node, for endpoints that are no Pods."""
        self._pods_on: Index[str] = Index()
        self._pods_in: Index[str] = Index()
        self._selecting: Index[tuple[str, tuple[str, str]]] = Index()
        """Services by namespace and the first pair of their selector: few have to be looked at for a Pod."""
        self._selected: Index[Key] = Index()
        """By Service."""
        self._unpicked: set[str] = set()
        """Namespaces with selectors that were not yet held against the Pods."""
        self._workloads: dict[Key, Workload] = {}
        self._network = ""
        self._dirty_services: set[Key] = set()
        self._dirty_pods: set[Key] = set()
        self._waiting: dict[Key, float] = {}
        self._remarked: set[str] = set()
        self.joins = 0
        """How often a Service was joined."""

    def pod(self, key: Key) -> Pod | None:
        return self.pods.get(key) if self._is_seen(key[0]) else None

    def workload(self, pod: Pod) -> Workload | None:
        # A Pod may have changed since its turn in the settling that asks now.
        return self._made(pod) if pod.key in self._dirty_pods else self._workloads.get(pod.key)

    def locality(self, node: str) -> Locality:
        found = self.nodes.get(("", node))
        return found.locality if found else _NOWHERE

    def network(self, pod: Pod | None) -> str:
        """The Pod's own word, else the cluster's; else empty: others ask the Mesh document."""
        said = dict(pod.labels).get(joining.NETWORK) if pod else None
        return said or self._network

    def selected(self, service: objects.Service) -> Iterator[Pod]:
        found = (self.pods.get(key) for key in sorted(self._selected.at(service.key)))
        return (pod for pod in found if pod is not None and not pod.is_over)

    def _service_changed(self, before: objects.Service | None, after: objects.Service | None) -> None:
        one = _either(before, after)
        self._dirty_services.add(one.key)
        old, new = (before.selector if before else None), (after.selector if after else None)
        if old == new:
            return
        namespace = one.key[0]
        if old:
            self._selecting.discard((namespace, old[0]), one.key)
            self._selected.forget(one.key)
        if new:
            self._selecting.add((namespace, new[0]), one.key)
            self._unpicked.add(namespace)

    def _slice_changed(self, before: Slice | None, after: Slice | None) -> None:
        if before is not None:
            self._dirty_services.add(before.service)
            self._slices_of.discard(before.service, before.key)
        if after is not None:
            self._dirty_services.add(after.service)
            self._slices_of.add(after.service, after.key)
        key = _either(before, after).key
        self._slices_naming.move(key, _pods_of(before), _pods_of(after))
        self._slices_on.move(key, _nodes_of(before), _nodes_of(after))

    def _pod_changed(self, before: Pod | None, after: Pod | None) -> None:
        one = _either(before, after)
        key, namespace = one.key, one.key[0]
        self._dirty_pods.add(key)
        for pod in (before, after):
            if pod is not None:
                self._dirty_services |= self._concerned(pod)
        self._pods_on.move(key, {before.node} if before else set(), {after.node} if after else set())
        if before is None:
            self._pods_in.add(namespace, key)
        if after is None:
            self._pods_in.discard(namespace, key)
        if before is None or after is None or before.labels != after.labels:
            old = set(self._services_selecting(before)) if before else set()
            new = set(self._services_selecting(after)) if after else set()
            self._selected.move(key, old, new)

    def _node_changed(self, before: Node | None, after: Node | None) -> None:
        one = _either(before, after)
        for key in self._pods_on.at(one.key[1]):
            self._pod_moved(key)
        for key in self._slices_on.at(one.key[1]):
            if found := self.slices.get(key):
                self._dirty_services.add(found.service)

    def _namespace_changed(self, before: Namespace | None, after: Namespace | None) -> None:
        one = _either(before, after)
        name = one.key[1]
        was = self._reading.is_seen(before.labels if before else None)
        if was != self._reading.is_seen(after.labels if after else None):
            self._mark(name)
        network = dict(after.labels).get(joining.NETWORK, "") if after else ""
        if name == self._reading.root_namespace and network != self._network:
            self._network = network
            self._mark(None)

    def _mark(self, namespace: str | None) -> None:
        """Everything of the namespace, or everything at all."""
        for service in self.services:
            if namespace in (None, service.key[0]):
                self._dirty_services.add(service.key)
        for pod in self.pods:
            if namespace in (None, pod.key[0]):
                self._pod_moved(pod.key)

    def _pod_moved(self, key: Key) -> None:
        self._dirty_pods.add(key)
        if (pod := self.pods.get(key)) is not None:
            self._dirty_services |= self._concerned(pod)

    def _concerned(self, pod: Pod) -> set[Key]:
        """The Services that the Pod stands behind, or will."""
        named = (self.slices.get(key) for key in self._slices_naming.at(pod.key))
        return {*(one.service for one in named if one is not None), *self._services_selecting(pod)}

    def _services_selecting(self, pod: Pod) -> Iterator[Key]:
        for pair in pod.labels:
            for key in self._selecting.at((pod.key[0], pair)):
                service = self.services.get(key)
                if service is not None and service.selector and selects(service.selector, pod.labels):
                    yield key

    def _is_seen(self, namespace: str) -> bool:
        if not self._reading.discovery_selectors:
            return True
        found = self.namespaces.get(("", namespace))
        return self._reading.is_seen(found.labels if found else None)

    @property
    def is_waiting(self) -> bool:
        """Whether some Service keeps what it had, for slices and Pods to agree."""
        return bool(self._waiting)

    async def settle(self, draft: Draft, now: float) -> None:
        """Note in the draft what has changed since the last time; what changes meanwhile waits."""
        while self._unpicked:
            await self._pick(self._unpicked.pop())
        pods, self._dirty_pods = self._dirty_pods, set()
        services, self._dirty_services = self._dirty_services, set()
        services |= {key for key, until in self._waiting.items() if until <= now}
        for number, key in enumerate(pods, 1):
            self._settle_pod(key, draft)
            if number % _AT_ONCE == 0:
                await breathe()
        done = 0
        for key in services:
            if key[0] in self._unpicked:
                self._dirty_services.add(key)  # it has changed again, and has its turn the next time
                continue
            done += 1 + self._settle_service(key, draft, now)
            if done >= _AT_ONCE:
                done = 0
                await breathe()
        self._remark(draft)

    async def _pick(self, namespace: str) -> None:
        """Hold all selectors of the namespace against its Pods: once for however many Services have come."""
        for number, key in enumerate(tuple(self._pods_in.at(namespace)), 1):
            if (pod := self.pods.get(key)) is not None:
                for service in self._services_selecting(pod):
                    self._selected.add(service, key)
            if number % _AT_ONCE == 0:
                await breathe()

    def _settle_pod(self, key: Key, draft: Draft) -> None:
        pod = self.pod(key)
        made = self._made(pod) if pod is not None else None
        if made is None:
            self._workloads.pop(key, None)
            draft.withdraw_workload(*key)
        elif not self._reading.trust_domain:
            draft.put_workload(made)

    def _made(self, pod: Pod) -> Workload | None:
        """The workload that a Pod is now: the known object as long as it is equal."""
        if pod.is_over or not pod.addresses:
            return None
        made = joining.workload(pod, pod.addresses[0], self.locality(pod.node), self.network(pod))
        if self._workloads.get(pod.key) != made:
            self._workloads[pod.key] = made
        return self._workloads[pod.key]

    def _settle_service(self, key: Key, draft: Draft, now: float) -> int:
        """How many instances it has."""
        namespace, name = key
        about = f"Service {namespace}/{name}"
        said = self.services.get(key) if self._is_seen(namespace) else None
        made = joining.Joined(None)
        if said is not None:
            self.joins += 1
            slices = (self.slices.get(one) for one in self._slices_of.at(key))
            made = joining.joined(said, (one for one in slices if one is not None), self, self._reading)
        if made.is_waiting and self._keeps(key, made, draft, now):
            return 0
        self._waiting.pop(key, None)
        if made.offer is not None:
            draft.put(made.offer)
        else:
            draft.withdraw(namespace, f"{name}.{namespace}.svc.{self._reading.cluster_domain}")
        if made.complaint is not None:
            draft.remark(Remark(about=about, message=made.complaint.message, hint=made.complaint.hint))
        else:
            draft.unremark(about)
        return len(made.offer.instances) if made.offer is not None else 0

    def _keeps(self, key: Key, made: joining.Joined, draft: Draft, now: float) -> bool:
        """Whether the last offer is to stay for a moment.

        Slices and Pods come over two streams, so a slice can name Pods that we hear of a moment later. A
        rollout must not look like an outage, so only what would be left with nobody waits.
        """
        if made.offer is None or made.offer.instances:
            return False
        before = draft.offer(key[0], made.offer.service.host)
        if before is None or not before.instances:
            return False
        return now < self._waiting.setdefault(key, now + PATIENCE.total_seconds())

    def _remark(self, draft: Draft) -> None:
        """Objects that cannot be read are remarked upon for as long as they cannot."""
        found: dict[str, str] = {}
        for table in (self.services, self.slices, self.pods, self.nodes, self.namespaces):
            for (namespace, name), message in table.unreadable.items():
                found[f"unreadable {table.kind} {f'{namespace}/{name}' if namespace else name}".strip()] = (
                    message
                )
        for about in self._remarked - found.keys():
            draft.unremark(about)
        for about, message in found.items():
            hint = "compare it with the API of Kubernetes; what was known of it before is kept"
            draft.remark(Remark(about=about, message=message, hint=hint))
        self._remarked = set(found)


def _either(before: T | None, after: T | None) -> T:
    """The one that exists."""
    found = after if after is not None else before
    if found is None:
        raise ValueError("nothing became nothing")
    return found


def _pods_of(one: Slice | None) -> set[Key]:
    return {key for place in one.places if (key := place.pod_key) is not None} if one else set()


def _nodes_of(one: Slice | None) -> set[str]:
    return {place.node for place in one.places if place.pod is None and place.node} if one else set()
