"""The catalogue, kept up to date: only what an answer changed is combined anew.

One :class:`Catalogues` lives as long as the process and is given the newest answers of all registries. It
compares them by identity with those before, from the namespace down to the single service, combines what is
not the same, and publishes a :class:`~mesh.services.Catalogue` that shares all the rest with the one before.
Given the same answers from scratch it makes an equal catalogue: what is kept here decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from mesh.by_namespace import ByNamespace
from mesh.problems import Problem
from mesh.services import Catalogue
from registries.answers import Answer
from registries.combine import Shares
from registries.neighbourhood import Neighbourhood
from registries.picking import Voice

V = TypeVar("V")
M = TypeVar("M", bound=ByNamespace)  # type: ignore[type-arg]


class Catalogues:
    """Owned by the task that makes worlds."""

    def __init__(self) -> None:
        self._namespaces: dict[str, Neighbourhood] = {}
        self._shares: Shares = {}
        self._answers: tuple[Answer, ...] = ()
        self._ties: dict[str, tuple[Problem, ...]] = {}
        """By namespace, of those that have any."""
        self.latest = Catalogue()
        self.combined = 0
        """How many services were combined, ever: what did not change must not count."""

    def take(self, answers: Sequence[Answer], shares: Shares) -> Catalogue:
        """The catalogue of these answers, which stand in the order of trust."""
        touched = [name for name in self._asked(answers, shares) if self._follow(name, answers, shares)]
        self._answers, self._shares = tuple(answers), shares
        if touched:
            self.latest = self._published(touched)
        return self.latest

    def _asked(self, answers: Sequence[Answer], shares: Shares) -> list[str]:
        """The namespaces of which anybody says anything else than before."""
        before = {answer.registry: answer for answer in self._answers}
        if [answer.registry for answer in answers] != list(before) or shares != self._shares:
            return sorted({*self._namespaces, *(name for answer in answers for name in answer.namespaces)})
        found: set[str] = set()
        for answer in answers:
            new, old = answer.namespaces, before[answer.registry].namespaces
            if new is not old:
                found.update(name for name in {**old, **new} if new.get(name) is not old.get(name))
        return sorted(found)

    def _follow(self, name: str, answers: Sequence[Answer], shares: Shares) -> bool:
        """Bring one namespace up to date. False when nothing in it changed."""
        if name not in self._namespaces:
            self._namespaces[name] = Neighbourhood()
        namespace = self._namespaces[name]
        voices = tuple(
            Voice(answer.registry, answer.provider, answer.namespaces[name])
            for answer in answers
            if name in answer.namespaces
        )
        before = namespace.combined
        is_touched = namespace.follow(voices, shares)
        self.combined += namespace.combined - before
        return is_touched

    def _published(self, touched: Sequence[str]) -> Catalogue:
        namespaces = {name: self._namespaces[name] for name in touched}
        before = self.latest
        made = Catalogue(
            services=_with(before.services, {name: one.services for name, one in namespaces.items()}),
            endpoints=_with(before.endpoints, {name: one.endpoints for name, one in namespaces.items()}),
            workloads=_with(before.workloads, {name: one.workloads for name, one in namespaces.items()}),
            inbound=_with(before.inbound, {name: one.inbound for name, one in namespaces.items()}),
            behind=_with(before.behind, {name: one.behind for name, one in namespaces.items()}),
            ties=self._all_ties(namespaces),
        )
        for name, one in namespaces.items():
            if not (one.services or one.workloads):
                del self._namespaces[name]
        parts = "services", "endpoints", "workloads", "inbound", "behind"
        is_same = all(getattr(made, part) is getattr(before, part) for part in parts)
        return before if is_same and made.ties == before.ties else made

    def _all_ties(self, touched: Mapping[str, Neighbourhood]) -> tuple[Problem, ...]:
        for name, one in touched.items():
            self._ties.pop(name, None)
            if ties := one.ties:
                self._ties[name] = ties
        return tuple(tie for _, ties in sorted(self._ties.items()) for tie in ties)


def _with(before: M, parts: Mapping[str, Mapping[str, V]]) -> M:
    """The mapping with these namespaces as they are now; itself when they are what it has."""
    if all(before.within(name) is part or not (part or before.within(name)) for name, part in parts.items()):
        return before
    merged = {**before.parts, **parts}
    return type(before)({name: part for name, part in merged.items() if part})
