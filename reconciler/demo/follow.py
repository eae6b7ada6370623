"""Follows the pushes that a user makes to the demo's repository, one line for each thing that happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from reconciler.demo.standing import Status


@dataclass(slots=True)
class Follower:
    """Remembers what was told already. Owned by the task that follows."""

    seen: str
    live: str
    held: str = ""
    refused: tuple[str, ...] = ()

    def tell(self, status: Status) -> Iterator[str]:
        """The lines that ``status`` adds to what was told."""
        if status.revision != self.seen:
            self.seen = status.revision
            yield f"{self.seen[:7]}  seen"
        if status.held:
            if self.held != status.revision:
                self.held = status.revision
                yield f"{self.held[:7]}  held; {status.held[0].accepted[:7]} stays live"
                yield from (f"         {problem}" for problem in status.problems)
        elif self.live != self.seen and status.is_live(self.seen, status.connected):
            self.live = status.live
            yield f"{self.live[:7]}  live on {status.acknowledged} of {status.connected}{_after(status)}"
        for refusal in status.refused:
            if refusal not in self.refused:
                yield f"{status.live[:7]}  {refusal}"
        self.refused = status.refused


async def lines(beats: AsyncIterator[Status], start: Status) -> AsyncIterator[str]:
    """What happens from ``start`` on."""
    follower = Follower(seen=start.revision, live=start.live)
    async for status in beats:
        for line in follower.tell(status):
            yield line


def _after(status: Status) -> str:
    if status.pushed_at_ms is None or status.acknowledged_at_ms is None:
        return ""
    return f", {status.acknowledged_at_ms - status.pushed_at_ms} ms after it was pushed to them"
