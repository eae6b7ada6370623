"""``python -m tests.bench``: measure the control plane on this machine. See docs/benchmark.md."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import click

from mesh.clock import SystemClock
from mesh.errors import MeshError
from tests.bench.meshes import Size
from tests.bench.run import Plan, run

_DEFAULT = Size()


@click.command()
@click.option("--services", default=_DEFAULT.services, show_default=True)
@click.option("--endpoints", default=_DEFAULT.endpoints, show_default=True, help="Of each service.")
@click.option("--workloads", default=_DEFAULT.workloads, show_default=True, help="Services with proxies.")
@click.option("--namespaces", default=_DEFAULT.namespaces, show_default=True)
@click.option("--streams", default=_DEFAULT.streams, show_default=True, help="Proxies that connect.")
@click.option("--rounds", default=20, show_default=True, help="Commits of each kind.")
@click.option("--limit", default=120, show_default=True, help="Seconds that any one step may take.")
@click.option("--keep", type=click.Path(path_type=Path), help="Work in this new folder and keep it.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def main(*, rounds: int, limit: int, keep: Path | None, output: str, **size: int) -> None:
    """Start the control plane with a generated mesh and a fleet of streams, and measure it."""
    try:
        plan = Plan(size=Size(**size), rounds=rounds, limit=timedelta(seconds=limit))
        with tempfile.TemporaryDirectory(prefix="meshwright-bench-") as temporary:
            folder = keep or Path(temporary)
            folder.mkdir(parents=True, exist_ok=keep is None)
            report = asyncio.run(run(plan, folder, SystemClock()))
    except MeshError as error:
        click.echo(f"error: {error}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        sys.exit(error.exit_code)
    click.echo(report.as_json() if output == "json" else report.as_table())
    sys.exit(1 if report.broken else 0)


if __name__ == "__main__":
    main()
