"""A push to a real Git repository changes what real Envoys do with real requests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.clock import SystemClock
from mesh.errors import Misconfigured
from reconciler.demo import envoy, run
from reconciler.demo.performance import carry_out
from reconciler.demo.plays import PLAYS
from reconciler.demo.report import StepReport
from reconciler.demo.stage import Stage
from reconciler.demo.steps import bookinfo
from tests.support.demos import demo_in, left_in, running_in

try:
    ENVOY = str(envoy.find())
except Misconfigured as error:
    pytest.skip(f"{error}: {error.hint}", allow_module_level=True)

pytestmark = pytest.mark.envoy

STEPS = [
    "reviews 90/10",
    "reviews 50/50",
    "header match to v2",
    "delay fault",
    "abort fault",
    "reviews-v3 denied",
    "broken YAML",
    "revert",
    "at rest again",
    "renewal",
]
WITHOUT_AN_ACKNOWLEDGEMENT = ("broken YAML", "renewal")


Outcome = tuple[subprocess.CompletedProcess[str], Path]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("a demo")
    return demo_in(folder, ENVOY), folder


def test_every_step_holds(outcome: Outcome) -> None:
    done, _ = outcome
    report = json.loads(done.stdout)

    assert [step for step in report["steps"] if not step["ok"]] == []
    assert [step["name"] for step in report["steps"]] == STEPS
    assert (report["ok"], report["proxies"], done.returncode) == (True, 7, 0)
    assert report["envoy"].count(".") == 2


def test_every_push_that_goes_live_is_acknowledged_in_a_known_time(outcome: Outcome) -> None:
    steps = {step["name"]: step["push_to_ack_ms"] for step in json.loads(outcome[0].stdout)["steps"]}

    assert [name for name, waited in steps.items() if waited is None] == list(WITHOUT_AN_ACKNOWLEDGEMENT)
    assert all(0 < waited < 15_000 for waited in steps.values() if waited is not None)


def test_every_push_is_a_commit_of_its_own(outcome: Outcome) -> None:
    commits = [step["commit"] for step in json.loads(outcome[0].stdout)["steps"]]

    assert len(set(commits)) == len(commits)
    assert commits[-1] == "-"


def test_the_answer_is_one_document_and_progress_goes_elsewhere(outcome: Outcome) -> None:
    done, _ = outcome

    assert done.stdout.startswith("{")
    assert "starting the control plane" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_is_left_of_it(outcome: Outcome) -> None:
    _, folder = outcome

    assert left_in(folder) == []
    assert running_in(folder) == []


async def only_the_first_step(up: Stage) -> AsyncIterator[StepReport]:
    yield await carry_out(bookinfo(up.place.files)[0], up)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await SystemClock().sleep(timedelta(milliseconds=50))


async def test_a_user_can_push_until_told_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHWRIGHT_ENVOY", ENVOY)
    told: list[str] = []
    audience = run.Audience(progress=lambda _: None, row=lambda _: None, line=told.append)
    play = replace(PLAYS["bookinfo"], perform=only_the_first_step)
    demo = asyncio.create_task(run.demo(play, tmp_path, SystemClock(), audience, is_once=False))
    await until(lambda: len(told) > 1 or demo.done())
    (folder,) = left_in(tmp_path)

    invitation = [line.strip() for line in told[1].splitlines() if line.startswith("  ")][-3:]
    pushed = await asyncio.create_subprocess_exec("sh", "-ec", "\n".join(invitation), env=os.environ)
    assert await pushed.wait() == 0
    await until(lambda: any("live on 7 of 7" in line for line in told))

    os.kill(os.getpid(), signal.SIGINT)
    report = await demo

    assert report.ok
    assert left_in(tmp_path) == []
    assert running_in(folder) == []
