"""``meshwright check``: everything that is wrong with a folder of configuration."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from reconciler import reading, render
from reconciler.cli.options import output_option


@click.command()
@click.argument("folder", metavar="PATH", type=click.Path(path_type=Path))
@click.option("--strict", "is_strict", is_flag=True, help="Warnings count as errors.")
@output_option
def check(folder: Path, is_strict: bool, output: str) -> None:
    """Report every problem in the mesh config under PATH."""
    report = reading.check_folder(folder, is_strict=is_strict)
    click.echo(render.problems(report, output))
    sys.exit(report.exit_code)
