"""Finds what travels with the program: its examples and playbooks."""

from __future__ import annotations

from pathlib import Path

from mesh.errors import Misconfigured

_ROOT = Path(__file__).resolve().parents[2]


def find(name: str) -> Path:
    """A folder or file beside the rooms (a clone) or in the installed share (a wheel)."""
    for root in (_ROOT, _ROOT / "meshwright_share"):
        if (root / name).exists():
            return root / name
    raise Misconfigured(
        f"{name!r} is not where it should be, in {_ROOT}",
        hint="install Meshwright again; its examples and playbooks travel with it",
    )
