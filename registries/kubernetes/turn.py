"""How long one task may keep the loop."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from mesh.clock import Clock, breathe

TURN: Final = timedelta(milliseconds=5)


class Turn:
    """For work of many small steps whose cost is not known: a slice has one endpoint, or a thousand."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = 0.0

    async def pass_on(self) -> None:
        """Let the others have their turn, if ours was long enough."""
        if self._clock.monotonic() >= self._until:
            await breathe()
            self._until = self._clock.monotonic() + TURN.total_seconds()
