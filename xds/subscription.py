"""What one stream wants of one resource type, with the stream left out.

The rules are those of Envoy, "xDS protocol", sections "How the client specifies what resources to
return" and "Unsubscribing from resources", for the delta variant. An :class:`Interest` is a value;
:func:`heard` makes the next one and says what the words obliged us to. Nothing here knows what was sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xds import envoy

WILDCARD = "*"

# Envoy, "xDS protocol": an empty first request means everything, for these two types alone.
_WILDCARD_BY_SILENCE = frozenset({envoy.CLUSTER, envoy.LISTENER})

NO_NAMES: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Interest:
    """The names a stream is subscribed to. ``names`` are those it named itself, also beside a wildcard."""

    wildcard: bool
    names: frozenset[str]

    def of(self, names: frozenset[str]) -> frozenset[str]:
        """Those of ``names`` that the stream wants to hear of."""
        return names if self.wildcard else names & self.names


EVERYTHING = Interest(wildcard=True, names=NO_NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What one request changed.

    ``answer``: names that must be answered, as they are or as removed, even if nothing changed: Envoy
    relies on it while it warms. ``dropped``: names the stream has let go. ``widened``: it wants
    everything from now on, and did not before. ``narrowed``: it wanted everything until now.
    """

    answer: frozenset[str] = NO_NAMES
    dropped: frozenset[str] = NO_NAMES
    widened: bool = False
    narrowed: bool = False


def heard(
    before: Interest | None, type_url: str, subscribe: Iterable[str], unsubscribe: Iterable[str]
) -> tuple[Interest, Asked]:
    """The interest after a request, and what the request asked. ``before`` is None on the first of a type."""
    added, dropped = frozenset(subscribe), frozenset(unsubscribe)
    if before is None:
        silent = not added and type_url in _WILDCARD_BY_SILENCE
        before, was_wildcard = Interest(wildcard=silent, names=NO_NAMES), False
    elif not added and not dropped:
        return before, Asked()
    else:
        was_wildcard = before.wildcard
    # A name that is let go and wanted in one breath is wanted: the client cannot mean nothing by it.
    gone = dropped - added - {WILDCARD}
    wildcard = (before.wildcard and WILDCARD not in dropped) or WILDCARD in added
    after = Interest(wildcard=wildcard, names=(before.names - gone) | (added - {WILDCARD}))
    # Under a wildcard the client cannot know whether a name it let go is still in the set, and waits
    # to be told ("ambiguous" in Envoy's delta_subscription_state.cc).
    doubtful = before.names & gone if wildcard else NO_NAMES
    return after, Asked(
        answer=(added - {WILDCARD}) | doubtful,
        dropped=gone - doubtful,
        widened=wildcard and not was_wildcard,
        narrowed=was_wildcard and not wildcard,
    )
