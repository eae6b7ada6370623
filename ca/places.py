"""How many calls each address has under way, so that no address takes what all of them share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ca.throttle import TooMany


class Places:
    """A few for each address. Who finds none is told at once and comes back. Owned by one service."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[str] = Counter()

    @contextmanager
    def one_for(self, address: str) -> Iterator[None]:
        """A place, until the block ends. :raises TooMany: when the address has none left."""
        if self._taken[address] >= self._most:
            raise TooMany(f"{self._most} calls from {address} are under way", hint="try again", retry_after=1)
        self._taken[address] += 1
        try:
            yield
        finally:
            self._taken[address] -= 1
            if not self._taken[address]:
                del self._taken[address]
