"""What a registry no longer names and the mesh keeps: the instances, services and workloads that are held.

Tables only; what is held and for how long is the guard's to say. What does not change stays the same object,
so that an answer in which all that is missing is held is the answer before it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mesh.buckets import Buckets
from mesh.services import Workload
from registries.answers import Answer, Instance, Offer, Said

Key = tuple[str, str]
"""Namespace and host."""
Place = tuple[str, str, tuple[tuple[int, int], ...]]


class Counts(NamedTuple):
    """How much a registry knows, or lacks."""

    instances: int = 0
    services: int = 0
    workloads: int = 0

    @classmethod
    def of(cls, answer: Answer) -> Counts:
        """Walks over all services."""
        workloads = sum(len(said.workloads) for said in answer.namespaces.values())
        return cls(answer.instances, answer.services, workloads)

    def plus(self, instances: int, services: int, workloads: int) -> Counts:
        return Counts(self.instances + instances, self.services + services, self.workloads + workloads)


@dataclass(slots=True)
class Absence:
    """What is missing of one service, each since when by the guard's stopwatch."""

    believed: Offer
    """The service with what is missing of it."""
    instances: dict[Place, tuple[Instance, float]] = field(default_factory=dict)
    service_since: float | None = None
    """``None`` when the service itself is there."""
    latest: float = 0.0
    """Since when the last of it is missing."""

    @property
    def is_over(self) -> bool:
        return not self.instances and self.service_since is None

    def take(self, old: Offer | None, new: Offer | None, heard: float, *, is_held: bool) -> bool:
        """The registry says ``new`` of the service, and has said ``old`` before.

        :param is_held: whether what is missing now is held, too.
        :return: whether something that was missing is back.
        """
        known = {instance.place: instance for instance in (old.instances if old else ())}
        named = {instance.place: instance for instance in (new.instances if new else ())}
        back = self.instances.keys() & named.keys()
        is_back = bool(back) or (new is not None and self.service_since is not None)
        for place in back:
            del self.instances[place]
        if is_held:
            self.latest = heard
            for place in known.keys() - named.keys():
                self.instances[place] = known[place], heard
        if arrived := [named[place] for place in named.keys() - known.keys() - back]:
            for place in replaced((instance for instance, _ in self.instances.values()), arrived):
                del self.instances[place]
        if new is not None:
            self.service_since = None
        elif self.service_since is None and is_held:
            self.service_since = heard
        return is_back

    def believe(self, heard: float, dwell: float) -> int:
        """Drop what has been missing for ``dwell``. Returns how many instances; the service goes last."""
        due = [place for place, (_, since) in self.instances.items() if since + dwell <= heard]
        for place in due:
            del self.instances[place]
        if self.service_since is not None and self.service_since + dwell <= heard and not self.instances:
            self.service_since = None
        return len(due)

    def sinces(self) -> Iterator[float]:
        yield from (since for _, since in self.instances.values())
        if self.service_since is not None:
            yield self.service_since

    def merged(self, claimed: Offer | None) -> Offer:
        """The service with what is missing of it: the object that was believed before when it is the same."""
        before = self.believed
        service = claimed.service if claimed is not None else before.service
        named = claimed.instances if claimed is not None else ()
        missing = (instance for instance, _ in self.instances.values())
        instances = tuple(sorted((*named, *missing), key=lambda instance: instance.place))
        # One that is held because it is no longer ready is served, and so it is not among those that wait.
        waiting = claimed.unready if claimed is not None else before.unready
        unready = tuple(instance for instance in waiting if instance.place not in self.instances)
        is_same = _are_same(instances, before.instances) and _are_same(unready, before.unready)
        if service is not before.service or not is_same:
            self.believed = Offer(service, instances, unready)
        return self.believed


