"""The newest value of something, and a way to wait for a newer one.

One task publishes; any number wait. There is no queue: a slow reader skips to the newest.
"""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """One slot, many readers, no queue.

    In a mesh only the present matters, and a queue of old worlds is memory nobody wants.
    Publishing compares by value: give ``T`` a cheap ``__eq__``.
    """

    def __init__(self, value: T) -> None:
        self._value = value
        self._version = 0
        self._changed = asyncio.Event()

    @property
    def value(self) -> T:
        return self._value

    @property
    def version(self) -> int:
        """How often a new value was published."""
        return self._version

    def publish(self, value: T) -> None:
        if value == self._value:
            return
        self._value = value
        self._version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def newer_than(self, version: int) -> tuple[int, T]:
        """The newest version and value, as soon as it is newer than ``version``."""
        while self._version <= version:
            await self._changed.wait()
        return self._version, self._value
