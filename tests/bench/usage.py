"""What a process has used, as the kernel counts it. Linux, proc(5)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mesh.errors import Unavailable

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """CPU time in seconds since the process began; ``children`` are those it has waited for."""

    cpu: float
    children: float
    resident_mb: float
    resident_max_mb: float


def usage(pid: int) -> Usage:
    """Of a process that runs."""
    folder = Path("/proc") / str(pid)
    try:
        # The name of the program stands in parentheses and may contain spaces: the rest comes after it.
        times = (folder / "stat").read_text().rpartition(")")[2].split()[11:15]
        said = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        resident, highest = (int(said[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    except (OSError, KeyError) as error:
        raise Unavailable(f"process {pid} is gone", hint="see the log of the control plane") from error
    user, system, child_user, child_system = (int(time) / _TICKS for time in times)
    return Usage(
        cpu=user + system,
        children=child_user + child_system,
        resident_mb=resident,
        resident_max_mb=highest,
    )
