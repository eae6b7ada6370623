"""Networks: which one an address belongs to, and by which gateways one enters the others.

Within a network everybody reaches everybody; from one to another only what has a gateway is reached
differently (Istio, "MeshNetworks"). Where no network has a gateway, networks decide nothing at all, and
nothing that proxies are told depends on them. What a proxy is told of endpoints on other networks is made
in ``split_horizon.py``.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from mesh.kinds.mesh import Mesh
from mesh.names import is_ip
from mesh.services import Locality, NetworkGateway

LABEL = "topology.istio.io/network"
"""On a workload: the network that it is in. On a service: the network whose gateway it is."""
PORT_LABEL = "networking.istio.io/gatewayPort"
"""On a service that is a gateway: the port, if it is not :data:`GATEWAY_PORT`."""
GATEWAY_PORT = 15443

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkNames:
    """Which network an address belongs to whose workload does not say so itself.

    First what meshNetworks says of the registry, then of the longest block around the address (Istio,
    ``networkFromMeshNetworks``), then what the registry's own settings say.
    """

    from_registry: Pairs = ()
    from_cidr: tuple[tuple[IPv4Network | IPv6Network, str], ...] = ()
    """Longest blocks first."""
    of_registry: Pairs = ()

    def of(self, registry: str, address: str, said: str = "") -> str:
        """The network of a workload that ``registry`` knows at ``address``; empty when nobody knows."""
        return (
            said
            or _first(self.from_registry, registry)
            or self._around(address)
            or _first(self.of_registry, registry)
        )

    def _around(self, address: str) -> str:
        if not self.from_cidr or not is_ip(address):
            return ""
        place = ipaddress.ip_address(address)
        return next((network for block, network in self.from_cidr if place in block), "")


def _first(pairs: Pairs, wanted: str) -> str:
    return next((network for name, network in pairs if name == wanted), "")


def network_names(mesh: Mesh) -> NetworkNames | None:
    """What the Mesh document says of networks; ``None``: nothing, so every workload's word stands."""
    from_registry: list[tuple[str, str]] = []  # of several the first by name counts, as in the blocks
    blocks: dict[IPv4Network | IPv6Network, str] = {}
    for name, network in mesh.mesh_networks.networks.items():
        for endpoints in network.endpoints:
            if endpoints.from_registry is not None:
                from_registry.append((endpoints.from_registry, name))
            elif endpoints.from_cidr is not None:
                blocks.setdefault(ipaddress.ip_network(endpoints.from_cidr, strict=False), name)
    made = NetworkNames(
        from_registry=tuple(from_registry),
        from_cidr=tuple(sorted(blocks.items(), key=lambda one: (-one[0].prefixlen, str(one[0])))),
        of_registry=tuple((one.name, one.network) for one in mesh.registries if one.network),
    )
    return None if made == NetworkNames() else made


def declared_gateways(mesh: Mesh) -> tuple[NetworkGateway, ...]:
    """The gateways whose addresses the Mesh document says."""
    return tuple(
        NetworkGateway(
            network=name,
            address=gateway.address,
            port=gateway.port,
            locality=Locality.parse(gateway.locality) if gateway.locality else None,
        )
        for name, network in mesh.mesh_networks.networks.items()
        for gateway in network.gateways
        if gateway.address is not None
    )


@dataclass(frozen=True, slots=True)
class Gateways:
    """The gateways of all networks; false when there are none."""

    by_network: tuple[tuple[str, tuple[NetworkGateway, ...]], ...] = ()
    """Sorted by network; each one's by address and port."""

    def __bool__(self) -> bool:
        return bool(self.by_network)

    def seen_from(self, network: str) -> Standpoint:
        """How the others are reached from ``network`` (empty: nobody knows which)."""
        return Standpoint(network, tuple(pair for pair in self.by_network if pair[0] != network))


def all_gateways(declared: tuple[NetworkGateway, ...], found: tuple[NetworkGateway, ...]) -> Gateways:
    """Those of the Mesh document and those that are services. A place that both name counts once."""
    places: dict[tuple[str, str, int], NetworkGateway] = {}
    for gateway in (*declared, *found):
        places.setdefault(gateway.order, gateway)
    by_network: defaultdict[str, list[NetworkGateway]] = defaultdict(list)
    for at in sorted(places):
        by_network[places[at].network].append(places[at])
    return Gateways(tuple((network, tuple(members)) for network, members in by_network.items()))


@dataclass(frozen=True, slots=True)
class Standpoint:
    """A network, and the gateways of all others as they are used from there."""

    network: str
    others: tuple[tuple[str, tuple[NetworkGateway, ...]], ...]
    """Those that have gateways, sorted."""
    doors: tuple[int, ...] = ()
    """For a gateway: the ports at which gateways pass connections on, and to which none may be passed on."""

    def gateways_to(self, network: str) -> tuple[NetworkGateway, ...]:
        """By which gateways a workload of ``network`` is reached; none: at its own address.

        An unknown network is taken for one's own, and one without a gateway is reached as if it were
        (Istio, ``EndpointsByNetworkFilter``).
        """
        if not network or network == self.network:
            return ()
        return next((members for name, members in self.others if name == network), ())


NOWHERE = Standpoint("", ())
"""Where networks decide nothing."""
