"""A Service of the cluster as a service of the mesh: its name, addresses and ports, and who may see it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mesh.services import Location, Port, Protocol, Provider, Resolution, Service, ServiceKey, protocol_of
from registries.kubernetes import objects
from registries.kubernetes.reading import Reading

TRANSPORTS: Final = frozenset({"TCP", "UDP"})
"""Envoy proxies neither SCTP nor what may come after it."""
# Kubernetes, "Application protocol": names that are not those of the protocol.
_STANDARD: Final = {"kubernetes.io/h2c": "http2", "kubernetes.io/ws": "http", "kubernetes.io/wss": "https"}
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?|[*.~]")


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with a Service, and what to do about it."""

    message: str
    hint: str


def declared(said: objects.Service, reading: Reading) -> tuple[Service, Complaint | None]:
    """The service that a Service declares, and what is wrong with it."""
    exports, complaint = _export_to(said, reading)
    return _service(said, reading, exports), complaint


def _service(said: objects.Service, reading: Reading, exports: tuple[str, ...]) -> Service:
    namespace, name = said.key
    is_external = said.kind == objects.EXTERNAL_NAME
    claimed = said.external_ips if reading.external_ips else ()
    return Service(
        key=ServiceKey(f"{name}.{namespace}.svc.{reading.cluster_domain}", namespace),
        ports=tuple(_ports(said)),
        resolution=Resolution.DNS if is_external else Resolution.STATIC,
        location=Location.EXTERNAL if is_external else Location.INTERNAL,
        addresses=tuple(dict.fromkeys((*said.addresses, *claimed))),
        selector=said.selector,
        export_to=exports,
        labels=said.labels,
        created=said.created,
        provider=Provider.KUBERNETES,
        registry=reading.registry,
        external_addresses=tuple(dict.fromkeys((*said.balancer_addresses, *said.external_ips))),
    )


def _ports(said: objects.Service) -> Iterator[Port]:
    for port in said.ports:
        if port.transport not in TRANSPORTS:
            continue
        # Where ``appProtocol`` is said, the name means nothing. Istio, ``kube.ConvertProtocol``.
        spoken = protocol_of(
            _STANDARD.get(port.protocol.lower(), ""), port.protocol or port.name, port.number
        )
        yield Port(
            number=port.number,
            name=port.name,
            protocol=Protocol.UDP if port.transport == "UDP" else spoken,
            target=port.target if isinstance(port.target, int) else port.number,
        )


def _export_to(said: objects.Service, reading: Reading) -> tuple[tuple[str, ...], Complaint | None]:
    """The annotation, or the mesh's default. A mistake in it never makes a Service more visible."""
    if not said.export_to.strip():
        return reading.export_to, None
    written = tuple(one.strip() for one in said.export_to.split(","))
    wrong = [one for one in written if not _NAMESPACE.fullmatch(one)]
    exports = tuple(one for one in written if one not in wrong) or (".",)
    if not wrong:
        return exports, None
    message = f"annotation {objects.EXPORT_TO}: not a namespace: {wrong[0]!r}"
    return exports, Complaint(message, hint="expected namespaces, '.', '*' or '~', separated by commas")
