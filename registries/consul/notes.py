"""What all Consul services say together, noted into the next answer.

Two services of Consul may claim one thing: a hostname, when the meta of their instances puts them so, or the
name of a workload. The first service by name has it, whatever was heard first: the answer is a function of
what Consul holds, and not of the way there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Generic, TypeVar

from mesh.services import Workload
from registries.answers import Offer, Remark
from registries.consul.mapping import NOTHING, Mapped, about
from registries.draft import Draft

V = TypeVar("V")
Key = tuple[str, str]


class _Claims(Generic[V]):
    """Who claims what, by namespace and name."""

    def __init__(self) -> None:
        self._by_key: dict[Key, tuple[tuple[str, V], ...]] = {}
        """By name of the service: the first has it."""
        self._of: dict[str, Iterable[Key]] = {}

    def change(self, service: str, new: Mapping[Key, V]) -> set[Key]:
        """What a service claims now. Returns what it claimed, or does now."""
        touched = {*self._of.pop(service, ()), *new}
        for key in touched:
            claims = [claim for claim in self._by_key.get(key, ()) if claim[0] != service]
            if key in new:
                claims.append((service, new[key]))
            if claims:
                self._by_key[key] = tuple(sorted(claims, key=itemgetter(0)))
            else:
                del self._by_key[key]
        if new:
            self._of[service] = tuple(new)
        return touched

    def winner(self, key: Key) -> V | None:
        claims = self._by_key.get(key)
        return claims[0][1] if claims else None

    def keep(self, key: Key, value: V) -> None:
        """The winner's claim is equal to this value, and shares more with what was known before."""
        (first, _), *others = self._by_key[key]
        self._by_key[key] = ((first, value), *others)

    def rivals(self, key: Key) -> list[str]:
        return [service for service, _ in self._by_key.get(key, ())]


class Notes:
    """Owned by the task that listens. Writes into the draft, which it shares with nobody."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._names: set[str] = set()
        self._offers: _Claims[Offer] = _Claims()
        self._workloads: _Claims[Workload] = _Claims()

    def replace(self, everything: Mapping[str, Mapped]) -> None:
        """After everything was read: what is not among it is gone."""
        for name in self._names - everything.keys():
            self.put(name, NOTHING)
        for name, one in everything.items():
            self.put(name, one)

    def put(self, name: str, one: Mapped) -> None:
        """What a service is now; :data:`~registries.consul.mapping.NOTHING` when it is gone."""
        if one is NOTHING:
            self._names.discard(name)
        else:
            self._names.add(name)
        self._put_offers(name, one)
        self._put_workloads(name, one)
        if one.remark:
            self._draft.remark(one.remark)
        else:
            self._draft.unremark(about(name))

    def _put_offers(self, name: str, one: Mapped) -> None:
        new = {(offer.service.key.namespace, offer.service.key.host): offer for offer in one.offers}
        for key in self._offers.change(name, new):
            if offer := self._offers.winner(key):
                self._draft.put(offer)
                self._offers.keep(key, self._draft.offer(*key) or offer)
            else:
                self._draft.withdraw(*key)
            self._tie(f"host {key[1]} in {key[0]}", self._offers.rivals(key))

    def _put_workloads(self, name: str, one: Mapped) -> None:
        new = {(workload.namespace, workload.name): workload for workload in one.workloads}
        for key in self._workloads.change(name, new):
            if workload := self._workloads.winner(key):
                self._draft.put_workload(workload)
                self._workloads.keep(key, self._draft.workload(*key) or workload)
            else:
                self._draft.withdraw_workload(*key)
            self._tie(f"workload {key[0]}/{key[1]}", self._workloads.rivals(key))

    def _tie(self, what: str, rivals: list[str]) -> None:
        if len(rivals) < 2:
            self._draft.unremark(what)
            return
        self._draft.remark(
            Remark(
                about=what,
                message=f"several services of Consul claim it: {', '.join(rivals)}; the first has it",
                hint="give the instances other ids or namespaces",
            )
        )
