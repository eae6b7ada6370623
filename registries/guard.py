"""Holds removals that are too good to be true.

A registry that suddenly names fewer is more often wrong than right (DESIGN D10). The rule:

- *What is counted*: the instances of each service; and of the registry as a whole its instances, services
  and workloads. One that drains is there. A drop is net (a set that is replaced is none) and is measured
  against the highest number that was named within the last ``dwell``: a registry that bleeds is held where
  it crosses the line, and one that shrinks by less than the share in any such time is believed.
- *What is held*: when a number drops by more than ``share`` of more than ``above``, whatever this answer no
  longer names of that service (of the registry: at all) stays as it was. Additions and changes flow; so an
  instance that is there at another port, or as the same workload at another address, is changed and not
  missing. A workload whose instance is held stays, too. What went before the drop was one stays gone.
- *Until when*: each until it is named again; or has been missing for ``dwell``; or the drop is over: enough
  are back, and for half a minute nothing more came back. Only time in which the registry is heard counts. So
  a source that comes back, in one piece or in several, is seen by nobody.
- *The operator's word* (:meth:`Guard.release`): all of it is believed now.
- *Other settings* hold for the drops that begin after them. What is held stays held by those that held it:
  a commit that disables the guard lets nothing go.

Each removal is judged once, by the answer that brings it. Per answer only namespaces and services whose
object changed are looked at; while nothing is held the registry's own answer is handed on, the same object.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from mesh.buckets import Buckets
from mesh.kinds.guards import Guards
from mesh.services import ServiceKey
from registries.absences import Absence, Absences, Counts, Key
from registries.answers import Answer, Offer, Said
from registries.drops import Count, Moment, Stopwatch
from registries.holds import Held, Measure

_Change = tuple[Key, Offer | None, Offer | None]
_SWEEP_EVERY = 60.0
"""Seconds. Then services that have settled are forgotten."""


class Guard:
    """Stands between one registry and the mesh. Owned by the registry's task.

    ``believed`` is what the mesh was told before a restart: the first answer is measured against it.
    """

    def __init__(self, guards: Guards, believed: Answer | None = None) -> None:
        self._guards = guards
        self._stopwatch = Stopwatch()
        self._claimed = self._believed = believed
        self._counts = Counts.of(believed) if believed is not None else Counts()
        self._whole = {measure: Count(number) for measure, number in zip(Measure, self._counts, strict=True)}
        self._services: dict[Key, Count] = {}
        """Of those alone that have lost something of late."""
        self._sweep_at = 0.0
        self._absences = Absences()
        self._due: float | None = None
        """By the stopwatch: before, nothing that is held is believed to be gone."""
        self._latest = 0.0
        """By the stopwatch: when something was last held."""
        self.looked_at = 0
        """How many services were looked into so far."""

    @property
    def believed(self) -> Answer | None:
        return self._believed

    def take(self, answer: Answer, moment: Moment) -> Answer:
        """What is believed now that the registry says this; the same object while that does not change."""
        heard = self._stopwatch.read(moment.monotonic)
        if self._claimed is None:
            self._counts = Counts.of(answer)
            for count, number in zip(self._whole.values(), self._counts, strict=True):
                count.newest = number
        elif answer is not self._claimed:
            self._judge(self._claimed, answer, moment, heard)
        self._claimed = answer
        if self._due is not None and self._due <= heard:
            self._believe(heard)
        self._believed = self._absences.merged(answer, self._believed)
        return self._believed

    def look(self, moment: Moment) -> Answer | None:
        """What is believed now that time has passed."""
        return self.take(self._claimed, moment) if self._claimed is not None else None

    def hear(self, now: float, *, is_live: bool) -> None:
        """Whether the registry is heard from now on."""
        self._stopwatch.run(now, is_running=is_live)

    def configure(self, guards: Guards) -> None:
        """Other settings hold for drops that begin with the next answer."""
        self._guards = guards

    def release(self) -> None:
        """The next answer or look believes everything that is held."""
        self._absences.clear()
        self._services.clear()
        for count in self._whole.values():
            count.forget()
        self._due = None

    def deadline(self, now: float) -> float | None:
        """When to look again if nothing is heard before; ``None`` when there is no reason to."""
        if self._due is None or not self._stopwatch.is_running:
            return None
        return now + max(0.0, self._due - self._stopwatch.read(now))

    @property
    def counts(self) -> Counts:
        """How much is believed."""
        return self._counts.plus(*self._absences.counts)

    def holds(self, moment: Moment) -> tuple[Held, ...]:
        """What is held: of the whole registry first, then service by service."""
        whole = [
            self._held(None, measure, count, missing, self._latest, moment)
            for (measure, count), missing in zip(self._whole.items(), self._absences.counts, strict=True)
            if missing
        ]
        services = [
            self._held(
                ServiceKey(host, namespace), Measure.INSTANCES, count, len(one.instances), one.latest, moment
            )
            for (namespace, host), one in sorted(self._absences, key=lambda item: item[0])
            if (count := self._services.get((namespace, host))) is not None
        ]
        return tuple(row for row in (*whole, *services) if row is not None)

    def _held(
        self,
        service: ServiceKey | None,
        measure: Measure,
        count: Count,
        missing: int,
        latest: float,
        moment: Moment,
    ) -> Held | None:
        """``latest``: since when the last of them is missing."""
        if count.drop is None:
            return None
        due = latest + self._dwell(count)
        settled = [number.settled_at for number in (*self._whole.values(), count) if number.drop is not None]
        if None not in settled:
            due = min(due, max(at for at in settled if at is not None))
        left = timedelta(seconds=max(0.0, due - self._stopwatch.read(moment.monotonic)))
        return Held(
            service=service,
            measure=measure,
            missing=missing,
            of=count.newest + missing,
            since=count.drop.since,
            believed_at=moment.wall + left if self._stopwatch.is_running else None,
        )

    def _judge(self, before: Answer, after: Answer, moment: Moment, heard: float) -> None:
        """Hold what the answer should not lack, and let go of what is back."""
        changed = [
            (namespace, before.said(namespace), after.said(namespace))
            for namespace in before.namespaces.keys() | after.namespaces.keys()
            if before.said(namespace) is not after.said(namespace)
        ]
        changes = [change for one in changed for change in _changes(*one)]
        self.looked_at += len(changes)
        self._counts = self._counts.plus(
            sum(_size(new) - _size(old) for _, old, new in changes),
            sum((new is not None) - (old is not None) for _, old, new in changes),
            sum(len(new.workloads) - len(old.workloads) for _, old, new in changed),
        )
        is_drop = False
        for count, number in zip(self._whole.values(), self._counts, strict=True):
            is_drop |= count.take(number, self._guards, moment, heard)
        for change in changes:
            self._judge_service(change, moment, heard, is_held=is_drop)
        for namespace, old, new in changed:
            self._judge_workloads(namespace, old, new, heard, is_held=is_drop)
        if self._sweep_at <= moment.monotonic:
            idle = [key for key, count in self._services.items() if count.is_idle(heard, self._guards)]
            for key in idle:
                del self._services[key]
            self._sweep_at = moment.monotonic + _SWEEP_EVERY
        for count in self._whole.values():
            self._wake(count.settled_at)
        if not self._absences:
            self._rest()

    def _judge_service(self, change: _Change, moment: Moment, heard: float, *, is_held: bool) -> None:
        key, old, new = change
        count = self._services.get(key)
        if count is None and _size(new) < _size(old):
            count = self._services[key] = Count(_size(old))
        if count is not None:
            is_held |= count.take(_size(new), self._guards, moment, heard)
        absence = self._absences.find(key)
        if absence is None:
            if old is None or not is_held:
                self._absences.put(key, None)
                return
            absence = Absence(old)
        if absence.take(old, new, heard, is_held=is_held):
            self._returned(heard, count)
        if is_held:
            self._hold(heard, count)
        self._absences.put(key, absence)
        if count is not None:
            self._wake(count.settled_at)
            if absence.is_over:
                count.drop = None

    def _judge_workloads(self, namespace: str, old: Said, new: Said, heard: float, *, is_held: bool) -> None:
        changed = set(Buckets.of(new.workloads).changed_since(old.workloads))
        lost = changed - new.workloads.keys() if changed else changed
        held = lost if is_held or not lost else lost & self._absences.lent(namespace)
        for name in changed:
            missing = (old.workloads[name], heard) if name in held else None
            if self._absences.put_workload(namespace, name, missing):
                self._returned(heard)
        if held:
            self._hold(heard)

    def _returned(self, heard: float, service: Count | None = None) -> None:
        for count in (*self._whole.values(), *((service,) if service is not None else ())):
            count.returned(heard)

    def _believe(self, heard: float) -> None:
        """Believe what has been missing for long enough, or was left over from a drop that is over."""
        before = self._absences.counts
        is_settled = all(count.is_settled(heard) for count in self._whole.values())
        for key, absence in tuple(self._absences):
            count = self._services.get(key)
            is_over = is_settled and (count is None or count.is_settled(heard))
            gone = absence.believe(heard, 0.0 if is_over else self._dwell(count))
            self._absences.put(key, absence)
            if count is not None:
                count.believe(gone, heard)
                if absence.is_over:
                    count.drop = None
        self._believe_workloads(heard, self._dwell(), is_settled=is_settled)
        after = self._absences.counts
        for count, was, now in zip(self._whole.values(), before, after, strict=True):
            count.believe(was - now, heard)
            if is_settled:
                count.drop = None
        self._wake_for_what_is_left(heard)
        if not self._absences:
            self._rest()

    def _wake_for_what_is_left(self, heard: float) -> None:
        self._due = None
        for key, absence in self._absences:
            for since in absence.sinces():
                self._wake(since + self._dwell(self._services.get(key)))
        for namespace, away in self._absences.workloads():
            lent = self._absences.lent(namespace)
            for name, (_, since) in away.items():
                if name not in lent:
                    self._wake(since + self._dwell())
        for count in (*self._whole.values(), *self._services.values()):
            if count.settled_at is not None and count.settled_at > heard:
                self._wake(count.settled_at)

    def _believe_workloads(self, heard: float, dwell: float, *, is_settled: bool) -> None:
        believed = [
            (namespace, name)
            for namespace, away in self._absences.workloads()
            for lent in [self._absences.lent(namespace)]
            for name, (_, since) in away.items()
            if name not in lent and (is_settled or since + dwell <= heard)
        ]
        for namespace, name in believed:
            self._absences.put_workload(namespace, name, None)

    def _hold(self, heard: float, service: Count | None = None) -> None:
        self._latest = heard
        self._wake(heard + self._dwell(service))

    def _dwell(self, service: Count | None = None) -> float:
        """Of the guards that hold the service, in seconds; without one, of those that hold the registry."""
        counts = (*self._whole.values(), *((service,) if service is not None else ()))
        holding = [count.drop.guards for count in counts if count.drop is not None] or [self._guards]
        dwells: list[float] = [one.dwell.total_seconds() for one in holding]
        return max(dwells)

    def _wake(self, at: float | None) -> None:
        """Something that is held may be believed to be gone at that time of the stopwatch."""
        if at is not None:
            self._due = at if self._due is None else min(self._due, at)

    def _rest(self) -> None:
        """Nothing is held."""
        for count in self._whole.values():
            count.drop = None
        self._due = None


def _changes(namespace: str, old: Said, new: Said) -> Iterator[_Change]:
    """The services of which something else is said now."""
    for host in Buckets.of(new.offers).changed_since(old.offers):
        yield (namespace, host), old.offers.get(host), new.offers.get(host)


def _size(offer: Offer | None) -> int:
    return len(offer.instances) if offer is not None else 0
