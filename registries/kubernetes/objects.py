"""Objects of the Kubernetes API: the few fields that are needed of them, as small values.

Everything else is dropped here, so that a Pod of ten kilobytes costs some hundred bytes. An object that
does not look as the API describes it raises :class:`.fields.Unreadable`, and nothing but it.

Slices and Pods name the same things, and there are very many of both: names, uids and addresses are interned.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from mesh.labels import Labels
from mesh.services import Locality
from registries.kubernetes import fields
from registries.kubernetes.fields import Json, Unreadable

Key = tuple[str, str]
"""Namespace and name; the namespace is empty where objects have none."""
Ports = tuple[tuple[str, int], ...]
"""Names and numbers."""

REGION = "topology.kubernetes.io/region"
ZONE = "topology.kubernetes.io/zone"
SUBZONE = "topology.istio.io/subzone"
SERVICE_NAME = "kubernetes.io/service-name"
FQDN = "FQDN"
EXTERNAL_NAME: Final = "ExternalName"
EXPORT_TO = "networking.istio.io/exportTo"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """One port of a Service. ``target`` is a number, the name of a container's port, or 0: the same."""

    number: int
    name: str
    transport: str
    protocol: str
    """``appProtocol``; empty when not said."""
    target: int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A Service. ``addresses`` are its cluster IPs; the first family is the one its Pods are preferred by."""

    key: Key
    kind: str
    ports: tuple[ServicePort, ...]
    addresses: tuple[str, ...]
    external_ips: tuple[str, ...]
    balancer_addresses: tuple[str, ...]
    """Of a load balancer; its names are left out."""
    external_name: str
    families: tuple[str, ...]
    selector: Labels | None
    """``None`` also for an ExternalName, whose selector means nothing."""
    is_serving_unready: bool
    labels: Labels
    export_to: str
    created: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One endpoint of an EndpointSlice. ``namespace``, ``pod`` and ``uid`` say which Pod it is, if it is one.

    The key of the Pod is made when it is asked for: there are too many of these to keep it.
    """

    address: str
    is_ready: bool
    is_serving: bool
    is_terminating: bool
    namespace: str
    pod: str | None
    uid: str
    node: str
    zone: str
    zone_hints: tuple[str, ...]
    """Clients of which zones should come here (``hints.forZones``). Nothing acts on it yet."""

    @property
    def pod_key(self) -> Key | None:
        return (self.namespace, self.pod) if self.pod is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """An EndpointSlice: some endpoints of one Service, all with the same ports (by name)."""

    key: Key
    service: Key
    family: str
    ports: Ports
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A Pod. ``addresses`` is empty before it has one; ``ports`` are those that containers have named."""

    key: Key
    uid: str
    labels: Labels
    account: str
    addresses: tuple[str, ...]
    node: str
    ports: Ports
    is_ready: bool
    is_over: bool
    """Its containers have ended, and it will not come back."""


@dataclass(frozen=True, slots=True)
class Node:
    """A Node: where it is."""

    key: Key
    locality: Locality


@dataclass(frozen=True, slots=True)
class Namespace:
    """A Namespace: what it is selected by."""

    key: Key
    labels: Labels


def key_of(data: Any) -> Key:
    """What an object is called.

    :raises Unreadable: when it does not say, or is no object at all.
    """
    if not isinstance(data, dict):
        raise Unreadable(f"expected an object, found {type(data).__name__}")
    metadata = fields.mapping(data, "metadata")
    name = fields.text(metadata, "name")
    if not name:
        raise Unreadable("metadata.name: expected text, found nothing")
    return sys.intern(fields.text(metadata, "namespace")), sys.intern(name)


def version_of(data: Any) -> str:
    """``metadata.resourceVersion``: of an object its own, of a list that of the moment it shows.

    :raises Unreadable: when it is no text.
    """
    if not isinstance(data, dict):
        raise Unreadable(f"expected an object, found {type(data).__name__}")
    return fields.text(fields.mapping(data, "metadata"), "resourceVersion")


def service(data: Json) -> Service:
    spec, metadata = fields.mapping(data, "spec"), fields.mapping(data, "metadata")
    balancer = fields.mapping(fields.mapping(data, "status"), "loadBalancer")
    address = fields.text(spec, "clusterIP")
    addresses = fields.texts(spec, "clusterIPs") or ((address,) if address else ())
    kind = fields.text(spec, "type") or "ClusterIP"
    selector = fields.pairs(spec, "selector") if kind != EXTERNAL_NAME else ()
    return Service(
        key=key_of(data),
        kind=kind,
        ports=tuple(_service_port(port) for port in fields.items(spec, "ports")),
        addresses=tuple(fields.ip(one) for one in addresses if one != "None"),
        external_ips=tuple(fields.ip(one) for one in fields.texts(spec, "externalIPs")),
        balancer_addresses=tuple(
            fields.ip(address)
            for one in fields.items(balancer, "ingress")
            if (address := fields.text(one, "ip"))
        ),
        external_name=fields.text(spec, "externalName"),
        families=fields.texts(spec, "ipFamilies"),
        selector=selector or None,
        is_serving_unready=fields.flag(spec, "publishNotReadyAddresses", absent=False),
        labels=fields.pairs(metadata, "labels"),
        export_to=fields.text(fields.mapping(metadata, "annotations"), EXPORT_TO),
        created=fields.created(metadata),
    )


def _service_port(data: Json) -> ServicePort:
    target = data.get("targetPort")
    number = fields.number(data, "port")
    return ServicePort(
        number=number,
        name=fields.text(data, "name"),
        transport=fields.text(data, "protocol") or "TCP",
        protocol=fields.text(data, "appProtocol"),
        target=target if isinstance(target, str) else fields.number(data, "targetPort") or number,
    )


def endpoint_slice(data: Json) -> Slice:
    namespace, name = key_of(data)
    family = sys.intern(fields.text(data, "addressType"))
    return Slice(
        key=(namespace, name),
        service=(
            namespace,
            fields.text(fields.mapping(fields.mapping(data, "metadata"), "labels"), SERVICE_NAME),
        ),
        family=family,
        # A port without a number stands for all ports, of which a client could not know any.
        ports=_shared(
            tuple(
                (fields.text(port, "name"), fields.number(port, "port"))
                for port in fields.items(data, "ports")
                if port.get("port")
            )
        ),
        places=tuple(_places(data, namespace, is_by_name=family == FQDN)),
    )


def _places(data: Json, namespace: str, *, is_by_name: bool) -> Iterator[Place]:
    for endpoint in fields.items(data, "endpoints"):
        conditions, target = fields.mapping(endpoint, "conditions"), fields.mapping(endpoint, "targetRef")
        # What is not said means ready, and serving means what ready means (Kubernetes, "EndpointConditions").
        is_ready = fields.flag(conditions, "ready", absent=True)
        is_pod = fields.text(target, "kind") == "Pod"
        # Only the first address has a meaning; kube-proxy looks at no other ("Endpoint.addresses").
        for address in fields.texts(endpoint, "addresses")[:1]:
            yield Place(
                address=address if is_by_name else fields.ip(address),
                is_ready=is_ready,
                is_serving=fields.flag(conditions, "serving", absent=is_ready),
                is_terminating=fields.flag(conditions, "terminating", absent=False),
                namespace=sys.intern(fields.text(target, "namespace")) or namespace,
                pod=sys.intern(fields.text(target, "name")) if is_pod else None,
                uid=sys.intern(fields.text(target, "uid")) if is_pod else "",
                node=sys.intern(fields.text(endpoint, "nodeName")),
                zone=sys.intern(fields.text(endpoint, "zone")),
                zone_hints=_zone_hints(endpoint),
            )


def _zone_hints(endpoint: Json) -> tuple[str, ...]:
    zones = fields.items(fields.mapping(endpoint, "hints"), "forZones")
    return tuple(sys.intern(fields.text(zone, "name")) for zone in zones)


def pod(data: Json) -> Pod:
    spec, status, metadata = (
        fields.mapping(data, "spec"),
        fields.mapping(data, "status"),
        fields.mapping(data, "metadata"),
    )
    address = fields.text(status, "podIP")
    addresses = tuple(fields.text(one, "ip") for one in fields.items(status, "podIPs")) or (
        (address,) if address else ()
    )
    return Pod(
        key=key_of(data),
        uid=sys.intern(fields.text(metadata, "uid")),
        labels=fields.pairs(metadata, "labels"),
        account=sys.intern(fields.text(spec, "serviceAccountName") or "default"),
        addresses=tuple(fields.ip(one) for one in addresses),
        node=sys.intern(fields.text(spec, "nodeName")),
        ports=_shared(tuple(_named_ports(spec))),
        is_ready=any(
            fields.text(condition, "type") == "Ready" and fields.text(condition, "status") == "True"
            for condition in fields.items(status, "conditions")
        ),
        is_over=fields.text(status, "phase") in {"Succeeded", "Failed"},
    )


def _named_ports(spec: Json) -> Iterator[tuple[str, int]]:
    """Ports with names, which a Service's ``targetPort`` may mean; sidecars are init containers that stay."""
    restarting = (one for one in fields.items(spec, "initContainers") if one.get("restartPolicy") == "Always")
    for container in (*fields.items(spec, "containers"), *restarting):
        for port in fields.items(container, "ports"):
            if name := fields.text(port, "name"):
                yield sys.intern(name), fields.number(port, "containerPort")


def node(data: Json) -> Node:
    said = dict(fields.pairs(fields.mapping(data, "metadata"), "labels"))
    return Node(key_of(data), Locality(said.get(REGION, ""), said.get(ZONE, ""), said.get(SUBZONE, "")))


def namespace(data: Json) -> Namespace:
    return Namespace(key_of(data), fields.pairs(fields.mapping(data, "metadata"), "labels"))


# The Pods of one template have the same ports, and so have the slices of one Service.
@lru_cache(maxsize=4096)
def _shared(ports: Ports) -> Ports:
    return ports
