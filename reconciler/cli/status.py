"""``meshwright status``: how far the newest commit has got."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import click

from mesh.clock import SystemClock
from reconciler import render_status
from reconciler.asking import ask
from reconciler.cli.options import output_option, state_option
from reconciler.waiting import until_live


@click.command()
@state_option
@click.option("--wait", "is_waiting", is_flag=True, help="Return when the newest commit is live everywhere.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long --wait waits.",
)
@output_option
def status(state: Path, is_waiting: bool, timeout: float, output: str) -> None:
    """Tell what is served, what is held and why, and on how many proxies it is live."""
    if is_waiting:
        answer, is_live = until_live(state, timedelta(seconds=timeout), SystemClock())
    else:
        answer, is_live = ask(state, "/status"), True
    click.echo(json.dumps(answer, indent=2) if output == "json" else render_status.status(answer))
    sys.exit(0 if is_live else 1)
