"""``meshwright proxies`` and ``meshwright proxy``: who is connected, and what each was sent."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import click

from reconciler import render_status
from reconciler.admin import TYPES
from reconciler.asking import ask
from reconciler.cli.options import output_option, state_option


@click.command()
@state_option
@output_option
def proxies(state: Path, output: str) -> None:
    """List the connected proxies and how far each type of configuration has got."""
    answer = ask(state, "/proxies")
    click.echo(json.dumps(answer, indent=2) if output == "json" else render_status.proxies(answer))


@click.command()
@click.argument("name", metavar="NAME")
@click.argument("kind", metavar="KIND", type=click.Choice(list(TYPES)))
@state_option
@output_option
def proxy(name: str, kind: str, state: Path, output: str) -> None:
    """Show what proxy NAME (as in `meshwright proxies`) was sent, and the lines it came from.

    KIND is one of clusters, endpoints, listeners, routes.
    """
    answer = ask(state, f"/proxies/{quote(name, safe='')}/{kind}")
    click.echo(json.dumps(answer, indent=2) if output == "json" else render_status.resources(answer, kind))
