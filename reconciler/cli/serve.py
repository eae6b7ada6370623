"""``meshwright serve``: the control plane."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click
import uvloop

from mesh.clock import SystemClock
from reconciler import daemon, logs
from reconciler.cli.options import state_option
from reconciler.settings import Settings


@click.command()
@click.option("--repo", envvar="MESHWRIGHT_REPO", required=True, metavar="URL", help="The mesh's repository.")
@click.option(
    "--branch",
    envvar="MESHWRIGHT_BRANCH",
    default="main",
    show_default=True,
    metavar="NAME",
    help="The branch that is served.",
)
@state_option
@click.option(
    "--listen-address",
    envvar="MESHWRIGHT_LISTEN_ADDRESS",
    default="0.0.0.0",  # noqa: S104 (proxies come from elsewhere)
    show_default=True,
    help="Where proxies and machines connect.",
)
@click.option(
    "--metrics-address",
    envvar="MESHWRIGHT_METRICS_ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Where metrics and health are read.",
)
@click.option(
    "--token-port",
    type=click.IntRange(0, 65535),
    envvar="MESHWRIGHT_TOKEN_PORT",
    default=15011,
    show_default=True,
    metavar="PORT",
    help="Certificates for who has a token: Pods, over TLS.",
)
@click.option(
    "--xds-port",
    type=click.IntRange(0, 65535),
    envvar="MESHWRIGHT_XDS_PORT",
    default=15012,
    show_default=True,
    metavar="PORT",
    help="xDS, over mutual TLS.",
)
@click.option(
    "--est-port",
    type=click.IntRange(0, 65535),
    envvar="MESHWRIGHT_EST_PORT",
    default=15013,
    show_default=True,
    metavar="PORT",
    help="Enrolment, over HTTPS.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    envvar="MESHWRIGHT_METRICS_PORT",
    default=15014,
    show_default=True,
    metavar="PORT",
    help="Metrics and health.",
)
@click.option(
    "--poll",
    type=click.FloatRange(min=0.1, max=86_400),
    envvar="MESHWRIGHT_POLL",
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How often the repository is looked at.",
)
@click.option(
    "--ca-directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="MESHWRIGHT_CA_DIRECTORY",
    metavar="DIR",
    help="A CA to plug in: ca-cert.pem, ca-key.pem, cert-chain.pem, root-cert.pem.",
)
@click.option(
    "--secrets-directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="MESHWRIGHT_SECRETS_DIRECTORY",
    metavar="DIR",
    help="Gateways' certificates: NAMESPACE/NAME/tls.crt and tls.key.",
)
@click.option(
    "--registries-directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="MESHWRIGHT_REGISTRIES_DIRECTORY",
    metavar="DIR",
    help="Registries' credentials: NAME/address, token, ca.crt, tls.crt, tls.key, kubeconfig.",
)
@click.option(
    "--est-host",
    "est_hosts",
    multiple=True,
    envvar="MESHWRIGHT_EST_HOSTS",
    metavar="NAME",
    help="A name or address of this host that EST clients check (may be given again).",
)
@click.option(
    "--log-level",
    type=click.Choice(("DEBUG", "INFO", "WARNING", "ERROR"), case_sensitive=False),
    envvar="MESHWRIGHT_LOG_LEVEL",
    default="INFO",
    show_default=True,
    help="How much is told.",
)
def serve(poll: float, log_level: str, **options: object) -> None:
    """Serve the mesh that a branch of a Git repository describes."""
    logs.set_up(log_level.upper())
    settings = Settings(poll=timedelta(seconds=poll), **options)  # type: ignore[arg-type]
    uvloop.run(daemon.serve(settings, SystemClock()))
