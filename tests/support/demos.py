"""A demo as a user runs it, and what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from reconciler.demo.processes import ours


def demo_in(
    folder: Path, envoy: str, *words: str, timeout_s: float = 240
) -> subprocess.CompletedProcess[str]:
    """``meshwright demo`` of an example, once, with its folder in this one."""
    options = ("--once", "--output", "json", "--state", str(folder))
    environment = ours() | {"MESHWRIGHT_ENVOY": envoy}
    return subprocess.run(
        [sys.executable, "-m", "reconciler.cli", "demo", *words, *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        cwd=folder,
    )


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def running_in(folder: Path) -> list[str]:
    """The command lines of processes that have to do with a folder, by argument or by working directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            at = os.readlink(process / "cwd")  # noqa: PTH115 (a path that is gone is text all the same)
        except OSError:
            continue
        if str(folder) in line or at.startswith(str(folder)):
            found.append(line)
    return found
