"""What traffic a step expects, and whether the pages that came back are such traffic."""

from __future__ import annotations

import statistics as averages
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconciler.demo.requests import Page
from reconciler.demo.statistics import bounds

_COLOURS = ("none", "black", "red")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests of one user, by the version of reviews that answers them.

    ``asker`` is what to call the user where the name does not do. ``shares`` are weights; ``ratings``
    what each version shows of ratings (see ``Page.ratings``). With ``delay_ms`` each request takes at
    least so long, or, unless ``is_delayed``, half of them less than half of it.
    """

    shares: Mapping[str, int]
    ratings: Mapping[str, str]
    user: str = ""
    asker: str = ""
    requests: int = 200
    delay_ms: int = 0
    is_delayed: bool = False

    def __str__(self) -> str:
        total = sum(self.shares.values())
        parts = [f"{version} {100 * weight / total:.0f} %" for version, weight in self.shares.items()]
        text = ", ".join(parts if len(parts) > 1 else self.shares)
        failing = [
            f"{version} without ratings ({shown})"
            for version, shown in self.ratings.items()
            if version in self.shares and shown not in _COLOURS
        ]
        slow = [f"{self.delay_ms} ms late"] if self.is_delayed else []
        return self._for("; ".join([text, *failing, *slow]))

    def observed(self, pages: Sequence[Page]) -> str:
        """What came back, in the words of the expectation."""
        versions = Counter(page.version for page in pages if not page.failure)
        counts = ", ".join(f"{version} {count}" for version, count in sorted(versions.items()))
        failing = Counter((page.version, page.ratings) for page in pages if page.ratings not in _COLOURS)
        failed = Counter(page.failure for page in pages if page.failure)
        parts = [
            f"{counts or 'none'} of {len(pages)}",
            *(f"{version} without ratings ({shown}) {n} times" for (version, shown), n in failing.items()),
            *(f"{count} failed: {why}" for why, count in failed.items()),
        ]
        if self.delay_ms:
            parts.append(f"median {averages.median(page.took_ms for page in pages):.0f} ms")
        return self._for("; ".join(parts))

    def holds(self, pages: Sequence[Page]) -> bool:
        """Whether ``pages`` are what was expected, but for chance (:mod:`reconciler.demo.statistics`)."""
        return (
            not any(page.failure for page in pages)
            and self._shares_hold(pages)
            and all(page.ratings == self.ratings.get(page.version) for page in pages)
            and self._times_hold(pages)
        )

    def _shares_hold(self, pages: Sequence[Page]) -> bool:
        versions = Counter(page.version for page in pages)
        total = sum(self.shares.values())
        return versions.keys() <= self.shares.keys() and all(
            versions[version] in bounds(len(pages), weight / total) for version, weight in self.shares.items()
        )

    def _times_hold(self, pages: Sequence[Page]) -> bool:
        if not self.delay_ms:
            return True
        # The median of those who are not delayed: a busy machine makes single ones late.
        if not self.is_delayed:
            return averages.median(page.took_ms for page in pages) < self.delay_ms / 2
        # Envoy's timers count whole milliseconds.
        return min(page.took_ms for page in pages) >= self.delay_ms - 1

    def _for(self, text: str) -> str:
        asker = self.asker or self.user
        return f"{asker}: {text}" if asker else text
