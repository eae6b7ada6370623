"""All configured registries: one task for each, what is believed of them, and when that may be served.

Nothing is served before every registry has answered once, or its last answer was kept, or nobody can have
been told anything of it (DESIGN D10): a file beside which a world was served knows all that were part of it.
After that no registry stops anybody: a new one is simply not there until it answers.

One that the config no longer names, or names as another kind, is a registry that says "nothing": its guard
holds what is too much to be true, for the dwell or until it is released, and only then it is forgotten. Its
claims stand behind those of the registries of its kind that are configured. Two of one name are never handed
on at once: the removed one has the name until it is gone.

:meth:`Sources.run` owns what is published here; each registry's task owns what it has heard.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn

from mesh.clock import Clock
from mesh.errors import Refused
from mesh.kinds.guards import Guards
from mesh.kinds.registry import Registry as Settings
from mesh.latest import Latest
from mesh.services import GIT, Provider
from registries.answers import Answer
from registries.holds import Held
from registries.keeping import Keeper
from registries.kept import Kept, KeptAnswers
from registries.source import Common, OpenRegistry, Source, SourceStatus, provider_of
from registries.waits import first

log = logging.getLogger(__name__)

_Key = tuple[str, Provider]
"""Another kind of registry is another registry, though it is called the same."""


@dataclass(frozen=True, slots=True)
class Configured:
    """Which registries the accepted config names, in its order, and the guards of those that say none."""

    registries: tuple[Settings, ...] = ()
    guards: Guards = field(default_factory=Guards)
    common: Common = field(default_factory=Common)


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What an operator's word has let go."""

    registry: str
    was_awaited: bool
    holds: tuple[Held, ...]


class Sources:
    """Keeps one :class:`~registries.source.Source` per configured registry. Owned by :meth:`run`'s task."""

    def __init__(
        self,
        configured: Latest[Configured | None],
        open_registry: OpenRegistry,
        file: KeptAnswers,
        clock: Clock,
    ) -> None:
        self._configured, self._open, self._clock = configured, open_registry, clock
        self._told = asyncio.Event()
        self.keeper = Keeper(file, self._told, clock)
        self._sources: dict[_Key, Source] = {}
        """In the order of the config, then those that it no longer names."""
        self._tasks: dict[_Key, asyncio.Task[NoReturn]] = {}
        self._released: set[str] = set()
        self._has_served = False
        self.answers: Latest[tuple[Answer, ...]] = Latest(())
        """What is believed, in order of trust, then of the config; not to be served before it is ready."""
        self.statuses: Latest[tuple[SourceStatus, ...]] = Latest(())
        """In the same order, of those that have not answered, too."""
        self.is_ready = asyncio.Event()
        self.awaited: frozenset[str] = frozenset()
        """The registries without which nothing is served yet."""

    def release(self, name: str) -> Released:
        """The operator's word: what is held is believed, and nobody waits for the registry.

        :raises Refused: when there is no such registry, or nothing to release.
        """
        sources = [source for source in self._sources.values() if source.name == name]
        if not sources:
            known = ", ".join(dict.fromkeys(known for known, _ in self._sources))
            hint = (
                f"known registries are {known}" if known else "add it to spec.registries of the Mesh document"
            )
            raise Refused(f"no registry is called {name!r}", hint=hint)
        holds = tuple(held for source in sources for held in source.status.holds)
        released = Released(registry=name, was_awaited=name in self.awaited, holds=holds)
        if not released.was_awaited and not released.holds:
            raise Refused(f"nothing of registry {name!r} is held, and nobody waits for it")
        self._released.add(name)
        for source in sources:
            source.release()
        self._told.set()
        log.info("registry released", extra={"registry": name})
        return released

    async def run(self) -> NoReturn:
        """Publish whenever a registry says something new, or others are configured."""
        kept, self._has_served = await self.keeper.load()
        version, configured = await self._configured.newer_than(0)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.keeper.run(), name="keeping")
            while True:
                self._told.clear()
                if configured is not None:
                    self._configure(configured, kept, group)
                    # Whoever is configured later begins anew.
                    kept = {}
                    self._publish()
                await first(self._configured.newer_than(version), self._told.wait())
                version, configured = self._configured.version, self._configured.value

    def _configure(self, configured: Configured, kept: Mapping[str, Kept], group: asyncio.TaskGroup) -> None:
        wanted: dict[_Key, Settings | None] = {
            (one.name, provider_of(one)): one for one in configured.registries if one.name != GIT
        }
        known = {(name, one.answer.provider): one for name, one in kept.items()}
        for key, source in self._sources.items():
            if key not in wanted and not source.is_removed:
                source.remove()
        # Also one that was removed while nobody was there to see it.
        left = dict.fromkeys(key for key in (*self._sources, *known) if key not in wanted)
        for key, settings in {**wanted, **left}.items():
            guards = (settings.guards if settings is not None else None) or configured.guards
            if key not in self._sources:
                source = self._sources[key] = Source(
                    *key,
                    settings,
                    guards,
                    known.get(key),
                    common=configured.common,
                    open_registry=self._open,
                    told=self._told,
                    clock=self._clock,
                )
                self._tasks[key] = group.create_task(source.run(), name=f"source {source.name}")
            elif settings is not None:
                self._sources[key].configure(settings, guards, configured.common)
        self._sources = {key: self._sources[key] for key in (*wanted, *left)}

    def _forget_gone(self) -> None:
        for key in [key for key, source in self._sources.items() if source.is_gone]:
            self._tasks.pop(key).cancel()
            del self._sources[key]
            self._released.discard(key[0])
            log.info("registry removed", extra={"registry": key[0]})

    def _publish(self) -> None:
        self._forget_gone()
        sources = sorted(self._sources.values(), key=lambda source: source.status.provider)
        heard = [source for source in sources if source.believed is not None]
        removed = {source.name for source in heard if source.is_removed}
        handed_on = {
            source.name: source for source in heard if source.is_removed or source.name not in removed
        }
        believed = {
            name: source.believed for name, source in handed_on.items() if source.believed is not None
        }
        answers = tuple(answer for name, answer in believed.items() if self.keeper.has(name))
        if not self.is_ready.is_set():
            excused = {source.name for source in sources if self._has_served} | self._released
            waited_for = {source.name for source in sources} - excused
            self.awaited = frozenset(
                name for name in waited_for if name not in believed or not self.keeper.has(name)
            )
        self.answers.publish(answers)
        self.statuses.publish(
            tuple(replace(source.status, is_awaited=source.name in self.awaited) for source in sources)
        )
        if not self.awaited and not self.is_ready.is_set():
            log.info("registries ready", extra={"registries": len(sources), "answered": len(answers)})
            self.is_ready.set()
        self.keeper.keep(
            {name: Kept(answer, handed_on[name].heard_at) for name, answer in believed.items()},
            is_serving=self.is_ready.is_set(),
        )
