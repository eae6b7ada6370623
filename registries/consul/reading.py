"""What was read of each service over one connection, and which are to be read again.

What fails for one service alone leaves what is known of it, and is tried again; until it is read, nobody says
that all is well.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from mesh.clock import Clock
from mesh.errors import Misconfigured, Unavailable
from mesh.kinds.registry_consul import Consul
from registries.consul.client import Client, Reply
from registries.consul.mapping import Mapped, mapped, unaskable
from registries.consul.notes import Notes
from registries.consul.pace import Pace
from registries.consul.seen import Seen
from registries.consul.shapes import entries_of

SERVICE = "/v1/health/service/"
RIGHTS = "give the token service:read and node:read for all that is to be seen"
_AT_ONCE = 8
# Mapping an instance takes up to 0.05 ms: more than these are not for the loop.
_FEW = 100
# Others would be other paths.
_ASKABLE = re.compile(r"[a-z0-9_][a-z0-9_.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Whom a connection tells what it hears. None of these waits."""

    changed: Callable[[], None]
    heard: Callable[[], None]
    failed: Callable[[Unavailable], None]


class Reading:
    """Owned by the task that connects; ends with its connection."""

    def __init__(
        self,
        client: Client,
        settings: Consul,
        notes: Notes,
        listener: Listener,
        clock: Clock,
        *,
        registry: str,
        pace: Pace,
        chance: Callable[[], float],
    ) -> None:
        self._client, self._settings, self._notes, self._listener = client, settings, notes, listener
        self._clock, self._registry, self._pace, self._chance = clock, registry, pace, chance
        self.seen: dict[str, Seen] = {}
        self._due: set[str] = set()
        self._failures: Counter[str] = Counter()
        self._noted = asyncio.Event()

    async def read_all(self, names: Iterable[str]) -> None:
        """Read all of them; the notes are replaced when the last one is there."""
        everything: dict[str, Mapped] = {}

        async def read(name: str) -> None:
            everything[name] = await self._read(name)

        await each(sorted(names), read)
        self._notes.replace(everything)
        self._listener.changed()
        self._listener.heard()

    def note(self, names: Iterable[str]) -> None:
        """They are to be read again."""
        self._due.update(name for name in names if self._settings.selects(name))
        if self._due:
            self._noted.set()

    def tell_heard(self) -> None:
        """What is known is complete and current, unless a service could not be read."""
        if not self._failures:
            self._listener.heard()

    async def run(self, group: asyncio.TaskGroup) -> NoReturn:
        """Read what is due; ``group`` is where reminders live."""
        while True:
            await self._noted.wait()
            self._noted.clear()
            due, self._due = self._due, set()

            async def read(name: str) -> None:
                try:
                    one = await self._read(name)
                except Unavailable as error:
                    self._failures[name] += 1
                    self._listener.failed(error)
                    span = self._pace.backoff(self._failures[name], self._chance())
                    group.create_task(self._remind(name, span))
                else:
                    del self._failures[name]
                    self._notes.put(name, one)

            await each(sorted(due), read)
            self._listener.changed()
            self.tell_heard()

    async def _read(self, name: str) -> Mapped:
        """What the service is now: nothing when it is gone."""
        if not _ASKABLE.fullmatch(name):
            return unaskable(name)
        reply = await self._client.ask(f"{SERVICE}{name}")
        entries = entries_of(reply.body)
        if not entries and reply.is_filtered:
            raise Misconfigured(
                f"the token may see that there is {name!r} in Consul, and none of its instances", hint=RIGHTS
            )
        if len(entries) > _FEW:
            seen, found = await asyncio.to_thread(self._understood, name, reply, entries)
        else:
            seen, found = self._understood(name, reply, entries)
        if entries:
            self.seen[name] = seen
        else:
            self.seen.pop(name, None)
        return found

    def _understood(self, name: str, reply: Reply, entries: list[dict[str, Any]]) -> tuple[Seen, Mapped]:
        """A function of the answer and the settings: it may run beside the loop."""
        seen = Seen.of(reply.index, entries)
        return seen, mapped(name, entries, self._settings, self._registry)

    async def _remind(self, name: str, span: timedelta) -> None:
        await self._clock.sleep(span)
        self.note([name])


async def each(names: Iterable[str], ask: Callable[[str], Awaitable[Any]]) -> None:
    """``ask`` for every name, a few at once."""
    left = iter(names)

    async def some() -> None:
        for name in left:
            await ask(name)

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(some())