class Absences:
    """All that is held of one registry. Owned by its guard."""

    def __init__(self) -> None:
        self._services: defaultdict[str, dict[str, Absence]] = defaultdict(dict)
        self._workloads: defaultdict[str, dict[str, tuple[Workload, float]]] = defaultdict(dict)
        self._touched: defaultdict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
        """Hosts and names of workloads, by namespace, of which something else is to be believed."""

    def __bool__(self) -> bool:
        return bool(self._services or self._workloads)

    def __iter__(self) -> Iterator[tuple[Key, Absence]]:
        for namespace, absences in self._services.items():
            for host, absence in absences.items():
                yield (namespace, host), absence

    @property
    def counts(self) -> Counts:
        """How much is missing."""
        return Counts(
            sum(len(absence.instances) for _, absence in self),
            sum(absence.service_since is not None for _, absence in self),
            sum(map(len, self._workloads.values())),
        )

    def find(self, key: Key) -> Absence | None:
        namespace, host = key
        return self._services.get(namespace, {}).get(host)

    def put(self, key: Key, absence: Absence | None) -> None:
        """What is missing of the service, of which something else is said now."""
        namespace, host = key
        self._touched[namespace][0].add(host)
        if absence is not None and not absence.is_over:
            self._services[namespace][host] = absence
        elif namespace in self._services:
            self._services[namespace].pop(host, None)
            if not self._services[namespace]:
                del self._services[namespace]

    def lent(self, namespace: str) -> set[str]:
        """The names of the workloads whose instances are missing."""
        return {
            instance.workload.name
            for absence in self._services.get(namespace, {}).values()
            for instance, _ in absence.instances.values()
        }

    def workloads(self) -> Iterator[tuple[str, Mapping[str, tuple[Workload, float]]]]:
        """By namespace, and there by name: each with since when it is missing."""
        yield from self._workloads.items()

    def put_workload(self, namespace: str, name: str, missing: tuple[Workload, float] | None) -> bool:
        """Something else is said of the workload; ``missing`` since when, if it is.

        :return: whether it was missing before.
        """
        self._touched[namespace][1].add(name)
        was_missing = self._workloads.get(namespace, {}).pop(name, None) is not None
        if missing is not None:
            self._workloads[namespace][name] = missing
        elif was_missing and not self._workloads[namespace]:
            del self._workloads[namespace]
        return was_missing

    def clear(self) -> None:
        """Nothing is missing."""
        for (namespace, host), _ in self:
            self._touched[namespace][0].add(host)
        for namespace, away in self._workloads.items():
            self._touched[namespace][1].update(away)
        self._services.clear()
        self._workloads.clear()

    def merged(self, claimed: Answer, believed: Answer | None) -> Answer:
        """The answer with all that is missing of it; ``believed`` is what this was before."""
        touched, self._touched = self._touched, defaultdict(lambda: (set(), set()))
        if believed is None or not self:
            return claimed
        namespaces = dict(believed.namespaces)
        is_same = claimed.remarks == believed.remarks
        for namespace, (hosts, names) in touched.items():
            before = believed.said(namespace)
            said = self._said(namespace, hosts, names, claimed.said(namespace), before)
            is_same &= said is before
            if said.offers or said.workloads:
                namespaces[namespace] = said
            else:
                namespaces.pop(namespace, None)
        if is_same:
            return believed
        return Answer(
            registry=claimed.registry,
            provider=claimed.provider,
            namespaces=namespaces,
            remarks=claimed.remarks,
        )

    def _said(self, namespace: str, hosts: set[str], names: set[str], claimed: Said, believed: Said) -> Said:
        absences, away = self._services.get(namespace, {}), self._workloads.get(namespace, {})
        if not absences and not away:
            return claimed
        offers, workloads = Buckets.of(believed.offers), Buckets.of(believed.workloads)
        after = Said(
            offers.edited(
                {
                    host: absences[host].merged(claimed.offers.get(host))
                    if host in absences
                    else claimed.offers.get(host)
                    for host in hosts
                }
            ),
            workloads.edited(
                {name: away[name][0] if name in away else claimed.workloads.get(name) for name in names}
            ),
        )
        return believed if after.offers is offers and after.workloads is workloads else after


def replaced(missing: Iterable[Instance], arrived: Iterable[Instance]) -> set[Place]:
    """Which of the missing have only changed: one arrived at the same address, or as the same workload."""
    addresses: Counter[tuple[str, str]] = Counter()
    names: Counter[tuple[str, str]] = Counter()
    for instance in arrived:
        addresses[instance.workload.network, instance.workload.address] += 1
        names[instance.workload.namespace, instance.workload.name] += 1
    found = set()
    for instance in missing:
        workload = instance.workload
        for left, key in (
            (addresses, (workload.network, workload.address)),
            (names, (workload.namespace, workload.name)),
        ):
            if left[key]:
                left[key] -= 1
                found.add(instance.place)
                break
    return found


def _are_same(new: tuple[Instance, ...], old: tuple[Instance, ...]) -> bool:
    return len(new) == len(old) and all(now is then for now, then in zip(new, old, strict=True))
