"""How one proxy is installed, from what an operator says of it: the bootstrap that its Envoy starts with.

Nothing here is looked up: the command runs on any machine, before the proxy is known to anybody.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ca import profile
from mesh.errors import Misconfigured, Refused
from mesh.identity import SpiffeId
from mesh.names import DEFAULT_DOMAIN, is_ip
from mesh.proxies import Interception, NodeId, Role
from xds.bootstrap import Installation, Socket, bootstrap_text
from xds.probes import PORT as PROBES_PORT
from xds.probes import Probe

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
XDS_PORT = 15012
TOKEN_PORT = 15011
LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104 (Prometheus and load balancers come from elsewhere)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where Envoy answers for itself."""

    admin: int = 15000
    metrics: int = 15090
    readiness: int = 15021


def bootstrap(
    name: str,
    address: str,
    control_plane: Sequence[str],
    *,
    trust_domain: str = DEFAULT_DOMAIN,
    is_gateway: bool = False,
    interception: Interception = Interception.REDIRECT,
    http_proxy_port: int = 0,
    group: str = "",
    ports: Ports = Ports(),
    windows: str = EVERYWHERE,
    probes: tuple[Probe, ...] = (),
) -> str:
    """The bootstrap of proxy ``NAME.NAMESPACE``, as JSON.

    :param windows: the address at which Prometheus, load balancers and the kubelet ask.
    :raises Misconfigured: when something in it is not what it has to be.
    """
    workload, namespace = _workload(name)
    if not is_ip(address):
        raise Misconfigured(
            f"not an IP address: {address!r}", hint="the address of its WorkloadEntry: --address 10.0.0.7"
        )
    node = NodeId(
        role=Role.GATEWAY if is_gateway else Role.SIDECAR,
        address=address,
        name=workload,
        namespace=namespace,
        domain=DEFAULT_DOMAIN,
    )
    return bootstrap_text(
        Installation(
            node=node,
            interception=interception,
            control_plane=tuple(socket(place) for place in control_plane),
            control_plane_id=str(control_plane_id(trust_domain)),
            http_proxy_port=http_proxy_port,
            group=group,
            admin=Socket(LOOPBACK, ports.admin),
            metrics=Socket(windows, ports.metrics),
            readiness=Socket(windows, ports.readiness),
            probes=probes,
            probed=Socket(windows, PROBES_PORT),
        )
    )


def control_plane_id(trust_domain: str) -> SpiffeId:
    """Whom proxies and programs take for the control plane.

    :raises Misconfigured: when that is no trust domain.
    """
    try:
        return SpiffeId.parse(str(profile.control_plane(trust_domain)))
    except Refused:
        raise Misconfigured(
            f"not a trust domain: {trust_domain!r}", hint="that of the mesh: meshwright ca init prints it"
        ) from None


def _workload(text: str) -> tuple[str, str]:
    """A workload's name may have dots, a namespace has none."""
    name, _, namespace = text.rpartition(".")
    if not (_NAME.fullmatch(name) and _LABEL.fullmatch(namespace)):
        raise Misconfigured(
            f"not the name of a proxy: {text!r}",
            hint="name and namespace of its WorkloadEntry: hello-1.shop",
        )
    return name, namespace


def socket(text: str, default_port: int = XDS_PORT) -> Socket:
    """``HOST`` or ``HOST:PORT``, ``[::1]:15012`` for an IPv6 address with a port.

    :raises Misconfigured: when it is something else.
    """
    host, colon, port = text.rpartition(":")
    if not colon or is_ip(text):
        host, port = text, str(default_port)
    host = host.removeprefix("[").removesuffix("]")
    is_host = is_ip(host) or _NAME.fullmatch(host.lower())
    if not (is_host and port.isdecimal() and 0 < int(port) < 65536):
        raise Misconfigured(
            f"not a place of a control plane: {text!r}",
            hint=f"write HOST:PORT: mesh.example.com:{default_port}",
        )
    return Socket(host, int(port))
