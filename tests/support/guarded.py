"""A registry that says what a test says, behind a guard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from mesh.kinds.guards import Guards
from mesh.services import Provider
from registries.answers import Answer, Instance
from registries.draft import Draft
from registries.drops import Moment
from registries.guard import Guard
from registries.holds import Held
from tests.support.answers import an_answer

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DEFAULT = Guards()
Services = Mapping[str, Iterable[Instance | int]]


class Source:
    """A registry that says what the test says, behind a guard; it is heard from the start."""

    def __init__(self, guards: Guards = DEFAULT, kept: Answer | None = None) -> None:
        self.guard = Guard(guards, kept)
        self.now = 0.0
        self._draft = Draft("vms", Provider.CONSUL)
        self.guard.hear(0.0, is_live=True)

    @property
    def moment(self) -> Moment:
        return Moment(self.now, NOON + timedelta(seconds=self.now))

    def says(self, answer: Answer | Services, *, after: float = 60.0) -> Answer:
        self.now += after
        return self.guard.take(self._drafted(answer), self.moment)

    def _drafted(self, answer: Answer | Services) -> Answer:
        """Sharing with what it said before, as registries do."""
        if not isinstance(answer, Answer):
            answer = an_answer(answer)
        said = [
            (space, host, offer) for space, s in answer.namespaces.items() for host, offer in s.offers.items()
        ]
        workloads = [workload for s in answer.namespaces.values() for workload in s.workloads.values()]
        self._draft.keep_only(
            [(space, host) for space, host, _ in said], [(one.namespace, one.name) for one in workloads]
        )
        for _, _, offer in said:
            self._draft.put(offer)
        for workload in workloads:
            self._draft.put_workload(workload)
        for remark in answer.remarks:
            self._draft.remark(remark)
        return self._draft.answer()

    def passes(self, seconds: float) -> Answer:
        self.now += seconds
        believed = self.guard.look(self.moment)
        assert believed is not None
        return believed

    @property
    def said(self) -> Answer:
        """What it said last."""
        return self._draft.answer()

    @property
    def holds(self) -> tuple[Held, ...]:
        return self.guard.holds(self.moment)
