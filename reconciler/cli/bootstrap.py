"""``meshwright bootstrap``: what one Envoy starts with."""

from __future__ import annotations

import click

from mesh.proxies import Interception
from reconciler import installing
from reconciler.cli.options import (
    PORT,
    admin_port_option,
    http_proxy_port_option,
    interception_option,
    trust_domain_option,
)
from reconciler.installing import Ports


@click.command()
@click.argument("name", metavar="NAME.NAMESPACE")
@click.option("--address", required=True, metavar="IP", help="The address of its WorkloadEntry.")
@click.option(
    "--control-plane",
    required=True,
    multiple=True,
    metavar="HOST:PORT",
    help="Where the control plane is; the port is 15012 unless given (may be given again).",
)
@trust_domain_option
@click.option("--gateway", "is_gateway", is_flag=True, help="A gateway, not the sidecar of an application.")
@interception_option
@http_proxy_port_option
@click.option("--group", default="", metavar="NAME", help="The WorkloadGroup in which it enrols itself.")
@admin_port_option
@click.option(
    "--metrics-port",
    type=PORT,
    default=15090,
    show_default=True,
    metavar="PORT",
    help="For Prometheus: /stats/prometheus.",
)
@click.option(
    "--readiness-port",
    type=PORT,
    default=15021,
    show_default=True,
    metavar="PORT",
    help="For load balancers: /healthz/ready.",
)
def bootstrap(
    name: str,
    address: str,
    control_plane: tuple[str, ...],
    trust_domain: str,
    is_gateway: bool,
    interception: str,
    http_proxy_port: int | None,
    group: str,
    admin_port: int,
    metrics_port: int,
    readiness_port: int,
) -> None:
    """Print the bootstrap of the Envoy of proxy NAME.NAMESPACE, as JSON.

    It is started in the folder that meshwright_enrol.py made.
    """
    text = installing.bootstrap(
        name,
        address,
        control_plane,
        trust_domain=trust_domain,
        is_gateway=is_gateway,
        interception=Interception(interception),
        http_proxy_port=http_proxy_port or 0,
        group=group,
        ports=Ports(admin=admin_port, metrics=metrics_port, readiness=readiness_port),
    )
    click.echo(text, nl=False)
