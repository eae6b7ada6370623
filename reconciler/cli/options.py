"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

from mesh.names import DEFAULT_DOMAIN
from mesh.proxies import Interception

DEFAULT_STATE = Path("/var/lib/meshwright")
PORT = click.IntRange(1, 65535)

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

trust_domain_option = click.option(
    "--trust-domain", default=DEFAULT_DOMAIN, show_default=True, help="Whom the mesh's CA signs for."
)

interception_option = click.option(
    "--interception",
    type=click.Choice([str(mode) for mode in Interception]),
    default=str(Interception.REDIRECT),
    show_default=True,
    help="How the application's traffic reaches Envoy; NONE: by addresses and the HTTP proxy port.",
)

http_proxy_port_option = click.option(
    "--http-proxy-port", type=PORT, metavar="PORT", help="An HTTP proxy for the application, on 127.0.0.1."
)

admin_port_option = click.option(
    "--admin-port",
    type=PORT,
    default=15000,
    show_default=True,
    metavar="PORT",
    help="Envoy's own, on 127.0.0.1.",
)
