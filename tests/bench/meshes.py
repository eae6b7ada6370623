"""A mesh of a given size, as the files of its repository and the proxies that belong to it.

Services are spread over the namespaces in turn. Each has one HTTP port, a selector, and as many
WorkloadEntries as it has endpoints. A *workload* here is one application, the instances of one service:
its proxies share a facet of inbound policy, and no two workloads do. So as many workloads as services
make the facets honest: what proxies share is what real fleets share, the namespace.

Every fifth service is routed: a VirtualService with two routes and a DestinationRule with two subsets
and outlier detection. STRICT mutual TLS holds everywhere, and each namespace has one AuthorizationPolicy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mesh.errors import Misconfigured
from mesh.proxies import NodeId, Role

PORT = 8080
_ROUTED_EVERY = 5
# 10.<service / 250 + 1>.<service % 250>.<endpoint + 1>; an endpoint that moves is 128 higher.
_SERVICES_MAX, _ENDPOINTS_MAX, _MOVED = 250 * 254, 126, 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large the mesh is. ``streams`` are the proxies that connect, in turn over the workloads."""

    services: int = 300
    endpoints: int = 10
    workloads: int = 300
    namespaces: int = 5
    streams: int = 300

    def __post_init__(self) -> None:
        ranges = {
            "services": (2, _SERVICES_MAX),
            "endpoints": (1, _ENDPOINTS_MAX),
            "workloads": (1, self.services),
            "namespaces": (1, self.services),
            "streams": (1, self.workloads * self.endpoints),
        }
        for name, (lowest, highest) in ranges.items():
            if not lowest <= getattr(self, name) <= highest:
                raise Misconfigured(
                    f"{name} is {getattr(self, name)}, expected {lowest} to {highest}",
                    hint="a workload is the application behind one service, a stream one of its instances",
                )


def files(size: Size) -> dict[str, str]:
    """The repository."""
    names = [_namespace(size, index) for index in range(size.namespaces)]
    mesh = {"security.yaml": _STRICT}
    for name in names:
        mesh[f"{name}/policy.yaml"] = _POLICY.format(namespace=name, callers=", ".join(names))
    for index in range(size.services):
        mesh[_path(size, index)] = _service_file(size, index)
    return mesh


def proxies(size: Size) -> Iterator[tuple[NodeId, str]]:
    """Who connects, and the service account of each."""
    for stream in range(size.streams):
        instance, service = divmod(stream, size.workloads)
        yield (
            NodeId(
                role=Role.SIDECAR,
                address=_address(service, instance),
                name=f"{_service(service)}-{instance}",
                namespace=_namespace(size, service),
                domain="cluster.local",
            ),
            _service(service),
        )


def moved_endpoint(size: Size, turn: int) -> dict[str, str]:
    """The one file that changes when one endpoint of an unrouted service gets another address.

    Turns go round the services, and each comes back to its first place the next time round.
    """
    unrouted = [index for index in range(size.services) if index % _ROUTED_EVERY]
    times, at = divmod(turn, len(unrouted))
    is_moved = times % 2 == 0
    return {_path(size, unrouted[at]): _service_file(size, unrouted[at], is_moved=is_moved)}


def changed_route(size: Size, turn: int) -> dict[str, str]:
    """The one file that changes when one line of one VirtualService does: a timeout."""
    routed = range(0, size.services, _ROUTED_EVERY)
    times, at = divmod(turn, len(routed))
    return {_path(size, routed[at]): _service_file(size, routed[at], timeout_s=4 + times)}


def _service(index: int) -> str:
    return f"s{index:04}"


def _namespace(size: Size, index: int) -> str:
    return f"team-{index % size.namespaces}"


def _path(size: Size, index: int) -> str:
    return f"{_namespace(size, index)}/{_service(index)}.yaml"


def _address(service: int, instance: int) -> str:
    return f"10.{service // 250 + 1}.{service % 250}.{instance + 1}"


def _service_file(size: Size, index: int, *, is_moved: bool = False, timeout_s: int = 3) -> str:
    name, namespace = _service(index), _namespace(size, index)
    places = [_address(index, instance) for instance in range(size.endpoints)]
    if is_moved:
        places[-1] = _address(index, size.endpoints - 1 + _MOVED)
    documents = [
        _SERVICE.format(name=name, namespace=namespace, port=PORT),
        *(
            _INSTANCE.format(
                name=name,
                namespace=namespace,
                instance=instance,
                version=f"v{instance % 2 + 1}",
                address=place,
            )
            for instance, place in enumerate(places)
        ),
    ]
    if index % _ROUTED_EVERY == 0:
        documents.append(_ROUTES.format(name=name, namespace=namespace, timeout_s=timeout_s))
    return "---\n".join(documents)


_STRICT = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec:
  mtls: {mode: STRICT}
"""

_POLICY = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: callers, namespace: {namespace}}}
spec:
  action: ALLOW
  rules:
  - from:
    - source: {{namespaces: [{callers}]}}
    to:
    - operation: {{methods: [GET, POST]}}
"""

_SERVICE = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{name}.{namespace}.svc.cluster.local]
  ports: [{{number: {port}, name: http, protocol: HTTP}}]
  location: MESH_INTERNAL
  resolution: STATIC
  workloadSelector:
    labels: {{app: {name}}}
"""

_INSTANCE = """\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}-{instance}, namespace: {namespace}}}
spec:
  address: {address}
  labels: {{app: {name}, version: {version}}}
  serviceAccount: {name}
"""

_ROUTES = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{name}.{namespace}.svc.cluster.local]
  http:
  - match:
    - uri: {{prefix: /v2}}
    route:
    - destination: {{host: {name}.{namespace}.svc.cluster.local, subset: v2}}
  - timeout: {timeout_s}s
    route:
    - destination: {{host: {name}.{namespace}.svc.cluster.local, subset: v1}}
      weight: 90
    - destination: {{host: {name}.{namespace}.svc.cluster.local, subset: v2}}
      weight: 10
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  host: {name}.{namespace}.svc.cluster.local
  trafficPolicy:
    outlierDetection: {{consecutive5xxErrors: 5, interval: 10s, baseEjectionTime: 30s}}
  subsets:
  - name: v1
    labels: {{version: v1}}
  - name: v2
    labels: {{version: v2}}
"""
