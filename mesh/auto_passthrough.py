"""What the AUTO_PASSTHROUGH servers of a gateway pass on: mutual TLS between others, unopened.

A client of the mesh asks for ``outbound_.9080_.v1_.reviews…`` in its TLS greeting: a service, its port and a
subset. The gateway ends no TLS and needs no route; it picks an endpoint of its own network and lets the
bytes through, so that who is spoken to and who speaks are the workloads themselves (Istio,
``builtAutoPassthroughFilterChains``). That is how a network is entered, and why only what is called with
mutual TLS can be: anything else would be open to whoever reaches the gateway.

Services found by DNS are left out: a gateway that resolved names could be led to other networks by them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mesh.config import ConfigObject
from mesh.interning import Recall, gathered
from mesh.kinds.gateway import Gateway, Server
from mesh.names import ObjectKey, host_covers
from mesh.networks import GATEWAY_PORT
from mesh.services import Location, Resolution, Service
from mesh.split_horizon import Secured, secured
from mesh.views import Cluster, Forwarding, PassingServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """One AUTO_PASSTHROUGH server as it is written. ``hosts``: namespace (``*``: any) and host."""

    port: int
    bind: str
    hosts: tuple[tuple[str, str], ...]
    source: ObjectKey

    def opens_to(self, service: Service) -> bool:
        """Whether a host of the server covers the service.

        Unlike Istio, which drops it here, a namespace before the host means the service's namespace.
        """
        return any(
            namespace in ("*", service.key.namespace) and host_covers(host, service.host)
            for namespace, host in self.hosts
        )


def is_door(server: Server) -> bool:
    return server.tls is not None and server.tls.mode == "AUTO_PASSTHROUGH"


def doors(*chosen: ConfigObject[Gateway]) -> tuple[Door, ...]:
    """The AUTO_PASSTHROUGH servers of these Gateways."""
    return tuple(
        Door(
            port=server.port.number,
            bind=server.bind,
            hosts=tuple(_hosts(server, gateway.key.namespace)),
            source=gateway.key,
        )
        for gateway in chosen
        for server in gateway.spec.servers
        if is_door(server)
    )


def door_ports(gateways: tuple[ConfigObject[Gateway], ...]) -> tuple[int, ...]:
    """Every port at which some gateway passes connections on. 15443 is kept for that in any case."""
    ports = {server.port.number for gateway in gateways for server in gateway.spec.servers if is_door(server)}
    return tuple(sorted({GATEWAY_PORT, *ports}))


def _hosts(server: Server, own: str) -> Iterator[tuple[str, str]]:
    for written in server.hosts:
        namespace, _, host = written.rpartition("/")
        yield (own if namespace == "." else namespace or "*"), host


def is_passable(service: Service) -> bool:
    """Whether connections to it can be passed on: there is a proxy of the mesh that ends their TLS."""
    return service.location is Location.INTERNAL and service.resolution is Resolution.STATIC


def passing_servers(
    opened: tuple[Door, ...], clusters: tuple[Cluster, ...], recall: Recall
) -> tuple[PassingServer, ...]:
    """Which of the clusters each server passes on to. Of two servers of one port the first has the word."""
    # Envoy refuses a listener in which two chains want one name, and takes names in lower case.
    taken: defaultdict[tuple[int, str], set[str]] = defaultdict(set)
    made: list[PassingServer] = []
    for door in opened:
        names = taken[door.port, door.bind]
        passes: list[tuple[Cluster, Forwarding]] = []
        for cluster in clusters:
            if door.opens_to(cluster.service) and _is_secured(cluster):
                passed = recall.get(_passed_on, cluster)
                name = passed[0].name.lower()
                if name not in names:
                    names.add(name)
                    passes.append(passed)
        made.append(recall.get(_server, door, recall.get(gathered, *passes)))
    return recall.get(gathered, *made)


def passed_clusters(servers: tuple[PassingServer, ...]) -> tuple[Cluster, ...]:
    """All clusters that some server passes on to, each once."""
    return tuple({id(cluster): cluster for server in servers for cluster, _ in server.passes}.values())


def _is_secured(cluster: Cluster) -> bool:
    return secured(cluster.policy.tls, auto_mutual_tls=cluster.auto_mutual_tls) is not Secured.NONE


def _passed_on(cluster: Cluster) -> tuple[Cluster, Forwarding]:
    """The cluster of the gateway, and how connections go there."""
    policy = cluster.policy
    balancer = policy.load_balancer
    if balancer is not None and balancer.simple == "PASSTHROUGH":
        # Connections were going to the gateway itself.
        policy = replace(policy, load_balancer=None)
    hashing = balancer.consistent_hash if balancer is not None else None
    tcp = policy.connection_pool.tcp if policy.connection_pool else None
    passed = replace(cluster, policy=policy, is_passed_on=True, accounts=())
    return passed, Forwarding(
        cluster=passed.name,
        idle_timeout=tcp.idle_timeout if tcp else None,
        max_duration=tcp.max_connection_duration if tcp else None,
        by_source=hashing is not None and bool(hashing.use_source_ip),
        sources=passed.sources,
    )


def _server(door: Door, passes: tuple[tuple[Cluster, Forwarding], ...]) -> PassingServer:
    return PassingServer(port=door.port, bind=door.bind, source=door.source, passes=passes)
