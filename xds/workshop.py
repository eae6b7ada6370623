"""Where proxies are put into facets, and facets follow the world: beside the loop.

Making the resources of a large mesh takes longer than the loop may be kept (DESIGN 5), so the fleet calls
:meth:`Workshop.turn` in a thread. The workshop belongs to the fleet's task all the same: it is used on the
loop or in that thread, never in both at once, and what it makes is put in force on the loop by
:meth:`Workshop.serve`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace

from mesh.interning import Interner
from mesh.proxies import Proxy
from mesh.scope import Facets, GatewayKey, OutboundKey, Scope
from mesh.services import ServiceKey
from mesh.views import HostView, InboundView
from mesh.world import World
from xds.facets import (
    Bench,
    Facet,
    GatewayFacet,
    HostFacet,
    InboundFacet,
    OutboundFacet,
    TrustFacet,
    Turn,
)
from xds.memo import Memo

_TRUST = "trust"


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """One proxy and the facets it is composed of, in a fixed order. The same object as long as both are."""

    proxy: Proxy
    keys: Facets
    facets: tuple[Facet, ...]


class Workshop:
    """All facets in force and what they are made with."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.memo = Memo()
        self._bench = Bench(scope=Scope(), memo=self.memo)
        self._proxies = Interner()
        self._trust = TrustFacet()
        self._facets: dict[Hashable, Facet] = {_TRUST: self._trust}

    @property
    def facets(self) -> tuple[Facet, ...]:
        return tuple(self._facets.values())

    @property
    def remembered(self) -> int:
        """How many results are kept so as not to be made again."""
        return len(self.memo) + len(self._bench.scope.recall)

    def seat(self, proxy: Proxy, before: Seat | None = None) -> Seat:
        """The facets of a proxy in the world in force; those that nobody had are there, and not made yet."""
        proxy = _known(self.world, proxy)
        if before is None:
            # What is remembered goes by identity, and one that comes back is a new object each time.
            proxy = self._proxies(proxy)
        keys = self._bench.scope.facets(self.world, proxy)
        if before is not None and before.proxy is proxy and before.keys is keys:
            return before
        found: list[Facet] = []
        for key in (keys.outbound, keys.inbound, keys.host):
            if key is not None:
                if key not in self._facets:
                    self._facets[key] = _facet(key)
                found.append(self._facets[key])
        return Seat(proxy, keys, (*found, self._trust))

    def is_made(self, seat: Seat) -> bool:
        return all(facet.world is self.world for facet in seat.facets)

    def turn(self, world: World, seats: Iterable[Seat]) -> list[Seat]:
        """Make everything that the new world changes. Returns where each proxy sits now."""
        before, self.world = self.world, world
        # Once in a while everything in force is asked for, so that the rest can be forgotten.
        is_crowded = self.memo.is_crowded or self._bench.scope.recall.is_crowded
        if is_crowded:
            self.memo.begin_generation()
            self._bench.scope.begin_generation()
        now = [self.seat(seat.proxy, seat) for seat in seats]
        self._forget_facets(now)
        moved = None if is_crowded else _moved(before, world)
        for facet in self.facets:
            self._make(facet, None if facet.world is None else moved)
        if is_crowded:
            self.memo.end_generation()
            self._bench.scope.end_generation()
            self._proxies.drop_unused()
        return now

    def make(self, seats: Iterable[Seat]) -> None:
        """Make the facets that these alone have; nobody else's are touched."""
        for seat in seats:
            for facet in seat.facets:
                if facet.world is not self.world:
                    self._make(facet, None)

    def _make(self, facet: Facet, moved: frozenset[ServiceKey] | None) -> None:
        """A bug that one facet trips over costs that facet the change, and nobody else anything."""
        turn = Turn(world=self.world, moved=moved)
        self.memo.contained(facet.name, type(facet).follow, (), lambda: facet.follow(turn, self._bench))

    def serve(self) -> frozenset[Facet]:
        """Put in force what was made and is not in quarantine. Returns the facets that changed by it."""
        return frozenset(
            facet for facet in self._facets.values() if facet.world is not None and facet.serve()
        )

    def _forget_facets(self, seats: Iterable[Seat]) -> None:
        """Facets of nobody. One generation of them stays, for proxies that come right back."""
        used = {facet for seat in seats for facet in seat.facets}
        for key, facet in tuple(self._facets.items()):
            is_unused = facet is not self._trust and facet not in used
            if is_unused and facet.is_forgotten:
                del self._facets[key]
                self.memo.forget_owner(facet.name)
            facet.is_forgotten = is_unused


def _facet(key: Hashable) -> Facet:
    match key:
        case OutboundKey():
            return OutboundFacet(key)
        case InboundView():
            return InboundFacet(key)
        case HostView():
            return HostFacet(key)
        case GatewayKey():
            return GatewayFacet(key)
        case _:
            raise TypeError(f"no facet has the key {key!r}")


def _moved(before: World, world: World) -> frozenset[ServiceKey] | None:
    """The services whose endpoints are other than before; ``None`` when policy decides anew about all."""
    policies = "PeerAuthentication"
    if (
        before.config.of(policies) is not world.config.of(policies)
        or before.config.mesh is not world.config.mesh
    ):
        return None
    return frozenset(world.services.endpoints.changed_since(before.services.endpoints))


def _known(world: World, proxy: Proxy) -> Proxy:
    """The proxy by what is known of it now: the same object as long as that is the same."""
    workload = world.services.workloads.get((proxy.namespace, proxy.name))
    if workload is None:
        return proxy
    known = workload.address, workload.service_account, workload.labels, workload.network
    if known == (proxy.address, proxy.service_account, proxy.labels, proxy.network):
        return proxy
    address, account, labels, network = known
    return replace(proxy, address=address, service_account=account, labels=labels, network=network)
