"""Consul as a registry: connects, keeps the answer up to date, and starts over when anything fails.

Every connection begins with a full read; only when its last service is there does it replace what was known
(DESIGN D10). Until then, and whenever Consul does not answer, the last answer stays. Credentials are read
anew for each connection: a token that was rotated heals by itself, whatever the state was.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

from mesh.clock import Clock
from mesh.errors import MeshError, Misconfigured, Unavailable
from mesh.kinds.registry_consul import Consul
from mesh.latest import Latest
from mesh.services import Provider
from registries.answers import Answer
from registries.consul.access import access
from registries.consul.client import Client
from registries.consul.following import Following
from registries.consul.notes import Notes
from registries.consul.pace import AT_LEISURE, Pace
from registries.consul.reading import Listener, Reading
from registries.draft import Draft
from registries.registry import Freshness, State

__all__ = ["ConsulRegistry", "Pace"]

log = logging.getLogger(__name__)

# In seconds: how often at most it is said that nothing is new.
_HEARD_EVERY = 1.0


class ConsulRegistry:
    """One datacenter of one Consul (and one partition and namespace). Its task owns all of it."""

    provider = Provider.CONSUL

    def __init__(
        self,
        name: str,
        settings: Consul,
        *,
        credentials: Path | None,
        clock: Clock,
        pace: Pace = AT_LEISURE,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``credentials`` is the operator's directory of them; ``chance`` spreads the retries."""
        self.name = name
        self.answer: Latest[Answer | None] = Latest(None)
        self.freshness: Latest[Freshness] = Latest(Freshness(since=clock.now()))
        self._settings, self._credentials = settings, credentials
        self._clock, self._pace, self._chance = clock, pace, chance
        self._draft = Draft(name, self.provider)
        self._notes = Notes(self._draft)

    async def run(self) -> NoReturn:
        """Listen for ever."""
        failures = 0
        while True:
            begun = self._clock.monotonic()
            try:
                await self._connection()
            except* (Unavailable, Misconfigured) as errors:
                self._failed(_first(errors))
            # A connection that ends as soon as it began is a failure, even if it could read everything.
            lived = timedelta(seconds=self._clock.monotonic() - begun)
            failures = 1 if lived > self._pace.backoff_max else failures + 1
            await self._clock.sleep(self._pace.backoff(failures, self._chance()))

    async def _connection(self) -> None:
        to = await asyncio.to_thread(access, self._settings, self._credentials)
        async with Client(to, self._settings, limit=self._pace.limit) as client:
            reading = Reading(
                client,
                self._settings,
                self._notes,
                Listener(changed=self._changed, heard=self._heard, failed=self._failed),
                self._clock,
                registry=self.name,
                pace=self._pace,
                chance=self._chance,
            )
            following = Following(client, self._settings, reading, self._clock, pace=self._pace)
            await following.read_everything()
            await following.follow()

    def _changed(self) -> None:
        """What was noted is complete; the first answer is one even when there is nothing to tell."""
        self.answer.publish(self._draft.answer())

    def _heard(self) -> None:
        now, monotonic, known = self._clock.now(), self._clock.monotonic(), self.freshness.value
        since = now
        if known.state is State.LIVE:
            # Not by the wall clock: one that is set back must not silence us until it has caught up.
            if known.heard is not None and monotonic - known.heard < _HEARD_EVERY:
                return
            since = known.since or now
        self.freshness.publish(Freshness(state=State.LIVE, heard_at=now, heard=monotonic, since=since))

    def _failed(self, error: MeshError) -> None:
        known = self.freshness.value
        if isinstance(error, Misconfigured):
            state = State.STALLED
        else:
            state = State.STALE if known.heard_at else State.WAITING
        is_same = known.state is state
        if is_same and known.error != str(error):
            # A change of the state is told, with its reason, by whoever listens to all registries.
            log.warning("registry still fails", extra={"registry": self.name, "reason": str(error)})
        self.freshness.publish(
            Freshness(
                state=state,
                heard_at=known.heard_at,
                heard=known.heard,
                since=known.since if is_same else self._clock.now(),
                error=str(error),
                hint=error.hint,
            )
        )


def _first(errors: BaseExceptionGroup[MeshError]) -> MeshError:
    """Of what several tasks met when one thing broke."""
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, MeshError)
    return found
