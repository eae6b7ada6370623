"""A registry's answer in the making: only what changed is copied.

Whoever listens to a source notes here what an event changed; :meth:`Draft.answer` makes the next answer
of it. Namespaces without a change stay the same objects, and so do offers and workloads that were noted
again with equal content.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from mesh.buckets import Buckets
from mesh.services import Provider, Workload
from registries.answers import SILENCE, Answer, Instance, Offer, Remark, Said

Place = tuple[str, str, tuple[tuple[int, int], ...]]


class Draft:
    """Owned by the task that listens to the source."""

    def __init__(self, registry: str, provider: Provider) -> None:
        self._answer = Answer(registry=registry, provider=provider)
        self._offers: defaultdict[str, dict[str, Offer | None]] = defaultdict(dict)
        self._workloads: defaultdict[str, dict[str, Workload | None]] = defaultdict(dict)
        self._remarks: dict[str, Remark] = {}
        self._remarks_changed = False

    @property
    def is_changed(self) -> bool:
        """Whether anything was noted since the last answer."""
        return bool(self._offers or self._workloads or self._remarks_changed)

    def offer(self, namespace: str, host: str) -> Offer | None:
        """The service as it is noted now."""
        if host in self._offers.get(namespace, ()):
            return self._offers[namespace][host]
        return self._answer.said(namespace).offers.get(host)

    def put(self, offer: Offer) -> None:
        """The service is known, as this; an equal one that is noted already stays."""
        key = offer.service.key
        known = self.offer(key.namespace, key.host)
        if known is not None and known.service == offer.service:
            if (known.instances, known.unready) == (offer.instances, offer.unready):
                return
            before = {instance.place: instance for instance in (*known.instances, *known.unready)}
            offer = Offer(known.service, _sharing(offer.instances, before), _sharing(offer.unready, before))
        self._offers[key.namespace][key.host] = offer

    def withdraw(self, namespace: str, host: str) -> None:
        """The service is no longer known."""
        if self.offer(namespace, host) is not None:
            self._offers[namespace][host] = None

    def workload(self, namespace: str, name: str) -> Workload | None:
        """The workload as it is noted now."""
        if name in self._workloads.get(namespace, ()):
            return self._workloads[namespace][name]
        return self._answer.said(namespace).workloads.get(name)

    def put_workload(self, workload: Workload) -> None:
        """The workload is known, as this; an equal one that is noted already stays."""
        if self.workload(workload.namespace, workload.name) != workload:
            self._workloads[workload.namespace][workload.name] = workload

    def withdraw_workload(self, namespace: str, name: str) -> None:
        """The workload is no longer known."""
        if self.workload(namespace, name) is not None:
            self._workloads[namespace][name] = None

    def keep_only(self, offers: Iterable[tuple[str, str]], workloads: Iterable[tuple[str, str]]) -> None:
        """After a full list: whatever it did not name (by namespace and host, or name) is withdrawn."""
        listed, alive = set(offers), set(workloads)
        for namespace in {*self._answer.namespaces, *self._offers, *self._workloads}:
            said = self._answer.said(namespace)
            for host in {*said.offers, *self._offers.get(namespace, ())}:
                if (namespace, host) not in listed:
                    self.withdraw(namespace, host)
            for name in {*said.workloads, *self._workloads.get(namespace, ())}:
                if (namespace, name) not in alive:
                    self.withdraw_workload(namespace, name)

    def remark(self, remark: Remark) -> None:
        """Something is wrong with what ``remark.about`` names; replaces what was said of it before."""
        if self._remarks.get(remark.about) != remark:
            self._remarks[remark.about] = remark
            self._remarks_changed = True

    def unremark(self, about: str) -> None:
        """Nothing is wrong with it any more."""
        if self._remarks.pop(about, None) is not None:
            self._remarks_changed = True

    def answer(self) -> Answer:
        """What the registry says now: the last answer itself when nothing was noted since."""
        if not self.is_changed:
            return self._answer
        before = self._answer
        namespaces = dict(before.namespaces)
        for namespace in {*self._offers, *self._workloads}:
            said = namespaces.get(namespace, SILENCE)
            offers = Buckets.of(said.offers).edited(self._offers.get(namespace, {}))
            workloads = Buckets.of(said.workloads).edited(self._workloads.get(namespace, {}))
            if offers or workloads:
                namespaces[namespace] = Said(offers, workloads)
            else:
                namespaces.pop(namespace, None)
        self._answer = Answer(
            registry=before.registry,
            provider=before.provider,
            namespaces=namespaces,
            remarks=tuple(self._remarks[about] for about in sorted(self._remarks)),
        )
        self._offers.clear()
        self._workloads.clear()
        self._remarks_changed = False
        return self._answer


def _sharing(instances: tuple[Instance, ...], before: Mapping[Place, Instance]) -> tuple[Instance, ...]:
    """The instances, those that did not change being the objects from before."""
    return tuple(
        same if (same := before.get(instance.place)) is not None and same == instance else instance
        for instance in instances
    )
