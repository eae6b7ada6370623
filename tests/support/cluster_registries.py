"""Kubernetes registries running in a test, and ways to wait for what they say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from mesh.clock import SystemClock
from mesh.errors import MeshError
from registries.answers import Answer
from registries.kubernetes.access import Access, Credentials
from registries.kubernetes.accounts import Kubeconfig
from registries.kubernetes.client import Client, Limits
from registries.kubernetes.reading import Reading
from registries.kubernetes.reflector import Pace
from registries.kubernetes.registry import KubernetesRegistry
from registries.registry import Freshness, State
from tests.support.cluster_states import EAST

QUICK = Pace(
    backoff_first=timedelta(milliseconds=20),
    backoff_max=timedelta(milliseconds=200),
    steady=timedelta(milliseconds=20),
)
PATIENCE_S = 20.0


def named_access(folder: Path, kubeconfig: Callable[[Path], Path], *, context: str = "") -> Kubeconfig:
    """Access through a kubeconfig among the operator's credentials, called ``east``.

    :param kubeconfig: writes it to the path that it is given.
    """
    kept = folder / "registries" / "east"
    kept.mkdir(parents=True)
    kubeconfig(kept / "kubeconfig").chmod(0o600)
    return Kubeconfig(folder / "registries", "east", SystemClock(), context=context)


class GivenAccess:
    """Credentials that a test hands out, and may change. ``reads`` says whether each was for a refusal."""

    def __init__(self, credentials: Credentials | MeshError) -> None:
        self.credentials = credentials
        self.reads: list[bool] = []
        self.on_refusal: Callable[[], None] = lambda: None

    async def read(self, *, is_refused: bool = False) -> Credentials:
        self.reads.append(is_refused)
        if is_refused:
            self.on_refusal()
        if isinstance(self.credentials, MeshError):
            raise self.credentials
        return self.credentials


@asynccontextmanager
async def running(
    access: Access, *, reading: Reading = EAST, pace: Pace = QUICK, limits: Limits | None = None
) -> AsyncIterator[KubernetesRegistry]:
    """A registry that listens, until the block ends."""
    chosen = limits or Limits()
    registry = KubernetesRegistry(
        reading, access, SystemClock(), connect=lambda found: Client(found, chosen), pace=pace
    )
    task = asyncio.create_task(registry.run())
    try:
        yield registry
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def answered(
    registry: KubernetesRegistry, holds: Callable[[Answer], bool] = lambda answer: True
) -> Answer:
    """The first answer for which ``holds``."""
    version = -1
    async with asyncio.timeout(PATIENCE_S):
        while True:
            version, answer = await registry.answer.newer_than(version)
            if answer is not None and holds(answer):
                return answer


async def heard(registry: KubernetesRegistry, state: State, error: str | None = None) -> Freshness:
    """The first freshness of that state, and with that in its error."""
    version = -1
    async with asyncio.timeout(PATIENCE_S):
        while True:
            version, now = await registry.freshness.newer_than(version)
            if now.state is state and (error is None or error in now.error):
                return now


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that nobody tells."""
    clock = SystemClock()
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await clock.sleep(timedelta(milliseconds=5))


def serving(answer: Answer, name: str = "reviews", namespace: str = "shop") -> list[str]:
    """The addresses that serve a Service, in order; nothing when it is not known."""
    offer = answer.said(namespace).offers.get(f"{name}.{namespace}.svc.cluster.local")
    return [one.workload.address for one in offer.instances] if offer else []


class Witness:
    """Looks at every answer, and remembers those in which something was missing."""

    def __init__(self, registry: KubernetesRegistry, *addresses: str, namespace: str = "shop") -> None:
        """:param addresses: those that serve ``reviews`` all the time."""
        self._registry, self._addresses, self._namespace = registry, set(addresses), namespace
        self.gaps: list[list[str]] = []
        self.seen: list[list[str]] = []

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Witness]:
        task = asyncio.create_task(self._watch())
        yield self
        task.cancel()
        await asyncio.wait([task])

    async def _watch(self) -> None:
        version = self._registry.answer.version
        while True:
            version, answer = await self._registry.answer.newer_than(version)
            found = serving(answer, namespace=self._namespace) if answer is not None else []
            self.seen.append(found)
            if not self._addresses <= set(found):
                self.gaps.append(found)
