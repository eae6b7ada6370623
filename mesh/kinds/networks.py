"""MeshNetworks: which addresses belong to which network, and by which gateways it is entered."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator

from mesh.kinds.frozen import FrozenMap
from mesh.kinds.kind import Kind, Text, Unsigned
from mesh.kinds.rules import below, dns_label, domain, ip_block, one_of, port, said, wrong
from mesh.names import is_ip
from mesh.places import Place
from mesh.problems import Problem


class NetworkEndpoints(Kind):
    """Istio, "Network.NetworkEndpoints"."""

    from_cidr: Text | None = None
    from_registry: Text | None = None


class IstioNetworkGateway(Kind):
    """Istio, "Network.IstioNetworkGateway"."""

    registry_service_name: Text | None = None
    address: Text | None = None
    port: Unsigned
    locality: Text = ""


class Network(Kind):
    """Istio, "Network"."""

    endpoints: tuple[NetworkEndpoints, ...] = ()
    gateways: tuple[IstioNetworkGateway, ...] = ()


class MeshNetworks(Kind):
    """Istio, "MeshNetworks"."""

    networks: FrozenMap[Text, Network] = FrozenMap()


NO_NETWORKS = MeshNetworks()


def check(networks: MeshNetworks, registries: Collection[str], where: Place, at: str) -> Iterator[Problem]:
    """Istio, ``validateNetwork`` and ``MeshNetworksAnalyzer``. ``registries`` are those there are."""
    taken: dict[str, str] = {}
    for name, network in networks.networks.items():
        here = below(f"{at}.networks", name)
        if not name:
            yield from wrong(where, here, "expected the name of a network, found nothing")
        for index, endpoints in enumerate(network.endpoints):
            yield from _endpoints(endpoints, registries, where, f"{here}.endpoints[{index}]")
            yield from _taken(endpoints, name, taken, where, f"{here}.endpoints[{index}]")
        for index, gateway in enumerate(network.gateways):
            yield from _gateway(gateway, where, f"{here}.gateways[{index}]")


def _endpoints(
    endpoints: NetworkEndpoints, registries: Collection[str], where: Place, at: str
) -> Iterator[Problem]:
    chosen = said(fromCidr=endpoints.from_cidr, fromRegistry=endpoints.from_registry)
    yield from one_of(where, at, chosen)
    if not chosen:
        yield from wrong(where, at, "expected one of fromCidr, fromRegistry")
    if endpoints.from_cidr is not None:
        yield from wrong(where, f"{at}.fromCidr", ip_block(endpoints.from_cidr))
    name = endpoints.from_registry
    if name is None:
        return
    if mistake := dns_label(name):
        yield from wrong(where, f"{at}.fromRegistry", mistake)
    elif name not in registries:
        # Unlike Istio, only a warning: in an export of a cluster these are names of clusters, and what
        # is said of one that is not here does no harm.
        hint = f"known registries are {', '.join(sorted(registries))}"
        yield where.problem("IST0126", f"{at}.fromRegistry", f"no registry is called {name!r}", hint)


def _taken(
    endpoints: NetworkEndpoints, network: str, taken: dict[str, str], where: Place, at: str
) -> Iterator[Problem]:
    """What stands in two networks is in the first of them by name, which is how maps are sorted."""
    cidr, registry = endpoints.from_cidr, endpoints.from_registry
    if registry is not None:
        what, path = f"registry {registry!r}", f"{at}.fromRegistry"
    elif cidr is not None and not ip_block(cidr):
        what, path = f"block {ipaddress.ip_interface(cidr).network}", f"{at}.fromCidr"
    else:
        return
    other = taken.setdefault(what, network)
    if other != network:
        message = f"{what} stands in networks {other!r} and {network!r}; it counts as {other!r}"
        yield where.problem("IST0133", path, message)


def _gateway(gateway: IstioNetworkGateway, where: Place, at: str) -> Iterator[Problem]:
    chosen = said(address=gateway.address, registryServiceName=gateway.registry_service_name)
    yield from one_of(where, at, chosen)
    if not chosen:
        yield from wrong(where, at, "expected one of address, registryServiceName")
    if gateway.registry_service_name is not None:
        yield from wrong(where, f"{at}.registryServiceName", domain(gateway.registry_service_name))
    address = gateway.address
    if address is not None and not is_ip(address):
        if mistake := domain(address):
            yield from wrong(where, f"{at}.address", mistake)
        else:
            # Envoy takes no names in an assignment of endpoints, and what translates resolves nothing.
            message = f"a gateway's address that is a name ({address!r}) is not supported yet"
            hint = "give its IP address, and one gateway for each"
            yield where.problem("MW0004", f"{at}.address", message, hint)
    yield from wrong(where, f"{at}.port", port(gateway.port))
