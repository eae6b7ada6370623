"""The command line: arguments in, one call, printing, exit code. One module per group of commands."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from mesh.errors import MeshError
from reconciler.cli import settings_file

# Imported when asked for: a command that makes a token need not know how to serve.
COMMANDS = (
    "bootstrap",
    "ca",
    "check",
    "demo",
    "enrol",
    "inject",
    "proxies",
    "proxy",
    "registries",
    "serve",
    "status",
)
_MODULES = {"proxy": "proxies"}


class Commands(click.Group):
    """Shows our own errors as a line and a hint. Anything else is a bug and keeps its trace."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module = import_module(f"reconciler.cli.{_MODULES.get(cmd_name, cmd_name)}")
            found: click.Command = getattr(module, cmd_name)
            return found
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A mistyped command is answered with the nearest one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = get_close_matches(args[0], COMMANDS, n=1)
            if not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean '{near[0]}'?", ctx) from error

    def invoke(self, ctx: click.Context) -> object:
        """Exit codes are DESIGN 3.2's."""
        try:
            return super().invoke(ctx)
        except MeshError as error:
            raise _told(error) from error

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The settings file is read here, before there is anything to invoke."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except MeshError as error:
            raise _told(error) from error


def _told(error: MeshError) -> click.exceptions.Exit:
    """Says what is wrong; the exit that follows from it."""
    click.echo(f"error: {error}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
    return click.exceptions.Exit(error.exit_code)


def _settings_file(ctx: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    if path is not None:
        ctx.default_map = settings_file.read(path, main)


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
