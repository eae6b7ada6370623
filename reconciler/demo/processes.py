"""The programs of a demo: started together, ended together, none left behind.

Every program gets a process group of its own, so that Ctrl-C at a terminal reaches the demo alone and
the demo decides the order; and every program dies with the demo, however that ends, because the
kernel is told so (Linux, ``prctl(2)``, PR_SET_PDEATHSIG). One task owns a :class:`Processes`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mesh.errors import Unavailable

_PR_SET_PDEATHSIG = 1

# Loaded before any fork: a forked child of a program with threads may not take the loader's lock.
_LIBC = ctypes.CDLL(None, use_errno=True)

GRACE_S = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One running program and where it writes."""

    name: str
    process: asyncio.subprocess.Process
    log: Path


class Processes:
    """The programs of one demo, in the order they were started. Used as an async context."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[Program] = []

    async def __aenter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    async def start(
        self, name: str, *command: str | Path, folder: Path, environment: Mapping[str, str] | None = None
    ) -> Program:
        """Start a program that runs until the demo ends; its output goes to ``<name>.log``."""
        log = self._logs / f"{name}.log"
        # Appending: Envoy opens /dev/stdout a second time, and both must write at the end.
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env=environment,
                start_new_session=True,
                preexec_fn=_tether(os.getpid()),
            )
        program = Program(name=name, process=process, log=log)
        self._running.append(program)
        return program

    async def run(
        self,
        name: str,
        *command: str | Path,
        folder: Path,
        timeout_s: float,
        environment: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run a program to its end and return what it said on stdout."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder,
            env=environment,
            start_new_session=True,
            preexec_fn=_tether(os.getpid()),
        )
        try:
            async with asyncio.timeout(timeout_s):
                said, complained = await process.communicate()
        except TimeoutError:
            raise Unavailable(f"{name} did not finish within {timeout_s:.0f} s") from None
        finally:
            if process.returncode is None:
                await _kill(process)
        if process.returncode:
            reason = complained.decode(errors="replace").strip() or "no message"
            raise Unavailable(f"{name} failed with status {process.returncode}: {reason}")
        return said

    def check(self) -> None:
        """Raise when a program that should be running is not."""
        for program in self._running:
            if program.process.returncode is not None:
                raise Unavailable(
                    f"{program.name} ended with status {program.process.returncode}",
                    hint=f"its last words are in {program.log}",
                )

    def suspend(self, program: Program) -> None:
        """Let it hang: its connections stay open, and nothing is answered."""
        _signal(program.process, signal.SIGSTOP)

    def resume(self, program: Program) -> None:
        _signal(program.process, signal.SIGCONT)

    async def end(self) -> None:
        """Ask all to end, newest first; what has not ended after a while is killed."""
        running, self._running = self._running[::-1], []
        for program in running:
            _signal(program.process, signal.SIGTERM)
            # What is suspended does not hear it before it goes on.
            _signal(program.process, signal.SIGCONT)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                for program in running:
                    await program.process.wait()
        for program in running:
            if program.process.returncode is None:
                await _kill(program.process)


def ours() -> dict[str, str]:
    """The environment in which ``python -m reconciler...`` finds us, installed or not, from any folder.

    The user's own options of ``meshwright`` are not for the demo's.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MESHWRIGHT_")}
    root = str(Path(__file__).resolve().parents[2])
    inherited = kept.get("PYTHONPATH")
    return kept | {"PYTHONPATH": os.pathsep.join([root, inherited] if inherited else [root])}


def _tether(parent: int) -> Callable[[], None]:
    """What a child does before it becomes its program: tie its life to ours."""

    def tie() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died between the fork and the line above.
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return tie


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    # To the group, not to its leader: a program's own children go with it. The group may be gone.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


async def _kill(process: asyncio.subprocess.Process) -> None:
    _signal(process, signal.SIGKILL)
    await process.wait()
