"""What is said of registries: the report, the problems, the metrics, the text."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from mesh.services import Provider, ServiceKey
from reconciler import render_registries
from reconciler.registry_report import Metrics, problems, released, report
from registries.absences import Counts
from registries.answers import Remark
from registries.drops import Moment
from registries.holds import Held, Measure
from registries.registry import Freshness, State
from registries.source import SourceStatus
from registries.sources import Released
from tests.support.clock import FakeClock

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
LIVE = SourceStatus(
    name="dc1",
    provider=Provider.CONSUL,
    freshness=Freshness(
        state=State.LIVE, heard_at=NOW - timedelta(seconds=2), since=NOW - timedelta(hours=1)
    ),
    counts=Counts(12, 3, 10),
)
HELD = Held(
    service=None,
    measure=Measure.INSTANCES,
    missing=11,
    of=12,
    since=NOW,
    believed_at=NOW + timedelta(minutes=5),
)
OF_ONE = replace(HELD, service=ServiceKey("web.service.consul", "shop"), missing=8, of=9, believed_at=None)


def said(one: SourceStatus) -> str:
    return render_registries.registries({"registries": report([one], Moment(0.0, NOW))})


def test_a_registry_that_is_well_takes_one_line() -> None:
    assert said(LIVE) == (
        "REGISTRY  PROVIDER  STATE  HEARD    SERVICES  INSTANCES  WORKLOADS  HELD\n"
        "dc1       consul    live   2 s ago  3         12         10         -"
    )


def test_what_is_held_is_said_with_when_it_is_believed_and_the_way_out() -> None:
    text = said(replace(LIVE, holds=(HELD, OF_ONE)))

    assert text.splitlines()[1:] == [
        "dc1       consul    live   2 s ago  3         12         10         11",
        "dc1: holds 11 of 12 instances of all services, believed at 12:05:00Z",
        "dc1: holds 8 of 9 instances of shop/web.service.consul, until the registry is heard",
        "  hint: if that is right: meshwright registries release dc1",
    ]


def test_one_that_is_waited_for_says_so_and_why_it_does_not_answer() -> None:
    freshness = Freshness(state=State.WAITING, error="Connection refused", hint="start it")
    text = said(replace(LIVE, freshness=freshness, counts=Counts(), is_awaited=True))

    assert text.splitlines()[1:] == [
        "dc1       consul    waiting, awaited  never  0         0          0          -",
        "dc1: Connection refused",
        "  hint: start it",
        "  hint: if that is right: meshwright registries release dc1",
    ]


def test_without_registries_it_is_said_where_they_are_named() -> None:
    assert render_registries.registries({"registries": []}) == (
        "no registry but the repository (spec.registries of the Mesh document names others)"
    )


def test_silence_remarks_and_what_is_held_are_problems_of_the_status() -> None:
    remark = Remark(about="service web", message="port 'x' is no number", hint="mend its meta")
    stale = Freshness(state=State.STALE, error="no answer", hint="look at its log")
    found = problems([replace(LIVE, freshness=stale, holds=(OF_ONE,), remarks=(remark,))])

    assert [(str(problem), problem.hint) for problem in found] == [
        ("registry dc1: warning MW0021: service web: port 'x' is no number", "mend its meta"),
        ("registry dc1: warning MW0022: not heard: no answer", "look at its log"),
        (
            f"registry dc1: warning MW0023: 8 of 9 instances of {OF_ONE.service} are gone at once: held",
            "if that is right: meshwright registries release dc1",
        ),
    ]
    assert problems([LIVE]) == ()


def test_the_word_of_an_operator_is_answered_with_what_it_let_go() -> None:
    answer = released(Released(registry="dc1", was_awaited=True, holds=(HELD, OF_ONE)))

    assert answer == {"registry": "dc1", "was_awaited": True, "held": 11}
    assert render_registries.released(answer) == (
        "dc1: 11 removals are believed, nobody waits for it any more"
    )


def test_metrics_are_gauges_per_registry() -> None:
    clock = FakeClock()
    one = replace(
        LIVE,
        freshness=replace(LIVE.freshness, heard_at=clock.now() - timedelta(seconds=7)),
        holds=(HELD, OF_ONE),
    )
    never = replace(LIVE, name="dc2", freshness=Freshness())
    registry = CollectorRegistry()
    registry.register(Metrics(lambda: (one, never), clock, keep_failures=lambda: 3))
    lines = generate_latest(registry).decode().splitlines()
    values: dict[str, Any] = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    def of(name: str, registry: str) -> str | None:
        return values.get(f'meshwright_registry_{name}{{provider="consul",registry="{registry}"}}')

    assert [of(name, "dc1") for name in ("up", "age_seconds", "services", "instances", "held")] == [
        "1.0",
        "7.0",
        "3.0",
        "12.0",
        "11.0",
    ]
    assert (of("up", "dc2"), of("age_seconds", "dc2")) == ("0.0", None)
    assert values["meshwright_registry_keep_failures_total"] == "3.0"
