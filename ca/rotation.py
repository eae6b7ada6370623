"""When a key is replaced. Arithmetic only.

One rule for what can be replaced without anyone learning something first: a leaf, and an
intermediate below the same root, are renewed at half of their life, as by Istio's agent. The
program on a machine knows the rule too and spreads it by one percent. A root is not renewed here.
"""

from __future__ import annotations

from datetime import datetime, timedelta


def half_life(not_before: datetime, not_after: datetime) -> datetime:
    """When to renew."""
    return not_before + (not_after - not_before) / 2


def wait_until(moment: datetime, now: datetime, *, longest: timedelta = timedelta(hours=1)) -> timedelta:
    """How long to sleep towards a moment of the wall clock.

    Never longer than ``longest``, because a wall clock that is set forward wakes nobody.
    """
    return min(max(moment - now, timedelta(0)), longest)
