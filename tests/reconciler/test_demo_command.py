"""``meshwright demo``: where its answers go, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mesh.clock import Clock
from mesh.errors import Misconfigured
from reconciler.cli import main
from reconciler.demo import envoy, places, run, workloads
from reconciler.demo.plays import PLAYS
from reconciler.demo.report import Report, StepReport
from reconciler.demo.stage import stage
from tests.support.clock import FakeClock

HELD = StepReport(
    name="reviews 90/10", commit="3f2a91c", push_to_ack_ms=48, expected="v1", observed="v1 12 of 12", ok=True
)


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command, over a demo that has only one step."""

    def call(*arguments: str, ok: bool = True) -> Result:
        step = (
            HELD if ok else StepReport(**{name: getattr(HELD, name) for name in HELD.__slots__} | {"ok": ok})
        )

        async def played(
            _: run.Play[Any], parent: Path | None, clock: Clock, audience: run.Audience, *, is_once: bool
        ) -> Report:
            audience.progress("starting the control plane")
            audience.row(step)
            return Report(envoy="1.40.0", proxies=7, steps=(step,))

        monkeypatch.setattr(run, "demo", played)
        return CliRunner().invoke(main, ["demo", *arguments])

    return call


def test_json_is_all_that_is_on_stdout(demo: Callable[..., Result]) -> None:
    result = demo("--once", "--output", "json")

    assert json.loads(result.stdout)["steps"][0]["name"] == "reviews 90/10"
    assert result.stderr == "starting the control plane\n"
    assert result.exit_code == 0


def test_text_is_a_table_that_grows(demo: Callable[..., Result]) -> None:
    lines = demo("--once").stdout.splitlines()

    assert [line.split()[0] for line in lines] == ["commit", "-------", "3f2a91c"]


def test_what_stayed_up_ends_with_what_held(demo: Callable[..., Result]) -> None:
    assert demo().stdout.splitlines()[-1] == ("every step held (1): reviews 90/10; 7 proxies, Envoy 1.40.0")


def test_a_demo_that_there_is_not_is_named(demo: Callable[..., Result]) -> None:
    assert demo("bookinfoo").exit_code == 2


def test_a_step_that_did_not_hold_is_the_exit_code(demo: Callable[..., Result]) -> None:
    assert demo("--once", ok=False).exit_code == 1


def test_a_machine_without_envoy_is_told_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MESHWRIGHT_ENVOY", raising=False)
    monkeypatch.setattr(envoy, "_IN_CLONE", tmp_path / "nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Misconfigured, match=r"^no Envoy on this machine$") as caught:
        envoy.find()

    assert caught.value.hint == "run 'make demo', which brings one, or name one in MESHWRIGHT_ENVOY"


def test_a_named_envoy_that_is_none_is_not_replaced_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHWRIGHT_ENVOY", "/nowhere/envoy")

    with pytest.raises(Misconfigured, match=r"^MESHWRIGHT_ENVOY names '/nowhere/envoy', which is not a prog"):
        envoy.find()


def test_a_state_folder_too_deep_for_a_socket_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHWRIGHT_ENVOY", "/bin/true")

    async def enter() -> None:
        async with stage(tmp_path / ("deep" * 30), FakeClock(), print):
            pass

    with pytest.raises(Misconfigured, match=r"is too long for a unix socket in it$") as caught:
        asyncio.run(enter())

    assert caught.value.hint == "choose a shorter --state"


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def an_audience(lines: list[str]) -> run.Audience:
    return run.Audience(progress=lines.append, row=lambda _: None, line=lines.append)


def test_a_place_that_cannot_be_made_is_used_wrongly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(main, ["demo", "--once", "--state", str(tmp_path / "file" / "demo")])

    assert done.stderr == (
        f"error: cannot make a folder in '{tmp_path}/file/demo': Not a directory\n"
        "hint: choose another place with --state\n"
    )
    assert done.exit_code == 2


@pytest.mark.parametrize("program", ["git", "openssl"])
async def test_a_missing_program_is_named_with_what_brings_it_and_no_folder_stays(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = {"git", "openssl"} - {program}
    monkeypatch.setenv("MESHWRIGHT_ENVOY", "/bin/true")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}" if name in present else None)
    said: list[str] = []
    with pytest.raises(Misconfigured) as error:
        await run.demo(PLAYS["bookinfo"], tmp_path, FakeClock(), an_audience(said), is_once=True)

    assert str(error.value) == f"no {program} on this machine"
    assert error.value.hint == f"install it: apt install {program}"
    assert (said, left_in(tmp_path)) == ([], [])


async def test_told_to_end_while_it_is_set_up_it_leaves_nothing(tmp_path: Path) -> None:
    @asynccontextmanager
    async def never_up(folder: Path, *_: object) -> AsyncIterator[None]:
        (folder / "logs").mkdir()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
        yield

    said: list[str] = []
    with pytest.raises(run.ToldToEnd) as error:
        await run.demo(
            replace(PLAYS["bookinfo"], stage=never_up), tmp_path, FakeClock(), an_audience(said), is_once=True
        )

    assert str(error.value) == "the demo was told to end before its last step"
    assert (said, left_in(tmp_path)) == ([], [])


def test_a_machine_without_a_free_place_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_claim", lambda _: None)

    with pytest.raises(Exception, match=r"^none of 40 places on the loopback network is free$"):
        places.find({}, workloads.read)
