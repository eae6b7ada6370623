"""From an accepted reading to the world: services from the registries, trust from the CA.

Making a catalogue of thousands of workloads takes longer than the loop may be kept, so it runs in a thread
of its own; what it remembers belongs to that thread. Newest wins: a reading that was replaced while an
older one was worked on is the only one worked on next, and so it is with the answers of registries.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Any, NoReturn

from mesh.clock import Clock
from mesh.config import Config
from mesh.interning import Recall
from mesh.latest import Latest
from mesh.services import Catalogue
from mesh.world import Trust, World
from reconciler.acceptance import Accepted
from reconciler.reading import Reading
from registries.answers import Answer
from registries.catalogues import Catalogues
from registries.entries import declared
from registries.networks import Networks
from registries.roster import Roster
from registries.waits import first

log = logging.getLogger(__name__)


class Worlds:
    """Makes worlds of what was accepted and whom the mesh trusts. Owned by :meth:`run`'s task."""

    def __init__(
        self,
        clock: Clock,
        roster: Latest[Roster],
        answers: Latest[tuple[Answer, ...]],
        are_registries_ready: asyncio.Event,
    ) -> None:
        self._clock = clock
        self._roster = roster
        self._answers = answers
        self._are_registries_ready = are_registries_ready
        self._recall = Recall()
        self._catalogues = Catalogues()
        self._networks = Networks()
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

    async def caught_up(self) -> None:
        """Return when the newest world has the trust that was published last."""
        while self.latest.value.trust != self.trust.value:
            await self.latest.newer_than(self.latest.version)

    async def run(self) -> NoReturn:
        """Publish a world whenever a part of it is newer; none before the registries are ready."""
        await self._are_registries_ready.wait()
        sources: tuple[Latest[Any], ...] = self.accepted, self.trust, self._roster, self._answers
        seen = [-1] * len(sources)
        while True:
            await first(*map(Latest.newer_than, sources, seen))
            seen = [source.version for source in sources]
            accepted, trust = self.accepted.value, self.trust.value
            if accepted is None or trust is None:
                continue
            began = self._clock.monotonic()
            services = await asyncio.to_thread(
                self._services, accepted.reading.config, self._roster.value, self._answers.value
            )
            is_news = accepted.revision != self.latest.value.revision
            self.latest.publish(
                World(
                    revision=accepted.revision,
                    config=accepted.reading.config,
                    services=services,
                    trust=trust,
                )
            )
            self.is_first_made.set()
            log.log(
                # Of registries there is news all the time; what a commit brings is the story of the mesh.
                logging.INFO if is_news else logging.DEBUG,
                "world published",
                extra={
                    "revision": accepted.revision[:7],
                    "services": len(services.services),
                    "workloads": len(services.workloads),
                    "problems": len(accepted.problems),
                    "took_ms": round((self._clock.monotonic() - began) * 1000),
                },
            )

    def _services(self, config: Config, roster: Roster, answers: tuple[Answer, ...]) -> Catalogue:
        is_crowded = self._recall.is_crowded
        if is_crowded:
            self._recall.begin_generation()
        ours = declared(config, self._recall, roster)
        if is_crowded:
            self._recall.end_generation()
        shares = {one.name: one.share_hosts for one in config.mesh.registries if one.share_hosts}
        return self._networks.catalogue(self._catalogues, (*answers, ours), shares, config.mesh)
