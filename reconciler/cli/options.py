"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

DEFAULT_STATE = Path("/var/lib/meshwright")

state_option = click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="MESHWRIGHT_STATE",
    default=DEFAULT_STATE,
    show_default=True,
    metavar="DIR",
    help="The control plane's state directory.",
)

output_option = click.option(
    "--output",
    type=click.Choice(["text", "json"]),
    envvar="MESHWRIGHT_OUTPUT",
    default="text",
    show_default=True,
    help="For people, or for programs.",
)
