"""``meshwright enrol``: the program beside a Pod's Envoy."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from mesh.clock import SystemClock
from mesh.proxies import Interception
from reconciler import logs
from reconciler.cli.options import (
    admin_port_option,
    http_proxy_port_option,
    interception_option,
    trust_domain_option,
)
from reconciler.enrolling import start


@click.command()
@click.argument("name", metavar="NAME.NAMESPACE")
@click.option("--address", required=True, metavar="IP", help="The address of the Pod.")
@click.option(
    "--server",
    "servers",
    required=True,
    multiple=True,
    metavar="HOST:PORT",
    help="Where tokens become certificates; the port is 15011 unless given (may be given again).",
)
@click.option(
    "--control-plane",
    required=True,
    multiple=True,
    metavar="HOST:PORT",
    help="Where Envoy connects to; the port is 15012 unless given (may be given again).",
)
@click.option(
    "--token-file",
    required=True,
    metavar="FILE",
    type=click.Path(readable=False, path_type=Path),  # we say ourselves why it cannot be read
    help="A ServiceAccount token of the Pod with audience meshwright-ca; read anew each time.",
)
@click.option(
    "--dir",
    "directory",
    required=True,
    metavar="DIR",
    type=click.Path(file_okay=False, readable=False, path_type=Path),
    help="Where Envoy finds its bootstrap, its key and its certificate.",
)
@click.option(
    "--ca-root",
    envvar="MESHWRIGHT_CA_ROOT",
    required=True,
    metavar="FILE",
    help="The root of the mesh's CA: a file, or the PEM itself.",
)
@trust_domain_option
@click.option("--cluster", default="", metavar="NAME", help="The Pod's cluster, where there are several.")
@interception_option
@http_proxy_port_option
@admin_port_option
@click.option(
    "--probes",
    envvar="MESHWRIGHT_PROBES",
    default="",
    metavar="JSON",
    help="As meshwright inject writes them.",
)
@click.option(
    "--watch", "is_watching", is_flag=True, help="Stay, and renew at half of the certificate's life."
)
def enrol(http_proxy_port: int | None, interception: str, is_watching: bool, **options: object) -> None:
    """Get a Pod its certificate and its Envoy's bootstrap, by its ServiceAccount token."""
    logs.set_up()
    told = start.Told(
        http_proxy_port=http_proxy_port or 0,
        interception=Interception(interception),
        **options,  # type: ignore[arg-type]
    )
    asyncio.run(start.run(told, SystemClock(), is_watching=is_watching))
