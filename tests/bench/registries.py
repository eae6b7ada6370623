"""``python -m tests.bench.registries consul|kubernetes``: a registry in which everything changes.

The server, the control plane and the Envoy are real, and all on this machine. See docs/benchmark.md.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from mesh.clock import SystemClock
from mesh.errors import MeshError
from tests.bench.report import machine
from tests.bench.run import progress
from tests.servers.consul import ConsulAgent
from tests.servers.kubernetes import KubernetesApi
from tests.support import churn_consul, churn_kubernetes
from tests.support.churn import Found, Source, churn, until_settled
from tests.support.churn_stage import raised


@contextmanager
def consul(folder: Path) -> Iterator[tuple[Source, dict[str, Any]]]:
    """A full agent, and the settings of its registry."""
    with ConsulAgent(folder / "consul") as agent:
        source = churn_consul.ConsulSource(agent)
        source.fill()
        yield source, churn_consul.registry(agent)


@contextmanager
def kubernetes(folder: Path) -> Iterator[tuple[Source, dict[str, Any]]]:
    """A full cluster, and the settings of its registry."""
    with KubernetesApi(folder / "cluster") as cluster:
        source = churn_kubernetes.KubernetesSource(cluster, cluster.namespace())
        source.fill()
        yield source, source.registry(folder / "keys")


SERVERS = {"consul": consul, "kubernetes": kubernetes}
SERVICES = churn_consul.SERVICES


async def run(source: Source, registry: dict[str, Any], folder: Path, span: timedelta) -> Found:
    """Churn it for so long, and compare the end with what the server holds."""
    progress("raising the mesh")
    async with raised(folder, registry, SERVICES) as stage:
        progress(f"changing things for {span.total_seconds():g} s")
        found = await churn(stage, source, span)
        progress("reading the server afresh")
        await until_settled(stage, await asyncio.to_thread(source.expected))
    return found


@click.command()
@click.argument("server", type=click.Choice(list(SERVERS)))
@click.option("--seconds", default=60, show_default=True, help="How long things change.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def main(*, server: str, seconds: int, output: str) -> None:
    """Measure how far behind the registry a real Envoy is while everything changes."""
    began = SystemClock().monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="meshwright-bench-") as temporary:
            progress(f"filling a {server} server")
            with SERVERS[server](Path(temporary)) as (source, registry):
                found = asyncio.run(run(source, registry, Path(temporary), timedelta(seconds=seconds)))
    except MeshError as error:
        click.echo(f"error: {error}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        sys.exit(error.exit_code)
    progress(f"took {SystemClock().monotonic() - began:.0f} s in all")
    said = {"server": server, "machine": machine(), **asdict(found)}
    click.echo(json.dumps(said, indent=2) if output == "json" else str(found))
    sys.exit(1 if found.missed else 0)


if __name__ == "__main__":
    main()
