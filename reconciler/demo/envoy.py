"""Finds the Envoy that the demo runs."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from mesh.errors import Misconfigured
from reconciler.demo.processes import Processes

# Where `make` puts it, in an environment of its own: its wheel and ours would clash.
_IN_CLONE = Path(__file__).resolve().parents[2] / ".cache" / "envoy" / "bin" / "envoy"
_VERSION = re.compile(r"version: \w+/([\d.]+)")


def find() -> Path:
    """``MESHWRIGHT_ENVOY``, else the one that ``make`` brought, else the one on the path."""
    if named := os.environ.get("MESHWRIGHT_ENVOY"):
        if not os.access(named, os.X_OK):
            raise Misconfigured(
                f"MESHWRIGHT_ENVOY names {named!r}, which is not a program", hint="name an Envoy binary"
            )
        return Path(named).resolve()
    if _IN_CLONE.exists():
        return _IN_CLONE.resolve()
    if found := shutil.which("envoy"):
        return Path(found)
    raise Misconfigured(
        "no Envoy on this machine", hint="run 'make demo', which brings one, or name one in MESHWRIGHT_ENVOY"
    )


async def version(binary: Path, processes: Processes) -> str:
    """``1.40.0``."""
    said = await processes.run("envoy --version", binary, "--version", folder=Path("/"), timeout_s=20)
    if not (found := _VERSION.search(said.decode())):
        raise Misconfigured(
            f"{str(binary)!r} does not say which Envoy it is", hint="name an Envoy binary in MESHWRIGHT_ENVOY"
        )
    return found[1]
