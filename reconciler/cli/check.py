"""``meshwright check``: everything that is wrong with a folder of configuration."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from reconciler import reading, render
from reconciler.cli.options import output_option


@click.command()
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@click.option("--strict", "is_strict", is_flag=True, help="Warnings count as errors.")
@output_option
def check(path: Path, is_strict: bool, output: str) -> None:
    """Report every problem in the mesh config under PATH.

    PATH is a folder, or one file, which is read as if there were no others.
    """
    report = reading.check_path(path, is_strict=is_strict)
    click.echo(render.problems(report, output))
    sys.exit(report.exit_code)
