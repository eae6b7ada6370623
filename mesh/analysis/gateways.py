"""References to gateways: unknown ones, and hosts that a gateway does not serve.

Istio, ``virtualservice.GatewayAnalyzer``.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from mesh.analysis.finding import Finding, listed
from mesh.analysis.hosts import KnownHosts
from mesh.config import Config, ConfigObject
from mesh.kinds.gateway import Gateway
from mesh.kinds.virtual_service import VirtualService
from mesh.names import MESH_GATEWAY, ObjectKey, host_matches


def check(config: Config, _hosts: KnownHosts) -> Iterator[Finding]:
    for service in config.of("VirtualService"):
        for path, written in _references(service.spec):
            gateway = config.get(key_of(written, service.key.namespace))
            if gateway is None:
                yield _unknown(config, service.key, path, written)
            elif path.startswith("spec.gateways"):
                yield from _unserved(service, gateway)


def _references(service: VirtualService) -> Iterator[tuple[str, str]]:
    for index, written in enumerate(service.gateways):
        if written != MESH_GATEWAY:
            yield f"spec.gateways[{index}]", written
    for route_index, route in enumerate(service.http):
        for match_index, match in enumerate(route.match):
            for index, written in enumerate(match.gateways):
                if written != MESH_GATEWAY:
                    yield f"spec.http[{route_index}].match[{match_index}].gateways[{index}]", written


def key_of(written: str, namespace: str) -> ObjectKey:
    """``name``, ``./name``, ``namespace/name``, or the old ``name.namespace.svc…``."""
    owner, slash, name = written.partition("/")
    if slash:
        return ObjectKey("Gateway", namespace if owner == "." else owner, name)
    if "." in written:
        name, owner = written.split(".")[:2]
        return ObjectKey("Gateway", owner, name)
    return ObjectKey("Gateway", namespace, written)


def _unknown(config: Config, key: ObjectKey, path: str, written: str) -> Finding:
    wanted = key_of(written, key.namespace)
    known = [f"{gateway.key.namespace}/{gateway.key.name}" for gateway in config.of("Gateway")]
    near = get_close_matches(f"{wanted.namespace}/{wanted.name}", known, n=1, cutoff=0.5)
    return Finding(
        code="IST0101",
        object=key,
        path=path,
        message=f"no Gateway {wanted.namespace}/{wanted.name}",
        hint=f"did you mean {near[0]!r}?" if near else "",
    )


def _unserved(service: ConfigObject[VirtualService], gateway: ConfigObject[Gateway]) -> Iterator[Finding]:
    served = [
        host
        for server in gateway.spec.servers
        for host in _hosts_for(server.hosts, gateway.key.namespace, service.key.namespace)
    ]
    hosts = service.spec.hosts
    if hosts and not any(host_matches(pattern, host) for pattern in served for host in hosts):
        name = f"{gateway.key.namespace}/{gateway.key.name}"
        yield Finding(
            code="IST0132",
            object=service.key,
            path="spec.hosts",
            message=f"no server of Gateway {name} has any of {listed(list(hosts))}",
        )


def _hosts_for(written: tuple[str, ...], owner: str, namespace: str) -> Iterator[str]:
    """The hosts of a server that VirtualServices of ``namespace`` may bind to."""
    for text in written:
        scope, slash, host = text.partition("/")
        if not slash:
            yield text
        elif scope in {"*", namespace} or (scope == "." and owner == namespace):
            yield host
