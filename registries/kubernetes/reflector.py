"""Keeps a table like the API server's list of one kind: list once, then watch, and list again when told to.

The rules are client-go's (``tools/cache/reflector.go``), learnt from the clients that broke them:

* A watch starts at the version of the *list*, and goes on from the last event or bookmark, never from the
  version of an object that happens to be known (client-python#819, kubernetes_asyncio#135).
* 410, be it a status or an event, means that events were missed: list again, and whatever the list does not
  name is gone.
* A stream that was cut goes on where it stopped. But once an attempt has failed the server was away, and may
  have come back from a backup, with another history under the same numbers: list again.
* An object that cannot be read is contained: it is remarked upon, and what was known of it stays.

No I/O of its own: the API is handed in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, NoReturn, TypeVar

from mesh.clock import Clock
from mesh.errors import MeshError, Misconfigured, Unavailable
from registries.kubernetes.api import Api, Gone, Interrupted, Throttled, Unauthorized, refusal
from registries.kubernetes.fields import Unreadable
from registries.kubernetes.hearing import Hearing
from registries.kubernetes.objects import Key, key_of, version_of
from registries.kubernetes.resources import Resource
from registries.kubernetes.table import Keyed, Table
from registries.kubernetes.turn import Turn

T = TypeVar("T", bound=Keyed)


OBJECTS_MAX: Final = 1_000_000
"""Of one kind. Far above what clusters have (150,000 Pods), and still memory that we have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast is tried again, and how long a watch is asked for."""

    backoff_first: timedelta = timedelta(milliseconds=250)
    backoff_max: timedelta = timedelta(seconds=30)
    watch_min: timedelta = timedelta(minutes=5)
    """Watches are asked for between this and twice as long, so that they do not all end at once."""
    list_max: timedelta = timedelta(minutes=10)
    """What a list may last, with all its pages. The API server forgets a list after five minutes or so."""
    steady: timedelta = timedelta(seconds=5)
    """A watch that lived this long was a good one, even if it had nothing to say."""

    def backoff(self, failures: int, chance: float) -> timedelta:
        """Doubled with each failure after the first; ``chance`` in [0, 1) takes away up to half of it."""
        whole = min(self.backoff_max, self.backoff_first * 2 ** min(failures - 1, 16))
        return timedelta(seconds=whole.total_seconds() * (1 - chance / 2))


PACE: Final = Pace()


@dataclass(slots=True)
class Heard:
    """What reflectors have met, for metrics and tests."""

    lists: int = 0
    watches: int = 0
    events: int = 0
    bookmarks: int = 0
    failures: int = 0


class Reflector(Generic[T]):
    """One kind of object of one cluster. Owned by its task, which also owns the table.

    ``stirred`` is called when the table may have changed, ``refused`` when the credentials did not hold.
    """

    def __init__(
        self,
        resource: Resource,
        api: Api,
        table: Table[T],
        hearing: Hearing,
        clock: Clock,
        *,
        heard: Heard,
        chance: Callable[[], float],
        stirred: Callable[[], None],
        refused: Callable[[], None],
        pace: Pace = PACE,
    ) -> None:
        self._resource, self._api, self._table, self._hearing = resource, api, table, hearing
        self._clock, self._chance, self._pace = clock, chance, pace
        self._stirred, self._refused = stirred, refused
        self._version = ""
        self._failures = 0
        self._heard = heard
        self._turn = Turn(clock)

    async def run(self) -> NoReturn:
        """Keep the table up to date for ever."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except Gone:
                self._version = ""
                self._hearing.behind(self._resource.kind)
                await self._pause()
            except Interrupted:
                await self._pause()
            except (Unavailable, Misconfigured) as error:
                await self._failed(error)

    async def _failed(self, error: MeshError) -> None:
        self._heard.failures += 1
        wait = timedelta(0)
        match error:
            case Unauthorized():
                self._refused()
            case Throttled():
                wait = error.after
            case _:
                self._version = ""
        self._hearing.behind(self._resource.kind)
        self._hearing.failed(self._resource.kind, error)
        await self._pause(wait)

    async def _pause(self, least: timedelta = timedelta(0)) -> None:
        self._failures += 1
        await self._clock.sleep(max(least, self._pace.backoff(self._failures, self._chance())))

    async def _list(self) -> None:
        """All pages of one moment; the table is replaced when the last one is there."""
        listed: list[T] = []
        unreadable: dict[Key, str] = {}
        query = {"limit": str(self._resource.page), **self._resource.chosen}
        begun, seen = self._clock.monotonic(), set[str]()
        while True:
            page = await self._api.get(self._resource.path, query)
            metadata = page.get("metadata")
            if not isinstance(metadata, dict) or not isinstance(metadata.get("resourceVersion"), str):
                raise Unavailable(f"the API server's list of {self._resource.kind} objects has no version")
            for item in page.get("items") or ():
                self._read(item, listed.append, unreadable)
                await self._turn.pass_on()
            if not (following := str(metadata.get("continue") or "")):
                break
            lasted = self._clock.monotonic() - begun
            if following in seen or len(listed) > OBJECTS_MAX or lasted > self._pace.list_max.total_seconds():
                raise Unavailable(
                    f"the API server's list of {self._resource.kind} objects does not end",
                    hint=f"expected at most {OBJECTS_MAX} within {self._pace.list_max}, each page once",
                )
            seen.add(following)
            query = {**query, "continue": following}
        await self._table.replace(listed, unreadable)
        self._version = metadata["resourceVersion"]
        self._heard.lists += 1
        self._hearing.listed(self._resource.kind)
        self._stirred()

    def _read(self, item: Any, take: Callable[[T], None], unreadable: dict[Key, str]) -> None:
        """One object, or what is wrong with it."""
        key: Key = ("", "")
        try:
            key = key_of(item)
            take(self._resource.parse(item))
        except Unreadable as error:
            unreadable[key] = str(error)

    async def _watch(self) -> None:
        seconds = self._pace.watch_min.total_seconds() * (1 + self._chance())
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(int(seconds)),
            **self._resource.chosen,
        }
        async with self._api.watch(self._resource.path, query) as stream:
            opened = self._clock.monotonic()
            self._heard.watches += 1
            self._hearing.watching(self._resource.kind)
            self._stirred()
            try:
                async for lines in stream:
                    await self._hear(lines)
                    self._failures = 0
            finally:
                is_steady = self._clock.monotonic() - opened >= self._pace.steady.total_seconds()
                if is_steady:
                    self._failures = 0
        if not is_steady:
            # A server that agrees to watch and hangs up at once must not be asked in a busy loop.
            await self._pause()

    async def _hear(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            self._event(line)
            await self._turn.pass_on()
        self._hearing.heard(self._resource.kind)
        self._stirred()

    def _event(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            kind, item = event["type"], event["object"]
        except (ValueError, KeyError, TypeError, RecursionError):
            found = f"a line of {len(line)} bytes that is no event"
            raise Unavailable(
                f"the API server sent, in a watch of {self._resource.kind} objects, {found}"
            ) from None
        if kind == "ERROR":
            raise _error(item, self._resource)
        self._heard.events += 1
        if kind == "BOOKMARK":
            self._heard.bookmarks += 1
        elif kind == "DELETED":
            self._deleted(item)
        else:
            self._read(item, self._table.put, self._table.unreadable)
        self._advance(item)

    def _deleted(self, item: Any) -> None:
        try:
            self._table.drop(key_of(item))
        except Unreadable as error:
            # Which one it was can only be told from a list.
            raise Gone(f"a deleted {self._resource.kind} cannot be read: {error}") from None

    def _advance(self, item: Any) -> None:
        """The watch goes on from here. What does not say its version leaves it where it was."""
        try:
            self._version = version_of(item) or self._version
        except Unreadable as error:
            self._table.unreadable["", ""] = str(error)


def _error(status: Any, resource: Resource) -> MeshError:
    """An ERROR event carries a Status. 410 means what it means anywhere, all else: begin again."""
    code = status.get("code") if isinstance(status, dict) else None
    return refusal(code if isinstance(code, int) else 500, status, f"watch of {resource.kind} objects")
