"""What makes worlds of a mesh that has no registry but its repository."""

from __future__ import annotations

import asyncio

from mesh.clock import Clock
from mesh.latest import Latest
from reconciler.worlds import Worlds
from registries.roster import Roster


def worlds_of(clock: Clock, roster: Latest[Roster] | None = None) -> Worlds:
    ready = asyncio.Event()
    ready.set()
    return Worlds(clock, roster or Latest(()), Latest(()), ready)
