"""What the demo shows: a table for people, one JSON document for programs."""

from __future__ import annotations

import json
from dataclasses import replace

from reconciler.demo.report import Report, StepReport, Table, as_json, foot, row

STEP = StepReport(
    name="reviews 90/10",
    commit="3f2a91c0d5e8b7a6f4c3d2e1f0a9b8c7d6e5f4a3",
    push_to_ack_ms=48,
    expected="v1 90 %, v2 10 %",
    observed="v1 178, v2 22 of 200",
    ok=True,
    measured_ms={"push_to_first_ack": 31},
)
HEAD = """\
commit   step                 expected                      observed                      ACK after
-------  -------------------  ----------------------------  ----------------------------  ---------  ------"""
ROW = """\
3f2a91c  reviews 90/10        v1 90 %, v2 10 %              v1 178, v2 22 of 200              48 ms  ok"""
REPORT = Report(envoy="1.40.0", proxies=7, steps=(STEP,))


def test_the_json_says_what_it_promises() -> None:
    assert json.loads(as_json(REPORT)) == {
        "ok": True,
        "envoy": "1.40.0",
        "proxies": 7,
        "steps": [
            {
                "name": "reviews 90/10",
                "commit": "3f2a91c0d5e8b7a6f4c3d2e1f0a9b8c7d6e5f4a3",
                "push_to_ack_ms": 48,
                "expected": "v1 90 %, v2 10 %",
                "observed": "v1 178, v2 22 of 200",
                "ok": True,
                "measured_ms": {"push_to_first_ack": 31},
            }
        ],
    }


def test_one_step_that_did_not_hold_makes_the_demo_fail() -> None:
    report = replace(REPORT, steps=(STEP, replace(STEP, ok=False)))

    assert not report.ok
    assert report.exit_code == 1


def test_a_demo_without_steps_has_shown_nothing() -> None:
    assert replace(REPORT, steps=()).exit_code == 1


def test_the_last_line_says_what_held_and_what_did_not() -> None:
    failed = replace(REPORT, steps=(STEP, replace(STEP, name="renewal", ok=False)))

    assert foot(REPORT).splitlines()[-1] == "every step held (1): reviews 90/10; 7 proxies, Envoy 1.40.0"
    assert foot(failed).splitlines()[-1] == "1 of 2 steps held, not: renewal; 7 proxies, Envoy 1.40.0"


def test_the_table_begins_with_its_head_and_says_it_once() -> None:
    shown: list[str] = []
    table = Table(shown.append)

    table.add(STEP)
    table.add(STEP)

    assert shown == [HEAD, ROW, ROW]


def test_long_cells_go_on_in_the_next_line() -> None:
    long = replace(STEP, observed="v2 98, v3 102 of 200; v3 without ratings (403) 102 times", ok=False)

    assert row(long).splitlines()[1].strip() == "without ratings (403) 102"
    assert row(long).splitlines()[0].endswith("FAILED")


def test_a_step_without_an_acknowledgement_shows_a_dash() -> None:
    assert row(replace(STEP, push_to_ack_ms=None)).split()[-2:] == ["-", "ok"]
