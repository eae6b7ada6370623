"""When a registry that says "less" is believed (ours)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from mesh.durations import MILLION
from mesh.kinds.kind import Duration, Flag, Kind, PartsPerMillion, Unsigned
from mesh.kinds.rules import durations
from mesh.places import Place
from mesh.problems import Problem


class Guards(Kind):
    """Removals are held when more than ``share`` of more than ``above`` endpoints go within ``dwell``.

    Both hold for the endpoints of one service and for those of one registry. What is held is believed when
    the registry has said the same for the time of ``dwell``, or when an operator releases it; other settings
    than those that hold it change nothing about that.
    """

    disabled: Flag = False
    share: PartsPerMillion = 500_000
    above: Unsigned = 10
    dwell: Duration = timedelta(minutes=5)


def check(guards: Guards, where: Place, at: str) -> Iterator[Problem]:
    """What the settings show by themselves."""
    yield from durations(where, at, dwell=guards.dwell)
    if guards.share == MILLION and not guards.disabled:
        message = "nothing can lose more than 100 percent: nothing is ever held"
        yield where.problem("IST0133", f"{at}.share", message, "set disabled: true, or a smaller share")
