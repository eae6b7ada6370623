"""Endpoints as they are seen from one network: those of others behind their gateways, weights kept.

Istio calls it "split horizon" (``pilot/pkg/xds/endpoints``). A gateway tells connections apart by the server
name of mutual TLS, so only endpoints that are spoken to with mutual TLS can be reached through one; others
are left out. An endpoint's weight is spread over all gateways of its network. So that this leaves no
rest, all weights are multiplied by the least common multiple of the numbers of gateways, and then divided
by what they have in common.

Unlike Istio, which puts a gateway into the group of each locality that it stands for, a gateway is one
endpoint here: Envoy keeps only the first of several endpoints with one address, and with it only its weight.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from enum import Enum, auto

from mesh.kinds.tls import ClientTLSSettings
from mesh.networks import Standpoint
from mesh.services import Endpoint, Locality, NetworkGateway

Gateways = tuple[NetworkGateway, ...]
# Of a locality's endpoints together. Envoy, "config.endpoint.v3.LocalityLbEndpoints".
_WEIGHT_MAX = 2**32 - 1


class Secured(Enum):
    """Which endpoints of a cluster are spoken to with mutual TLS of the mesh."""

    ALL = auto()
    MARKED = auto()
    NONE = auto()


def secured(written: ClientTLSSettings | None, *, auto_mutual_tls: bool) -> Secured:
    """What a DestinationRule says replaces the endpoints' own marks. Istio, ``checkMtlsEnabled``."""
    if written is not None:
        return Secured.ALL if written.mode == "ISTIO_MUTUAL" else Secured.NONE
    return Secured.MARKED if auto_mutual_tls else Secured.NONE


def has_mutual_tls(endpoint: Endpoint, which: Secured) -> bool:
    return which is Secured.ALL or (which is Secured.MARKED and endpoint.mutual_tls)


def seen_from(
    standpoint: Standpoint, which: Secured, endpoints: tuple[Endpoint, ...]
) -> tuple[Endpoint, ...]:
    """The endpoints as clients of the standpoint's network reach them: the same tuple where all are near."""
    near: list[Endpoint] = []
    far: defaultdict[Gateways, list[Endpoint]] = defaultdict(list)
    for endpoint in endpoints:
        gateways = standpoint.gateways_to(endpoint.network)
        if gateways:
            if has_mutual_tls(endpoint, which) and not endpoint.is_draining:
                far[gateways].append(endpoint)
        elif endpoint.address:  # a workload may say no more of where it is than its network
            near.append(endpoint)
    if len(near) == len(endpoints):
        return endpoints
    return _weighed(near, far) if far else tuple(near)


def within(standpoint: Standpoint, which: Secured, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """The endpoints to which a gateway that stands there passes connections on.

    Never to a gateway, of another network or its own, or connections would go in circles for ever: the name
    asked for stays what it was. If it is known which network the gateway is of, to no other at all (Istio,
    ``REQUESTED_NETWORK_VIEW``).
    """
    own = standpoint.network
    return tuple(
        endpoint
        for endpoint in endpoints
        if endpoint.address
        and endpoint.port not in standpoint.doors
        and has_mutual_tls(endpoint, which)
        and (endpoint.network in ("", own) if own else not standpoint.gateways_to(endpoint.network))
    )


def _weighed(near: list[Endpoint], far: dict[Gateways, list[Endpoint]]) -> tuple[Endpoint, ...]:
    scale = math.lcm(*(len(gateways) for gateways in far))
    weights: defaultdict[tuple[str, int], int] = defaultdict(int)
    behind: defaultdict[tuple[str, int], list[Locality]] = defaultdict(list)
    doors: dict[tuple[str, int], NetworkGateway] = {}
    for gateways, endpoints in far.items():
        for gateway in gateways:
            at = gateway.address, gateway.port
            doors.setdefault(at, gateway)
            weights[at] += sum(_weight(endpoint) for endpoint in endpoints) * scale // len(gateways)
            behind[at] += (endpoint.locality for endpoint in endpoints)
    entered = (
        Endpoint(
            address=gateway.address,
            port=gateway.port,
            weight=weights[at],
            locality=gateway.locality or _shared(behind[at]),
            mutual_tls=True,
            network=gateway.network,
        )
        for at, gateway in sorted(doors.items())
    )
    return _reduced((*(replace(one, weight=_weight(one) * scale) for one in near), *entered))


def _reduced(endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """The same shares in the smallest numbers; approximate where they would be too large for Envoy."""
    divisor = math.gcd(*(endpoint.weight for endpoint in endpoints))
    total = sum(endpoint.weight for endpoint in endpoints) // divisor
    # Nobody is left with nothing, so each may be one too many.
    divisor *= math.ceil(total / (_WEIGHT_MAX - len(endpoints)))
    return tuple(replace(one, weight=max(1, one.weight // divisor)) for one in endpoints)


def _weight(endpoint: Endpoint) -> int:
    """0 is "not said" in a WorkloadEntry."""
    return max(1, endpoint.weight)


def _shared(localities: Iterable[Locality]) -> Locality:
    """What several localities have in common."""
    first, *others = dict.fromkeys(localities)
    parts = [first.region, first.zone, first.subzone]
    for at, name in enumerate(("region", "zone", "subzone")):
        if any(getattr(other, name) != parts[at] for other in others):
            return Locality(*parts[:at])
    return first
