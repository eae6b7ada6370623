"""A Consul registry that runs for a test, and short words for what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from mesh.clock import Clock, SystemClock
from mesh.kinds.registry_consul import Consul
from registries.answers import Answer, Offer
from registries.consul import ConsulRegistry, Pace
from registries.registry import State

LIMIT_S = 20.0
# As in production, only more impatient.
HASTY = Pace(
    wait=timedelta(seconds=1),
    window=timedelta(milliseconds=20),
    nodes_window=timedelta(milliseconds=50),
    limit=timedelta(seconds=1),
    backoff_first=timedelta(milliseconds=50),
    backoff_max=timedelta(milliseconds=200),
)
Said = dict[str, list[tuple[str, int]]]


@dataclass(frozen=True, slots=True)
class Listening:
    """A registry whose task runs."""

    registry: ConsulRegistry

    @property
    def answer(self) -> Answer:
        answer = self.registry.answer.value
        assert answer is not None, "it has not answered yet"
        return answer

    @property
    def said(self) -> Said:
        """Where each service of the default namespace serves, by host without its suffix."""
        return {
            host.removesuffix(".service.consul"): places(offer)
            for host, offer in self.answer.said("default").offers.items()
        }

    def offer(self, name: str, namespace: str = "default") -> Offer | None:
        answer = self.registry.answer.value
        return answer.said(namespace).offers.get(f"{name}.service.consul") if answer is not None else None

    async def until(self, awaited: str, holds: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
        """Wait for an answer (the one that is there, or a newer) with which something holds."""
        try:
            async with asyncio.timeout(limit_s):
                version = self.registry.answer.version
                while self.registry.answer.value is None or not holds():
                    version, _ = await self.registry.answer.newer_than(version)
        except TimeoutError:
            answer = self.registry.answer.value
            found = self.said if answer is not None else None
            raise AssertionError(
                f"waited {limit_s:g} s for {awaited}; {self.registry.freshness.value}; said: {found}"
            ) from None

    async def until_said(self, **expected: list[tuple[str, int]]) -> None:
        """Wait until exactly these services are said to be at these places."""
        await self.until(str(expected), lambda: self.said == expected)

    async def until_state(self, state: State, error: str = "", limit_s: float = LIMIT_S) -> None:
        freshness = self.registry.freshness
        try:
            async with asyncio.timeout(limit_s):
                version = freshness.version
                while freshness.value.state is not state or error not in freshness.value.error:
                    version, _ = await freshness.newer_than(version)
        except TimeoutError:
            raise AssertionError(
                f"waited {limit_s:g} s for {state} with {error!r}; {freshness.value}"
            ) from None


def places(offer: Offer) -> list[tuple[str, int]]:
    return [(one.workload.address, one.ports[0][1]) for one in offer.instances]


@asynccontextmanager
async def listening(
    settings: Consul | str,
    *,
    credentials: Path | None = None,
    pace: Pace = HASTY,
    clock: Clock | None = None,
    name: str = "dc1",
) -> AsyncIterator[Listening]:
    """A registry that runs as long as the block; ``settings`` may be the address alone."""
    known = Consul(address=settings) if isinstance(settings, str) else settings
    registry = ConsulRegistry(
        name, known, credentials=credentials, clock=clock or SystemClock(), pace=pace, chance=lambda: 0.0
    )
    task = asyncio.create_task(registry.run(), name="registry")
    try:
        yield Listening(registry)
        if task.done():
            task.result()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def content(answer: Answer) -> dict[str, Any]:
    """All that an answer says, to be compared by value: answers themselves are compared by identity."""
    return {
        namespace: (
            {host: (offer.service, offer.instances, offer.unready) for host, offer in said.offers.items()},
            dict(said.workloads),
        )
        for namespace, said in answer.namespaces.items()
    } | {"remarks": answer.remarks}


async def read_afresh(
    settings: Consul | str, *, credentials: Path | None = None, name: str = "dc1"
) -> Answer:
    """What a registry says that has just been started."""
    async with listening(settings, credentials=credentials, name=name) as fresh:
        await fresh.until("the first answer", lambda: True)
        return fresh.answer
