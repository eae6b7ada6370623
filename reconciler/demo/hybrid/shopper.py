"""Who asks in the hybrid demo: through the proxy of ``front-1``, as a program beside it would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import aiohttp

from mesh.clock import Clock
from reconciler.demo import requests

DOMAIN = "shop.svc.cluster.local"
PORT = 8080
_PAUSE = timedelta(milliseconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer. ``caller`` is what the proxy of the instance says of the certificate it was shown."""

    instance: str = ""
    caller: str = ""
    failure: str = ""
    at_ms: int = 0
    """When it was there, in UNIX milliseconds."""


@dataclass(slots=True)
class Shopper:
    """Asks services by name. Owns its connections; used by one task."""

    proxy: str
    clock: Clock
    session: aiohttp.ClientSession = field(repr=False)

    async def ask(self, service: str) -> Reply:
        """Ask once. A failure is an answer too."""
        try:
            async with self.session.get(f"http://{host(service)}:{PORT}/", proxy=self.proxy) as response:
                if response.status != 200:
                    return Reply(failure=f"status {response.status}", at_ms=self.now_ms())
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return Reply(failure=str(error) or type(error).__name__, at_ms=self.now_ms())
        return Reply(instance=answer["instance"], caller=answer["caller"], at_ms=self.now_ms())

    async def many(self, service: str, number: int) -> list[Reply]:
        """Ask ``number`` times, a few at once."""
        return await requests.several(lambda: self.ask(service), number)

    @asynccontextmanager
    async def asking(
        self, services: Iterable[str], pause: timedelta = _PAUSE
    ) -> AsyncIterator[Mapping[str, list[Reply]]]:
        """Ask each of them again and again until the block ends; the replies so far, by service."""
        done = asyncio.Event()
        heard: dict[str, list[Reply]] = {service: [] for service in services}

        async def keep_asking(service: str) -> None:
            while not done.is_set():
                heard[service].append(await self.ask(service))
                await self.clock.sleep(pause)

        tasks = [asyncio.create_task(keep_asking(service)) for service in heard]
        try:
            yield heard
        finally:
            done.set()
            await asyncio.gather(*tasks)

    def now_ms(self) -> int:
        """The time, in UNIX milliseconds."""
        return round(self.clock.now().timestamp() * 1000)


def host(service: str) -> str:
    """The name by which the whole mesh knows it."""
    return f"{service}.{DOMAIN}"


@asynccontextmanager
async def shopper(proxy: str, clock: Clock) -> AsyncIterator[Shopper]:
    """Someone beside the sidecar with this HTTP proxy."""
    timeout = aiohttp.ClientTimeout(total=requests.TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield Shopper(proxy, clock, session)
