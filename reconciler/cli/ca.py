"""``meshwright ca``: the authority and its join tokens."""

from __future__ import annotations

from pathlib import Path

import click

from mesh.clock import SystemClock
from mesh.names import DEFAULT_DOMAIN
from reconciler import render_ca, tokens
from reconciler.cli.options import output_option, state_option

_directory = click.option(
    "--ca-directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="MESHWRIGHT_CA_DIRECTORY",
    metavar="DIR",
    help="The plugged-in CA, when the mesh uses one.",
)


@click.group()
def ca() -> None:
    """The mesh's certificate authority."""


@ca.command()
@state_option
@_directory
@click.option("--trust-domain", show_default=DEFAULT_DOMAIN, metavar="NAME", help="Whom it signs for.")
def init(state: Path, ca_directory: Path | None, trust_domain: str | None) -> None:
    """Make the authority (or check the one that is there) and print the hash of its root."""
    authority = tokens.open_ca(state, ca_directory, trust_domain, SystemClock())
    click.echo(render_ca.authority(authority))


@ca.command()
@state_option
@_directory
@click.option("--identity", metavar="NAMESPACE/ACCOUNT", help="Whom the machine may call itself.")
@click.option("--name", metavar="NAME", help="The machine's name: that of its WorkloadEntry.")
@click.option("--ttl", default="1h", show_default=True, help="How long the token can be used.")
@click.option("--list", "is_listing", is_flag=True, help="List the tokens instead.")
@click.option("--revoke", metavar="ID", help="Make an unused token worthless instead.")
@output_option
def token(
    state: Path,
    ca_directory: Path | None,
    identity: str | None,
    name: str | None,
    ttl: str,
    is_listing: bool,
    revoke: str | None,
    output: str,
) -> None:
    """Print a one-time join token for one machine. It is shown once."""
    desk = tokens.Desk(state, ca_directory, SystemClock())
    if is_listing:
        click.echo(tokens.render(desk.listed(), output))
    elif revoke:
        desk.revoke(revoke)
        click.echo(f"revoked {revoke}", err=True)
    else:
        click.echo(desk.create(identity, name, ttl))
