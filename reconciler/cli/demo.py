"""``meshwright demo``: a mesh on this machine, with real proxies."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from mesh.clock import SystemClock
from reconciler.cli.options import output_option
from reconciler.demo import report, run
from reconciler.demo.plays import PLAYS


@click.command()
@click.argument("example", type=click.Choice(sorted(PLAYS)), default="bookinfo")
@click.option("--once", "is_once", is_flag=True, help="End after the last step.")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Make the demo's folder in DIR instead of among the temporary files.",
    metavar="DIR",
)
@output_option
def demo(example: str, is_once: bool, state: Path | None, output: str) -> None:
    """Run an example with real Envoys, and push commits that change its traffic."""

    def progress(text: str) -> None:
        click.echo(text, err=True)

    is_json = output == "json"
    audience = run.Audience(
        progress=progress,
        row=(lambda _: None) if is_json else report.Table(click.echo).add,
        line=progress if is_json else click.echo,
    )
    shown = asyncio.run(run.demo(PLAYS[example], state, SystemClock(), audience, is_once=is_once))
    if is_json:
        click.echo(report.as_json(shown))
    elif not is_once:
        click.echo(report.verdict(shown))
    sys.exit(shown.exit_code)
