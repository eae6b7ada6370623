"""Consul, Kubernetes and Git in one mesh: what a push or a registry changes, real Envoys do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from mesh.errors import Misconfigured
from reconciler.demo import envoy, places
from reconciler.demo.hybrid.performance import STEPS
from tests.support.demos import demo_in, left_in, running_in

try:
    ENVOY = str(envoy.find())
    places.outward_address()
except Misconfigured as error:
    pytest.skip(f"{error}: {error.hint}", allow_module_level=True)

pytestmark = pytest.mark.envoy

Outcome = tuple[subprocess.CompletedProcess[str], Path]
PUSHES = ("70/30 and 0/100", "swapped by push", "revert")


@pytest.fixture(scope="module")
def outcome(has_consul: None, has_kubernetes: None, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("a hybrid demo")
    return demo_in(folder, ENVOY, "hybrid"), folder


def test_every_step_holds(outcome: Outcome) -> None:
    done, _ = outcome
    report = json.loads(done.stdout)

    assert [step for step in report["steps"] if not step["ok"]] == []
    assert [step["name"] for step in report["steps"]] == [step.name for step in STEPS]
    assert (report["ok"], report["proxies"], done.returncode) == (True, 8, 0)


def test_every_change_reaches_the_proxies_in_a_known_time(outcome: Outcome) -> None:
    steps = json.loads(outcome[0].stdout)["steps"]

    assert [step["name"] for step in steps if step["push_to_ack_ms"] is not None] == list(PUSHES)
    assert {step["name"] for step in steps if not step["measured_ms"]} == {"mutual TLS"}
    by_call = [step["measured_ms"]["call_to_ack"] for step in steps if "call_to_ack" in step["measured_ms"]]
    assert len(by_call) == 4
    assert max(by_call) < 15_000


def test_progress_goes_elsewhere_and_the_verdict_comes_last(outcome: Outcome) -> None:
    done, _ = outcome

    assert done.stdout.startswith("{")
    assert done.stderr.startswith("starting Consul, and the API server of Kubernetes on etcd\n")
    names = ", ".join(step.name for step in STEPS)
    assert done.stderr.splitlines()[-1].startswith(f"every step held (9): {names}; 8 proxies, Envoy ")
    assert "Traceback" not in done.stderr


def test_nothing_is_left_of_it(outcome: Outcome) -> None:
    _, folder = outcome

    assert left_in(folder) == []
    assert running_in(folder) == []
