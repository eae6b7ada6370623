"""Keeps what is believed of every registry in the file, some time after it changed.

A registry that answers for the first time is kept before anybody sees its answer: from then on a restart must
know that there is something to wait for. When nothing can be written, or one registry says what cannot be,
the mesh goes on; what is lost is that a restart remembers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import NoReturn

from mesh.clock import Clock
from mesh.errors import Unavailable
from registries.kept import Kept, KeptAnswers
from registries.waits import first

log = logging.getLogger(__name__)

EVERY = timedelta(seconds=2)
"""What changes within it is written once."""
AGAIN_EVERY = timedelta(seconds=30)
"""How soon it is tried again when that failed."""
HEARD_EVERY = timedelta(minutes=1)
"""How much older the time may be at which a registry was last heard."""


class Keeper:
    """Owns the file: :meth:`run` alone writes it, in a thread.

    ``told`` is rung when a registry is new in it.
    """

    def __init__(self, file: KeptAnswers, told: asyncio.Event, clock: Clock) -> None:
        self._file, self._told, self._clock = file, told, clock
        self._wanted: Mapping[str, Kept] = {}
        self._kept: dict[str, Kept] = {}
        self._tried: set[str] = set()
        self._is_serving = self._is_noted = False
        self._changed, self._urgent = asyncio.Event(), asyncio.Event()
        self.failures = 0
        """How often the file could not be written."""
        self.error = ""
        """Why it could not be written the last time; empty when it was."""

    async def load(self) -> tuple[Mapping[str, Kept], bool]:
        """What was kept, and whether a world was ever served beside it. Called once, before :meth:`run`."""
        kept, self._is_noted = await asyncio.to_thread(self._file.load)
        self._kept, self._tried = dict(kept), set(kept)
        return kept, self._is_noted

    def has(self, name: str) -> bool:
        """Whether an answer of the registry was kept, or could not be."""
        return name in self._tried

    def keep(self, wanted: Mapping[str, Kept], *, is_serving: bool) -> None:
        """From now on these are the registries, and this is believed of them."""
        self._wanted, self._is_serving = wanted, is_serving
        self._changed.set()
        if wanted.keys() - self._tried:
            self._urgent.set()

    async def run(self) -> NoReturn:
        writing: asyncio.Future[None] | None = None
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                self._urgent.clear()
                # Two writers at once would mix their transactions: one that began is waited for, below.
                writing = asyncio.ensure_future(self._attempt())
                await asyncio.shield(writing)
                await first(self._clock.sleep(AGAIN_EVERY if self.error else EVERY), self._urgent.wait())
        finally:
            # A restart is to find what was served last.
            if writing is not None:
                await writing
            await self._attempt()

    async def _attempt(self) -> None:
        wanted = self._wanted
        failures = [
            error
            for write in self._writes(wanted, is_serving=self._is_serving)
            if (error := await _failure(write)) is not None
        ]
        if failures:
            self._fail(failures)
        else:
            self.error = ""
        # Nobody waits for a disk: who is new is seen all the same, and written as soon as that works.
        is_new = bool(wanted.keys() - self._tried)
        self._tried = set(wanted)
        if is_new:
            self._told.set()

    def _writes(self, wanted: Mapping[str, Kept], *, is_serving: bool) -> Iterator[Callable[[], None]]:
        """What is to be written, each by itself: what one registry says must not keep out the others."""
        for name in self._kept.keys() - wanted.keys():
            yield partial(self._forget, name)
        for name, one in wanted.items():
            if _is_news(self._kept.get(name), one):
                yield partial(self._save, name, one)
        if is_serving and not self._is_noted:
            yield self._note_served

    def _forget(self, name: str) -> None:
        self._file.forget(name)
        del self._kept[name]

    def _save(self, name: str, one: Kept) -> None:
        self._file.save(one.answer, one.heard_at)
        self._kept[name] = one

    def _note_served(self) -> None:
        self._file.note_served()
        self._is_noted = True

    def _fail(self, failures: Sequence[Unavailable]) -> None:
        self.failures += len(failures)
        if not self.error:
            log.error("answers not kept", extra={"reason": str(failures[0])})
        self.error = str(failures[0])
        self._changed.set()


async def _failure(write: Callable[[], None]) -> Unavailable | None:
    try:
        await asyncio.to_thread(write)
    except Unavailable as error:
        return error
    return None


def _is_news(before: Kept | None, after: Kept) -> bool:
    if before is None or before.answer is not after.answer:
        return True
    if before.heard_at is None or after.heard_at is None:
        return before.heard_at is not after.heard_at
    # Either way: the wall clock may be set back.
    return abs(after.heard_at - before.heard_at) >= HEARD_EVERY
