"""EDS: which endpoints each cluster has.

An assignment is the one resource that changes all the time, so it is joined from the bytes of its
endpoints: each is encoded once, however many assignments it stands in. Endpoints are grouped by
locality; the groups, and the endpoints of a group, stand in a fixed order, because equal sets must
give equal bytes. A group weighs what its endpoints weigh together: locality as such decides nothing,
load is spread by endpoint.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from mesh.services import Endpoint, Locality
from mesh.views import EndpointsView
from xds import constraints, envoy
from xds.memo import Memo
from xds.resources import Resource, field
from xds.translate.transport import MUTUAL_TLS_MARK

_LB_ENDPOINT = "envoy.config.endpoint.v3.LbEndpoint"
_GROUP = "envoy.config.endpoint.v3.LocalityLbEndpoints"
_ASSIGNMENT = "envoy.config.endpoint.v3.ClusterLoadAssignment"

# Numbers of the fields that are joined by hand.
_CLUSTER_NAME = 1  # ClusterLoadAssignment.cluster_name
_ENDPOINTS = 2  # ClusterLoadAssignment.endpoints
_LB_ENDPOINTS = 2  # LocalityLbEndpoints.lb_endpoints
_DRAINING = 3  # envoy.config.core.v3.HealthStatus

# More than the mesh of DESIGN 5 has (10,000). With ten times as many, only the endpoints of services that
# change are encoded anew, at 15 us each; to remember all would cost 300 B for each.
_REMEMBERED_ENDPOINTS = 16_384


def assignments(view: EndpointsView, memo: Memo) -> Iterator[Resource]:
    """The load assignment of every EDS cluster, also of those without any endpoint."""
    for name, endpoints in view.by_cluster.items():
        # The view may spell its keys anew; the memo goes by identity.
        yield from memo.resource(name, assignment, sys.intern(name), endpoints)


def assignment(name: str, endpoints: tuple[Endpoint, ...]) -> Resource:
    """The load assignment of one cluster."""
    body = field(_CLUSTER_NAME, name.encode()) + _groups(endpoints)
    sources = sorted({endpoint.source for endpoint in endpoints if endpoint.source})
    return Resource.of_bytes(name, envoy.ENDPOINTS, body, sources=tuple(sources))


def write_endpoints(endpoints: Iterable[Endpoint], load_assignment: Any) -> None:
    """Put endpoints into the assignment inside a cluster."""
    load_assignment.MergeFromString(_groups(endpoints))


def _groups(endpoints: Iterable[Endpoint]) -> bytes:
    by_locality: dict[Locality, list[Endpoint]] = {}
    for endpoint in endpoints:
        by_locality.setdefault(endpoint.locality, []).append(endpoint)
    return b"".join(
        field(_ENDPOINTS, _group(locality, by_locality[locality])) for locality in sorted(by_locality)
    )


def _group(locality: Locality, endpoints: list[Endpoint]) -> bytes:
    head = _locality(locality, sum(_weight(endpoint) for endpoint in endpoints))
    # By address: the order of a registry's answer must not look like a change.
    encoded = sorted(
        (
            endpoint.address,
            endpoint.port,
            _weight(endpoint),
            endpoint.mutual_tls,
            endpoint.is_draining,
        )
        for endpoint in endpoints
    )
    return head + b"".join(field(_LB_ENDPOINTS, _lb_endpoint(*endpoint)) for endpoint in encoded)


def _weight(endpoint: Endpoint) -> int:
    """0 is "not said" in a WorkloadEntry, and Envoy demands at least 1."""
    return max(1, endpoint.weight)


@functools.lru_cache(maxsize=_REMEMBERED_ENDPOINTS)
def _lb_endpoint(address: str, port: int, weight: int, is_marked: bool, is_draining: bool) -> bytes:
    made = envoy.message(_LB_ENDPOINT)()
    socket = made.endpoint.address.socket_address
    socket.address = address
    socket.port_value = port
    made.load_balancing_weight.value = weight
    if is_marked:
        made.metadata.filter_metadata["envoy.transport_socket_match"].update(MUTUAL_TLS_MARK)
    if is_draining:
        # Requests under way are finished and connections stay open; it gets nothing new.
        made.health_status = _DRAINING
    return constraints.serialised(made)


@functools.lru_cache(maxsize=1024)
def _locality(locality: Locality, weight: int) -> bytes:
    made = envoy.message(_GROUP)()
    if locality != Locality():
        made.locality.region = locality.region
        made.locality.zone = locality.zone
        made.locality.sub_zone = locality.subzone
    made.load_balancing_weight.value = weight
    return constraints.serialised(made)
