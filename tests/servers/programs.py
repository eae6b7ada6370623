"""The programs of the test servers, found as the demo finds its own; who lacks one is skipped by name."""

from __future__ import annotations

import subprocess
from functools import cache as remembered
from pathlib import Path

from reconciler.demo.hybrid.programs import cache, find, version

__all__ = ["cache", "find", "version_of"]


@remembered
def version_of(binary: Path) -> tuple[int, ...]:
    """``(1, 22, 5)``, by its own word."""
    said = subprocess.run([binary, "version"], check=True, capture_output=True, text=True, timeout=20).stdout
    return version(said, binary)
