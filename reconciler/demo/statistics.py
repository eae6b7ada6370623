"""How many of a number of requests may go one way before chance is no explanation. Arithmetic only."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, lgamma, log

# A demo judges about ten shares. Each may be wrong by chance once in ten million runs, so that a demo
# in which everything works fails by chance less than once in a million.
DOUBT = 1e-7


@dataclass(frozen=True, slots=True)
class Bounds:
    """The counts from ``low`` to ``high``, both included."""

    low: int
    high: int

    def __contains__(self, count: int) -> bool:
        return self.low <= count <= self.high


def bounds(requests: int, share: float, doubt: float = DOUBT) -> Bounds:
    """The counts that are believed: outside of them lies a probability of ``doubt`` at most.

    Each request is an independent choice (Envoy draws a random number per request), so the count is
    binomial; half of the doubt is given to either tail.
    """
    if share <= 0:
        return Bounds(0, 0)
    if share >= 1:
        return Bounds(requests, requests)
    return Bounds(_low(requests, share, doubt / 2), requests - _low(requests, 1 - share, doubt / 2))


def _low(requests: int, share: float, doubt: float) -> int:
    """The largest count below which lies a probability of ``doubt`` at most."""
    below = 0.0
    for count in range(requests + 1):
        below += _probability(count, requests, share)
        if below > doubt:
            return count
    return requests


def _probability(count: int, requests: int, share: float) -> float:
    # In logarithms: the binomial coefficient of 100 out of 200 has sixty digits.
    ways = lgamma(requests + 1) - lgamma(count + 1) - lgamma(requests - count + 1)
    return exp(ways + count * log(share) + (requests - count) * log(1 - share))
