"""Nothing that a demo starts outlives it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.clock import SystemClock
from mesh.errors import Unavailable
from reconciler.demo.processes import Processes, ours

SLEEPER = (sys.executable, "-c", "import signal; signal.pause()")
STUBBORN = (
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()",
)
PARENT_OF_TWO = (
    "import subprocess, sys, signal\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
    "print(child.pid, flush=True)\n"
    "signal.pause()\n"
)
A_DEMO = """
import asyncio, sys
from pathlib import Path
from reconciler.demo.processes import Processes

async def main():
    async with Processes(Path(sys.argv[1])) as processes:
        for name in ("one", "two"):
            program = await processes.start(
                name, sys.executable, "-c", "import signal; signal.pause()", folder=Path("/")
            )
            print(program.process.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def is_running(pid: int) -> bool:
    try:
        return state(pid) != "Z"
    except FileNotFoundError:
        return False


def state(pid: int) -> str:
    """``S`` sleeping, ``T`` stopped, ``Z`` ended (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await SystemClock().sleep(timedelta(milliseconds=10))


async def test_programs_end_with_the_context(tmp_path: Path) -> None:
    async with Processes(tmp_path) as processes:
        program = await processes.start("sleeper", *SLEEPER, folder=tmp_path)

    assert program.process.returncode == -signal.SIGTERM


async def test_a_program_that_does_not_listen_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.demo.processes.GRACE_S", 0.1)
    async with Processes(tmp_path) as processes:
        program = await processes.start("stubborn", *STUBBORN, folder=tmp_path)
        await until(lambda: program.log.read_text() == "up\n")

    assert program.process.returncode == -signal.SIGKILL


async def test_a_suspended_program_hangs_until_it_is_resumed(tmp_path: Path) -> None:
    async with Processes(tmp_path) as processes:
        program = await processes.start("sleeper", *SLEEPER, folder=tmp_path)
        processes.suspend(program)
        await until(lambda: state(program.process.pid) == "T")
        processes.resume(program)
        await until(lambda: state(program.process.pid) != "T")


async def test_a_suspended_program_ends_like_the_others(tmp_path: Path) -> None:
    async with Processes(tmp_path) as processes:
        program = await processes.start("sleeper", *SLEEPER, folder=tmp_path)
        processes.suspend(program)

    assert program.process.returncode == -signal.SIGTERM


async def test_children_of_programs_end_too(tmp_path: Path) -> None:
    async with Processes(tmp_path) as processes:
        program = await processes.start("parent", sys.executable, "-c", PARENT_OF_TWO, folder=tmp_path)
        await until(lambda: program.log.read_text().endswith("\n"))
        child = int(program.log.read_text())

    await until(lambda: not is_running(child))


async def test_a_demo_that_is_killed_leaves_nothing_running(tmp_path: Path) -> None:
    demo = await asyncio.create_subprocess_exec(
        sys.executable, "-c", A_DEMO, str(tmp_path), stdout=subprocess.PIPE, env=ours()
    )
    assert demo.stdout is not None
    pids = [int(await demo.stdout.readline()) for _ in range(2)]
    assert all(is_running(pid) for pid in pids)

    demo.kill()
    await demo.wait()

    await until(lambda: not any(is_running(pid) for pid in pids))


async def test_a_program_that_ended_by_itself_is_named_with_its_log(tmp_path: Path) -> None:
    async with Processes(tmp_path) as processes:
        program = await processes.start("brief", sys.executable, "-c", "raise SystemExit(7)", folder=tmp_path)
        await program.process.wait()

        with pytest.raises(Unavailable) as caught:
            processes.check()

    assert str(caught.value) == "brief ended with status 7"
    assert caught.value.hint == f"its last words are in {tmp_path / 'brief.log'}"


async def test_a_command_gives_back_what_it_said(tmp_path: Path) -> None:
    said = await Processes(tmp_path).run("echo", "echo", "well", folder=tmp_path, timeout_s=10)

    assert said == b"well\n"


async def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"^ls failed with status 2: .*nowhere.*"):
        await Processes(tmp_path).run("ls", "ls", "/nowhere", folder=tmp_path, timeout_s=10)


async def test_a_command_has_a_deadline(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"^sleeper did not finish within 0 s$"):
        await Processes(tmp_path).run("sleeper", *SLEEPER, folder=tmp_path, timeout_s=0.2)


async def test_a_signal_at_the_terminal_reaches_the_demo_alone(tmp_path: Path) -> None:
    async with Processes(tmp_path) as processes:
        program = await processes.start("sleeper", *SLEEPER, folder=tmp_path)

        assert os.getpgid(program.process.pid) != os.getpgid(0)
