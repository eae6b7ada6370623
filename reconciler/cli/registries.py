"""``meshwright registries``: how fresh each registry is, what is held of it, and the word to believe it."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import click
from click.core import ParameterSource

from reconciler import render_registries
from reconciler.asking import ask
from reconciler.cli.options import output_option, state_option


@click.group(invoke_without_command=True)
@state_option
@output_option
@click.pass_context
def registries(ctx: click.Context, state: Path, output: str) -> None:
    """Show how fresh each registry is and what is held of it."""
    if ctx.invoked_subcommand is None:
        answer = ask(state, "/registries")
        click.echo(json.dumps(answer, indent=2) if output == "json" else render_registries.registries(answer))


@registries.command()
@click.argument("name", metavar="NAME")
@state_option
@output_option
@click.pass_context
def release(ctx: click.Context, name: str, state: Path, output: str) -> None:
    """Believe what is held of registry NAME, and wait for it no longer.

    NAME is as in `meshwright registries`, or git for what a commit removes.
    """
    if ctx.get_parameter_source("state") is ParameterSource.DEFAULT and ctx.parent is not None:
        state = ctx.parent.params["state"]
    answer = ask(state, f"/registries/{quote(name, safe='')}/release", method="POST")
    click.echo(json.dumps(answer, indent=2) if output == "json" else render_registries.released(answer))
