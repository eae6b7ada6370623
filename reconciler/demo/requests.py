"""Requests through the gateway, and what came back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp

from mesh.clock import Clock

T = TypeVar("T")

TIMEOUT_S = 15.0
AT_ONCE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer of productpage, as far as a step looks at it.

    ``version`` is the version of reviews that answered, empty if none did. ``ratings`` is the colour of
    its stars, ``none`` for a version without, or the status with which ratings failed it.
    """

    version: str = ""
    ratings: str = "none"
    failure: str = ""
    took_ms: float = 0.0


@dataclass(slots=True)
class Visitor:
    """Someone who asks for pages. Owns its connections; used by one task."""

    url: str
    clock: Clock
    session: aiohttp.ClientSession = field(repr=False)

    async def page(self, user: str = "") -> Page:
        """Ask once. A failure is an answer too."""
        headers = {"accept": "application/json"} | ({"end-user": user} if user else {})
        began = self.clock.monotonic()
        try:
            async with self.session.get(self.url, headers=headers) as response:
                if response.status != 200:
                    return Page(failure=f"status {response.status}")
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return Page(failure=str(error) or type(error).__name__)
        return read(answer, took_ms=(self.clock.monotonic() - began) * 1000)

    async def pages(self, number: int, user: str = "") -> list[Page]:
        """Ask ``number`` times, a few at once."""
        return await several(lambda: self.page(user), number)

    async def pages_until(self, done: asyncio.Event) -> list[Page]:
        """Ask one after another until ``done``, and once more after it."""
        return await one_after_another(self.page, done)


async def several(ask: Callable[[], Awaitable[T]], number: int) -> list[T]:
    """The answers of ``number`` requests, a few at once."""
    answers: list[T] = []
    numbers = itertools.count()

    async def some() -> None:
        while next(numbers) < number:
            answers.append(await ask())

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_ONCE, number)):
            group.create_task(some())
    return answers


async def one_after_another(ask: Callable[[], Awaitable[T]], done: asyncio.Event) -> list[T]:
    """The answers of requests until ``done``, and of one more after it."""
    answers = []
    while not done.is_set():
        answers.append(await ask())
    return [*answers, await ask()]


@asynccontextmanager
async def visitor(url: str, clock: Clock) -> AsyncIterator[Visitor]:
    """A visitor of ``url``, whose connections are closed at the end."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield Visitor(url, clock, session)


def read(answer: dict[str, Any], took_ms: float) -> Page:
    """What a step looks at in an answer of productpage."""
    reviews = answer["reviews"]
    if "error" in reviews:
        return Page(failure=reviews["error"], took_ms=took_ms)
    if "error" in answer["details"]:
        return Page(failure=answer["details"]["error"], took_ms=took_ms)
    ratings = reviews.get("ratings", {})
    shown = str(ratings["status"]) if "error" in ratings else ratings.get("color", "none")
    return Page(version=reviews["version"], ratings=shown, took_ms=took_ms)
