"""Which workloads a selector picks: of its own registry, and of others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from mesh.buckets import Buckets
from mesh.labels import Labels, selects
from mesh.services import Provider, Workload
from registries.answers import Offer, Said

Picked = tuple[tuple[str, Workload], ...]
"""Workloads of other registries, with the name of theirs."""
# A Kubernetes Service picks what Git declares, a ServiceEntry the Pods; nobody else picks across registries.
PICKS = {Provider.KUBERNETES: Provider.GIT, Provider.GIT: Provider.KUBERNETES}


class Voice(NamedTuple):
    """What one registry says of the namespace. Voices stand in the order of trust."""

    registry: str
    provider: Provider
    said: Said


class Pickable:
    """Some workloads of one namespace, findable by label. Follows what changes of them."""

    def __init__(self, workloads: Iterable[Workload] = ()) -> None:
        self._followed: Buckets[Workload] = Buckets()
        self._all: dict[str, Workload] = {}
        self._by_label: defaultdict[tuple[str, str], dict[str, Workload]] = defaultdict(dict)
        for workload in workloads:
            self._enter(workload)

    def follow(self, workloads: Mapping[str, Workload]) -> list[Workload]:
        """Know these from now on. Returns those that went and those that came; who changed is in it twice."""
        now = Buckets.of(workloads)
        moved: list[Workload] = []
        for name in now.changed_since(self._followed):
            if (old := self._all.pop(name, None)) is not None:
                for pair in old.labels:
                    del self._by_label[pair][name]
                moved.append(old)
            if (new := now.get(name)) is not None:
                self._enter(new)
                moved.append(new)
        self._followed = now
        return moved

    def _enter(self, workload: Workload) -> None:
        self._all[workload.name] = workload
        for pair in workload.labels:
            self._by_label[pair][workload.name] = workload

    def picked(self, selector: Labels) -> Iterator[Workload]:
        """The workloads that the selector picks, found through its rarest pair; in no order."""
        few = min((self._by_label.get(pair, {}) for pair in selector), key=len, default=self._all)
        return (workload for workload in few.values() if selects(selector, workload.labels))


class Picks:
    """What the selectors of one registry pick in others."""

    def __init__(self) -> None:
        self.picked: dict[str, Picked] = {}
        """By host."""
        self._offers: Buckets[Offer] = Buckets()
        self._selecting: dict[str, Labels] = {}
        self._elsewhere: dict[str, Pickable] = {}

    def follow(self, offers: Mapping[str, Offer], others: tuple[Voice, ...]) -> Iterator[str]:
        """Yields the hosts for which the picked are others than before."""
        now = Buckets.of(offers)
        asked = set(now.changed_since(self._offers))
        for host in asked:
            selector = offer.service.selector if (offer := now.get(host)) is not None else None
            self._selecting.pop(host, None)
            if selector:
                self._selecting[host] = selector
        self._offers = now
        for moved in self._moved(others):
            asked.update(
                host for host, selector in self._selecting.items() if selects(selector, moved.labels)
            )
        for host in asked:
            found = tuple(self._found(self._selecting[host])) if host in self._selecting else ()
            if found != self.picked.get(host, ()):
                self.picked.pop(host, None)
                if found:
                    self.picked[host] = found
                yield host

    def _moved(self, others: tuple[Voice, ...]) -> Iterator[Workload]:
        """Workloads elsewhere that came, went or changed."""
        names = [other.registry for other in others]
        for gone in self._elsewhere.keys() - set(names):
            yield from self._elsewhere.pop(gone).follow({})
        for other in others:
            yield from self._elsewhere.setdefault(other.registry, Pickable()).follow(other.said.workloads)
        self._elsewhere = {name: self._elsewhere[name] for name in names}

    def _found(self, selector: Labels) -> Iterator[tuple[str, Workload]]:
        for registry, pickable in self._elsewhere.items():
            ready = (workload for workload in pickable.picked(selector) if workload.is_ready)
            yield from ((registry, workload) for workload in sorted(ready, key=lambda one: one.name))
