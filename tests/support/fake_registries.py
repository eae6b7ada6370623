"""Registries that say what a test says, and everything that listens to them, running."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

from mesh.clock import SystemClock
from mesh.errors import Misconfigured
from mesh.kinds.guards import Guards
from mesh.kinds.registry import Registry as Settings
from mesh.kinds.registry_consul import Consul
from mesh.kinds.registry_kubernetes import Kubernetes
from mesh.latest import Latest
from mesh.services import Provider
from registries.answers import Answer
from registries.kept import KeptAnswers
from registries.registry import Freshness, Registry, State
from registries.source import Common, SourceStatus, provider_of
from registries.sources import Configured, Sources
from tests.support.clock import FakeClock

PATIENCE_S = 10
DEFAULT, COMMON = Guards(), Common()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that nobody tells: threads take part."""
    clock = SystemClock()
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await clock.sleep(timedelta(milliseconds=2))


def consul(name: str, address: str = "", guards: Guards | None = None) -> Settings:
    return Settings(name=name, consul=Consul(address=address), guards=guards)


def kubernetes(name: str) -> Settings:
    return Settings(name=name, kubernetes=Kubernetes(in_cluster=True))


class FakeRegistry:
    """Says what it is told to say; ends with ``error`` when that is set."""

    def __init__(self, settings: Settings, common: Common, clock: FakeClock) -> None:
        self.settings, self.common, self._clock = settings, common, clock
        self.answer: Latest[Answer | None] = Latest(None)
        self.freshness = Latest(Freshness())
        self.failed: asyncio.Future[NoReturn] = asyncio.get_running_loop().create_future()
        self.is_running = False

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def provider(self) -> Provider:
        return provider_of(self.settings)

    async def run(self) -> NoReturn:
        self.is_running = True
        try:
            return await self.failed
        finally:
            self.is_running = False

    def says(self, answer: Answer, state: State = State.LIVE) -> None:
        self.answer.publish(answer)
        self.is_heard(state)

    def is_heard(self, state: State = State.LIVE) -> None:
        now = self._clock.now()
        self.freshness.publish(Freshness(state=state, heard_at=now, heard=self._clock.monotonic()))

    def falls_silent(self, error: str = "no answer") -> None:
        self.freshness.publish(replace(self.freshness.value, state=State.STALE, error=error))


class Listening:
    """Sources over fake registries, with a clock that is moved by hand."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.file = KeptAnswers(folder / "registries.sqlite")
        self.configured: Latest[Configured | None] = Latest(None)
        self.opened: defaultdict[str, list[FakeRegistry]] = defaultdict(list)
        self.refusal: Misconfigured | None = None
        self.sources = Sources(self.configured, self._open, self.file, clock)

    def _open(self, settings: Settings, common: Common) -> Registry:
        if self.refusal is not None:
            raise self.refusal
        made = FakeRegistry(settings, common, self.clock)
        self.opened[settings.name].append(made)
        return made

    def configure(self, *registries: Settings, guards: Guards = DEFAULT, common: Common = COMMON) -> None:
        self.configured.publish(Configured(registries, guards, common))

    async def registry(self, name: str, number: int = 1) -> FakeRegistry:
        """The registry that was opened under this name for the so-manieth time."""
        await until(lambda: len(self.opened[name]) >= number)
        return self.opened[name][number - 1]

    def believed(self, name: str) -> Answer | None:
        return next((answer for answer in self.sources.answers.value if answer.registry == name), None)

    def status(self, name: str) -> SourceStatus:
        return next(status for status in self.sources.statuses.value if status.name == name)

    async def until_believed(self, name: str, answer: Answer | None) -> None:
        await until(lambda: self.believed(name) is answer)

    async def passes(self, span: timedelta) -> None:
        await self.clock.advance(span)


@asynccontextmanager
async def listening(folder: Path, *registries: Settings) -> AsyncIterator[Listening]:
    """One life of a control plane; the file in ``folder`` outlives it."""
    one = Listening(folder, FakeClock())
    if registries:
        one.configure(*registries)
    task = asyncio.create_task(one.sources.run())
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.wait([task])
        one.file.close()
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
