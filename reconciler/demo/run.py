"""The demo from beginning to end: put up, perform, stay, tidy up.

Told to end (Ctrl-C, SIGTERM, a closed terminal), it ends everything it started, closes every port and
removes its folder. When a step did not hold, the folder stays, because its logs say why.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mesh.clock import Clock
from mesh.errors import MeshError, Misconfigured
from reconciler.demo import follow, report
from reconciler.demo.performance import perform
from reconciler.demo.report import Report, StepReport
from reconciler.demo.stage import Say, Stage, stage

INVITATION = """
The mesh stays up until Ctrl-C.

  gateway      {url}
  repository   {bare}
  logs         {logs}
  status       {command} status --state {state}

A commit to try; then everyone who asks the gateway sees black stars:

  cd {clone}
  sed -i 's/weight: 90/weight: 0/' reviews.yaml
  git commit -qam 'Send all requests for reviews to v2' && git push -q

Following pushes:
"""


class ToldToEnd(MeshError):
    """Someone ended the demo before it was over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Who listens: ``progress`` while things start, ``row`` for each step, ``line`` when all are done."""

    progress: Say
    row: Callable[[StepReport], None]
    line: Say


@dataclass(slots=True)
class _Played:
    """What has been shown so far. Owned by the task of the demo."""

    envoy: str = ""
    proxies: int = 0
    steps: list[StepReport] = field(default_factory=list)
    is_complete: bool = False

    @property
    def report(self) -> Report:
        return Report(envoy=self.envoy, proxies=self.proxies, steps=tuple(self.steps))


async def demo(parent: Path | None, clock: Clock, audience: Audience, *, is_once: bool) -> Report:
    """Run it in a new folder in ``parent`` (``None``: among the temporary files)."""
    folder = _new_folder(parent)
    played, is_kept = _Played(), True
    try:
        with _signals_end_this() as signalled:
            try:
                await _play(folder, clock, audience, played, is_once=is_once)
            except asyncio.CancelledError:
                is_kept = not all(step.ok for step in played.steps)
                if not signalled():
                    raise
                if not played.is_complete:
                    raise ToldToEnd("the demo was told to end before its last step") from None
            else:
                is_kept = not played.report.ok
    finally:
        # What could not even begin has left nothing to look at.
        if is_kept and (folder / "logs").exists():
            audience.progress(f"the folder of this demo stays: look in {folder / 'logs'}")
        else:
            shutil.rmtree(folder)
    return played.report


async def _play(folder: Path, clock: Clock, audience: Audience, played: _Played, *, is_once: bool) -> None:
    async with stage(folder, clock, audience.progress) as up:
        played.envoy, played.proxies = up.envoy_version, len(up.machines)
        async for step in perform(up):
            played.steps.append(step)
            audience.row(step)
        played.is_complete = True
        audience.line(report.foot(played.report))
        if not is_once:
            await _stay(up, folder, audience)


async def _stay(up: Stage, folder: Path, audience: Audience) -> None:
    audience.line(
        INVITATION.format(
            url=up.visitor.url,
            bare=up.repository.bare,
            clone=shlex.quote(str(up.repository.clone)),
            logs=folder / "logs",
            state=shlex.quote(str(up.control_plane.state)),
            command=shlex.quote(_command()),
        )
    )
    start = await up.control_plane.status()
    async for line in follow.lines(up.control_plane.beats(), start):
        audience.line(line)


def _command() -> str:
    """How the user can call us: by path, where our environment is not on theirs."""
    script = Path(sys.executable).with_name("meshwright")
    return str(script) if script.exists() and shutil.which("meshwright") is None else "meshwright"


def _new_folder(parent: Path | None) -> Path:
    try:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="meshwright-demo-", dir=parent)).resolve()
    except OSError as error:
        raise Misconfigured(
            f"cannot make a folder in {str(parent or tempfile.gettempdir())!r}: {error.strerror}",
            hint="choose another place with --state",
        ) from error


@contextmanager
def _signals_end_this() -> Iterator[Callable[[], bool]]:
    """The first signal cancels this task; those after it do not disturb the tidying up."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    told: list[bool] = []

    def tell() -> None:
        if task is not None and not told:
            told.append(True)
            task.cancel()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, tell)
    try:
        yield lambda: bool(told)
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
