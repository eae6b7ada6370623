"""``python -m reconciler.cli``: the command line without its script."""

from __future__ import annotations

from reconciler.cli import main

main(prog_name="meshwright")
