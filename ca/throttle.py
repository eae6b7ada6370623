"""Slows down who keeps failing to prove who it is.

Guessing a token is hopeless anyway (256 bits); this keeps the log readable and the signing key's
core free while someone tries. Counted per address, so that one of them locks out nobody else.
"""

from __future__ import annotations

from collections import OrderedDict

from mesh.clock import Clock
from mesh.errors import Refused

FAILURES_MAX = 10
WINDOW_SECONDS = 60.0
_ADDRESSES_MAX = 4096


class TooMany(Refused):
    """Too many failures from one address."""

    def __init__(self, message: str, *, hint: str, retry_after: int) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class Throttle:
    """Failures per address in the window that began with the first. Owned by the service that counts them."""

    def __init__(self, clock: Clock, failures_max: int = FAILURES_MAX) -> None:
        self._clock, self._failures_max = clock, failures_max
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def admit(self, address: str) -> None:
        """Let the address try. :raises TooMany: when it has failed too often."""
        began, count = self._failures.get(address, (0.0, 0))
        left = began + WINDOW_SECONDS - self._clock.monotonic()
        if count >= self._failures_max and left > 0:
            seconds = int(left) + 1
            raise TooMany(
                f"{count} failed attempts from {address} within {WINDOW_SECONDS:.0f} s",
                hint=f"try again in {seconds} s",
                retry_after=seconds,
            )

    def failed(self, address: str) -> None:
        now = self._clock.monotonic()
        began, count = self._failures.pop(address, (now, 0))
        self._failures[address] = (began, count + 1) if now < began + WINDOW_SECONDS else (now, 1)
        while len(self._failures) > _ADDRESSES_MAX:
            self._failures.popitem(last=False)
