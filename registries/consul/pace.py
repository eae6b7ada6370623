"""How patient one connection to Consul is, and how eager.

``wait`` and ``limit`` together say how old a word of Consul may be: an idle agent answers each blocking
query after ``wait`` and a sixteenth, and one that hangs is given up ``limit`` later: within 35 s.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How patient, and how eager."""

    wait: timedelta = timedelta(seconds=22)
    """How long a blocking query blocks; also how long a silent agent passes for a quiet one."""
    window: timedelta = timedelta(milliseconds=100)
    """Between two answers of one query: what changes meanwhile is one change."""
    nodes_window: timedelta = timedelta(seconds=5)
    """The same for nodes: every registration moves their index, and they hardly ever change."""
    limit: timedelta = timedelta(seconds=10)
    """How long an answer may take, on top of what it was asked to wait."""
    probes_per_second: float = 1000
    resync: timedelta = timedelta(minutes=5)
    """How often all services are swept when nothing was heard, in case that we misunderstand Consul."""
    backoff_first: timedelta = timedelta(milliseconds=500)
    backoff_max: timedelta = timedelta(seconds=30)

    @property
    def silence_max(self) -> timedelta:
        """After how long without a word Consul is taken to hang."""
        return patience(self.wait) + self.limit + self.window

    def backoff(self, failures: int, chance: float) -> timedelta:
        """Doubled with each failure after the first; ``chance`` in [0, 1) takes away up to half of it."""
        whole = min(self.backoff_max, self.backoff_first * (1 << min(failures - 1, 16)))
        return whole * (1 - chance / 2)


AT_LEISURE = Pace()


def patience(wait: timedelta) -> timedelta:
    """How long Consul really waits: it adds up to a sixteenth, so that not all come at once."""
    return wait * 17 / 16
