"""What is added to a Pod: the operator's part of it, and the places inside the Pod where it meets.

User, paths and ports are one contract between the manifest and the programs that run there, so they stand
here once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.names import DEFAULT_DOMAIN

ENVOY_IMAGE = "docker.io/envoyproxy/envoy:distroless-v1.40-latest"
USER = 1337
"""Whose traffic is not captured: the proxy's and the enrolment's. Istio's number."""
ANNOTATION = "meshwright.dev/sidecar"
"""Says that a Pod has its sidecar, and from which image."""
TLS_MODE = "security.istio.io/tlsMode"
"""The label by which callers know that mutual TLS is answered here. Istio's."""
FOLDER = "/var/lib/meshwright"
TOKEN_FOLDER = "/var/run/secrets/meshwright"  # noqa: S105 (a folder)
TOKEN_SECONDS = 3600
# What Envoy has (DESIGN 3.3), and a Pod's application cannot have.
PORTS = (15000, 15001, 15006, 15020, 15021, 15090)
UNCAPTURED_PORTS = (15020, 15021, 15090)
"""Asked from outside the mesh: by the kubelet and by Prometheus."""


def _sizes() -> Mapping[str, str]:
    """Istio's defaults."""
    return {"cpu": "100m", "memory": "128Mi", "cpu limit": "2000m", "memory limit": "1024Mi"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """What every Pod gets."""

    image: str
    """Has the command ``meshwright``, and ``nft`` of nftables."""
    control_plane: tuple[str, ...]
    """Where xDS is served: ``HOST`` or ``HOST:PORT``."""
    enrolment: tuple[str, ...]
    """Where tokens become certificates: ``HOST`` or ``HOST:PORT``."""
    ca_root: str
    """The root by which the control plane is known at first, as PEM."""
    envoy_image: str = ENVOY_IMAGE
    trust_domain: str = DEFAULT_DOMAIN
    cluster: str = ""
    """The name under which the control plane knows the cluster, where it cannot tell by the token."""
    is_native: bool = False
    """As native sidecars (Kubernetes 1.29): up before the application, and gone after it."""
    sizes: Mapping[str, str] = field(default_factory=_sizes)
