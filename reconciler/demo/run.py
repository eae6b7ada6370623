"""A demo from beginning to end: put up, perform, stay, tidy up.

Told to end (Ctrl-C, SIGTERM, a closed terminal), it ends everything it started, closes every port and
removes its folder. When a step did not hold, the folder stays, because its logs say why.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sized
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from mesh.clock import Clock
from mesh.errors import MeshError, Misconfigured
from reconciler.demo import follow, report
from reconciler.demo.control_plane import ControlPlane
from reconciler.demo.report import Report, StepReport

Say = Callable[[str], None]


class ToldToEnd(MeshError):
    """Someone ended the demo before it was over."""


class Standing(Protocol):
    """A mesh that is up, as far as every demo has it."""

    @property
    def control_plane(self) -> ControlPlane: ...

    @property
    def machines(self) -> Sized: ...

    @property
    def envoy_version(self) -> str: ...


M = TypeVar("M", bound=Standing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Play(Generic[M]):
    """What one demo is: how its mesh is put up, what is done to it, and what visitors may try."""

    stage: Callable[[Path, Clock, Say], AbstractAsyncContextManager[M]]
    perform: Callable[[M], AsyncIterator[StepReport]]
    invitation: Callable[[M, Path], str]


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


async def demo(
    play: Play[M], parent: Path | None, clock: Clock, audience: Audience, *, is_once: bool
) -> Report:
    """Run it in a new folder in ``parent`` (``None``: among the temporary files)."""
    folder = _new_folder(parent)
    played, is_kept = _Played(), True
    try:
        with _signals_end_this() as signalled:
            try:
                await _play(play, folder, clock, audience, played, is_once=is_once)
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


async def _play(
    play: Play[M], folder: Path, clock: Clock, audience: Audience, played: _Played, *, is_once: bool
) -> None:
    async with play.stage(folder, clock, audience.progress) as up:
        played.envoy, played.proxies = up.envoy_version, len(up.machines)
        async for step in play.perform(up):
            played.steps.append(step)
            audience.row(step)
        played.is_complete = True
        audience.line(report.foot(played.report))
        if not is_once:
            audience.line(play.invitation(up, folder / "logs"))
            await _stay(up, audience)


async def _stay(up: Standing, audience: Audience) -> None:
    start = await up.control_plane.status()
    async for line in follow.lines(up.control_plane.beats(), start):
        audience.line(line)


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
