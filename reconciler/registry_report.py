"""What is said of registries: ``meshwright registries``, a part of ``status``, problems, metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from mesh.clock import Clock
from mesh.problems import Problem, Where
from registries.drops import Moment
from registries.holds import Held, Measure
from registries.registry import State
from registries.source import SourceStatus
from registries.sources import Released

Statuses = Callable[[], Sequence[SourceStatus]]


def report(statuses: Iterable[SourceStatus], moment: Moment) -> list[dict[str, Any]]:
    """One entry per registry, in the order of trust. Times are RFC 3339."""
    return [
        {
            "name": one.name,
            "provider": one.provider.name.lower(),
            "state": str(one.freshness.state),
            "since": _stamp(one.freshness.since),
            "heard_at": _stamp(one.freshness.heard_at),
            "age_s": round(age.total_seconds(), 1) if (age := one.age(moment)) is not None else None,
            "error": one.freshness.error,
            "hint": one.freshness.hint,
            "is_awaited": one.is_awaited,
            "services": one.counts.services,
            "instances": one.counts.instances,
            "workloads": one.counts.workloads,
            "held": [_held(held) for held in one.holds],
            "remarks": len(one.remarks),
        }
        for one in statuses
    ]


def released(said: Released) -> dict[str, Any]:
    """What an operator's word has let go."""
    return {"registry": said.registry, "was_awaited": said.was_awaited, "held": _missing(said.holds)}


def _missing(holds: Iterable[Held]) -> int:
    """How many instances are held in all; of each service alone they are said as well."""
    return sum(held.missing for held in holds if held.service is None and held.measure is Measure.INSTANCES)


def _held(held: Held) -> dict[str, Any]:
    return {
        "service": str(held.service) if held.service is not None else "",
        "measure": str(held.measure),
        "missing": held.missing,
        "of": held.of,
        "since": _stamp(held.since),
        "believed_at": _stamp(held.believed_at),
    }


def _stamp(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds") if moment is not None else None


def problems(statuses: Iterable[SourceStatus]) -> tuple[Problem, ...]:
    """What should be mended in the registries themselves, and what is held of them."""
    found: list[Problem] = []
    for one in statuses:
        at = Where(file=f"registry {one.name}")
        found += (
            Problem(code="MW0021", where=at, message=f"{mark.about}: {mark.message}", hint=mark.hint)
            for mark in one.remarks
        )
        if one.freshness.state in (State.STALE, State.STALLED):
            found.append(Problem(code="MW0022", where=at, message=_silence(one), hint=one.freshness.hint))
        for held in one.holds:
            whose = str(held.service) if held.service is not None else "the whole registry"
            found.append(
                Problem(
                    code="MW0023",
                    where=at,
                    message=f"{held.missing} of {held.of} {held.measure} of {whose} are gone at once: held",
                    hint=f"if that is right: meshwright registries release {one.name}",
                )
            )
    return tuple(found)


def _silence(one: SourceStatus) -> str:
    return f"not heard: {one.freshness.error}" if one.freshness.error else "not heard yet since the start"


class Metrics(Collector):
    """Gauges per registry that are read when someone asks, and how often their answers were not kept."""

    def __init__(self, statuses: Statuses, clock: Clock, *, keep_failures: Callable[[], int]) -> None:
        self._statuses, self._clock, self._keep_failures = statuses, clock, keep_failures

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        families = {
            name: GaugeMetricFamily(f"meshwright_registry_{name}", text, labels=["registry", "provider"])
            for name, text in _GAUGES.items()
        }
        moment = Moment.of(self._clock)
        for one in self._statuses():
            age = one.age(moment)
            values = {
                "up": one.freshness.state is State.LIVE,
                "age_seconds": age.total_seconds() if age is not None else None,
                "services": one.counts.services,
                "instances": one.counts.instances,
                "workloads": one.counts.workloads,
                "held": _missing(one.holds),
                "remarks": len(one.remarks),
            }
            for name, value in values.items():
                if value is not None:
                    families[name].add_metric([one.name, one.provider.name.lower()], value)
        yield from families.values()
        yield CounterMetricFamily(
            "meshwright_registry_keep_failures",
            "How often what registries say could not be kept for a restart.",
            value=self._keep_failures(),
        )


_GAUGES = {
    "up": "Whether what is known of the registry is complete and current.",
    "age_seconds": "How long ago the registry was heard.",
    "services": "Services believed.",
    "instances": "Instances believed.",
    "workloads": "Workloads believed.",
    "held": "Instances whose removal is not believed yet.",
    "remarks": "Things to be mended in the registry itself.",
}
