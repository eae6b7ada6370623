"""From an accepted reading to the world: services from the registries, trust from the CA.

Making a catalogue of thousands of workloads takes longer than the loop may be kept, so it runs in a thread
of its own; the recall it uses belongs to that thread. Newest wins: a reading that was replaced while an
older one was worked on is the only one worked on next.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import NoReturn

from mesh.clock import Clock
from mesh.interning import Recall
from mesh.latest import Latest
from mesh.services import Catalogue
from mesh.world import Trust, World
from reconciler.acceptance import Accepted
from reconciler.reading import Reading
from registries.entries import catalogue
from registries.roster import Roster

log = logging.getLogger(__name__)


class Worlds:
    """Makes worlds of what was accepted and whom the mesh trusts. Owned by :meth:`run`'s task."""

    def __init__(self, clock: Clock, roster: Latest[Roster]) -> None:
        self._clock = clock
        self._roster = roster
        self._recall = Recall()
        self.accepted: Latest[Accepted[Reading] | None] = Latest(None)
        self.trust: Latest[Trust | None] = Latest(None)
        self.latest: Latest[World] = Latest(World())
        self.is_first_made = asyncio.Event()
        self.seen_at: datetime | None = None

    def offer(self, accepted: Accepted[Reading]) -> None:
        """Take what was accepted. A commit that is held as a whole is not seen here: its revision is not."""
        before = self.accepted.value
        if before is None or before.revision != accepted.revision:
            self.seen_at = self._clock.now()
        self.accepted.publish(accepted)

    async def run(self) -> NoReturn:
        """Publish a world whenever a part of it is newer."""
        seen = (0, 0, 0)
        while True:
            await self._newer(*seen)
            seen = self.accepted.version, self.trust.version, self._roster.version
            accepted, trust = self.accepted.value, self.trust.value
            if accepted is None or trust is None:
                continue
            began = self._clock.monotonic()
            services = await asyncio.to_thread(self._services, accepted.reading, self._roster.value)
            self.latest.publish(
                World(
                    revision=accepted.revision,
                    config=accepted.reading.config,
                    services=services,
                    trust=trust,
                )
            )
            self.is_first_made.set()
            log.info(
                "world published",
                extra={
                    "revision": accepted.revision[:7],
                    "services": len(services.services),
                    "workloads": len(services.workloads),
                    "problems": len(accepted.problems),
                    "took_ms": round((self._clock.monotonic() - began) * 1000),
                },
            )

    async def _newer(self, accepted: int, trust: int, roster: int) -> None:
        waits = [
            asyncio.ensure_future(self.accepted.newer_than(accepted)),
            asyncio.ensure_future(self.trust.newer_than(trust)),
            asyncio.ensure_future(self._roster.newer_than(roster)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _services(self, reading: Reading, roster: Roster) -> Catalogue:
        is_crowded = self._recall.is_crowded
        if is_crowded:
            self._recall.begin_generation()
        made = catalogue(reading.config, self._recall, roster)
        if is_crowded:
            self._recall.end_generation()
        return made
