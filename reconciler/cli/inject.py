"""``meshwright inject``: Kubernetes manifests with our sidecar in them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mesh.names import DEFAULT_DOMAIN
from mesh.problems import has_errors
from reconciler import injecting
from reconciler.inject.sidecar import ENVOY_IMAGE
from reconciler.render import problem_lines


@click.command()
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    required=True,
    metavar="FILE",
    type=click.Path(exists=True, allow_dash=True, path_type=Path),
    help="A file, a folder, or - for standard input (may be given again).",
)
@click.option(
    "--image",
    envvar="MESHWRIGHT_INJECT_IMAGE",
    required=True,
    metavar="IMAGE",
    help="An image with meshwright and nft: it captures and enrols.",
)
@click.option(
    "--envoy-image",
    envvar="MESHWRIGHT_INJECT_ENVOY_IMAGE",
    default=ENVOY_IMAGE,
    show_default=True,
    metavar="IMAGE",
    help="A stock Envoy.",
)
@click.option(
    "--control-plane",
    envvar="MESHWRIGHT_INJECT_CONTROL_PLANE",
    required=True,
    multiple=True,
    metavar="HOST:PORT",
    help="Where the control plane is; the port is 15012 unless given (may be given again).",
)
@click.option(
    "--enrolment",
    envvar="MESHWRIGHT_INJECT_ENROLMENT",
    multiple=True,
    metavar="HOST:PORT",
    help="Where Pods enrol; the same hosts at 15011 unless given (may be given again).",
)
@click.option(
    "--ca-root",
    envvar="MESHWRIGHT_INJECT_CA_ROOT",
    required=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The root of the mesh's CA, as PEM: root-cert.pem.",
)
@click.option(
    "--trust-domain",
    envvar="MESHWRIGHT_INJECT_TRUST_DOMAIN",
    default=DEFAULT_DOMAIN,
    show_default=True,
    help="Whom the mesh's CA signs for.",
)
@click.option(
    "--cluster",
    envvar="MESHWRIGHT_INJECT_CLUSTER",
    default="",
    metavar="NAME",
    help="The name of the cluster in the mesh's registries, where there are several.",
)
@click.option(
    "--native-sidecar",
    "is_native",
    envvar="MESHWRIGHT_INJECT_NATIVE_SIDECAR",
    is_flag=True,
    help="As native sidecars, from Kubernetes 1.29 on; Pods that end always get them.",
)
def inject(files: tuple[Path, ...], ca_root: Path, **options: object) -> None:
    """Print manifests with the sidecar added to their Pods; everything else stays as it is.

    kustomize build | meshwright inject -f - | kubectl apply -f -
    """
    made = injecting.inject(files, ca_root, **options)  # type: ignore[arg-type]
    for problem in made.problems:
        click.echo(problem_lines(problem), err=True)
    click.echo(made.text, nl=False)
    sys.exit(1 if has_errors(made.problems) else 0)
