"""The command line: arguments in, one call, printing, exit code. One module per group of commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import yaml

from mesh.errors import MeshError, Misconfigured
from reconciler.cli.ca import ca
from reconciler.cli.check import check
from reconciler.cli.demo import demo
from reconciler.cli.proxies import proxies, proxy
from reconciler.cli.serve import serve
from reconciler.cli.status import status


class Commands(click.Group):
    """Shows our own errors as a line and a hint. Anything else is a bug and keeps its trace."""

    def invoke(self, ctx: click.Context) -> object:
        """Exit codes are DESIGN 3.2's."""
        try:
            return super().invoke(ctx)
        except MeshError as error:
            click.echo(f"error: {error}", err=True)
            if error.hint:
                click.echo(f"hint: {error.hint}", err=True)
            ctx.exit(error.exit_code)


def _settings_file(ctx: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    """Options of every command from one YAML file; environment and flags come before it."""
    if path is None:
        return
    said: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(said, dict):
        raise Misconfigured(
            f"{path} is not a mapping of settings", hint="write one `name: value` per line: `repo: …`"
        )
    values = {str(key).replace("-", "_"): value for key, value in said.items()}
    ctx.default_map = dict.fromkeys(main.commands, values) | {"ca": dict.fromkeys(ca.commands, values)}


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="meshwright")
@click.option(
    "--settings",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="MESHWRIGHT_SETTINGS",
    callback=_settings_file,
    is_eager=True,
    expose_value=False,
    metavar="FILE",
    help="A YAML file with options: `repo: …`, `state: …`.",
)
def main() -> None:
    """A service mesh for machines, driven by git push."""


for command in (ca, check, demo, proxies, proxy, serve, status):
    main.add_command(command)
