"""The resources of every facet in force.

A facet (DESIGN D2) is what all proxies that are equal in one respect are told. It keeps its parts, makes
them anew when the world changed in what it sees, and holds back what no proxy could take. A facet knows
nothing of streams; who composes proxies of facets is ``fleet.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mesh.scope import GatewayKey, OutboundKey, Scope
from mesh.services import ServiceKey
from mesh.views import GatewayView, HostView, InboundView, OutboundView
from mesh.world import Credential, World
from xds import envoy, translate
from xds.directory import Refusal
from xds.memo import LastMade, Memo
from xds.quarantine import Fault, Quarantine
from xds.resources import NOTHING, Part, Resource

_KEPT_MIN = 100
_NO_CREDENTIALS: Mapping[str, Credential] = {}
Made = Mapping[str, Mapping[str, Resource]]
"""Resources by type URL and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What facets are made with. One per fleet, used by its task alone."""

    scope: Scope
    memo: Memo


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One change of the world. ``moved``: the services whose endpoints changed; ``None``: look at all."""

    world: World
    moved: frozenset[ServiceKey] | None


class Facet(ABC):
    """One facet. Owned by the fleet's task."""

    types: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.wanted: dict[str, Part] = {url: NOTHING[url] for url in self.types}
        self.parts: dict[str, Part] = dict(self.wanted)
        self._quarantines = {url: Quarantine() for url in self.types}
        self.adopted: dict[str, int] = {}
        """By type: the serial number of the part with which the revision in force was adopted (D16)."""
        self.world: World | None = None
        self._kept: LastMade = {}
        self.is_forgotten = False
        """Whether nobody had it in the last turn."""

    @property
    def name(self) -> str:
        """Tells this facet from every other, in one process."""
        return f"{type(self).__name__.removesuffix('Facet').lower()}-{id(self):x}"

    @abstractmethod
    def make(self, turn: Turn, bench: Bench) -> Made:
        """The resources of this facet. Only types that may have changed."""

    def follow(self, turn: Turn, bench: Bench) -> None:
        """Make what the world wants of this facet. Nothing is in force before :meth:`serve`."""
        with bench.memo.on_behalf_of(self.name, self._kept):
            made = self.make(turn, bench)
        for type_url, resources in made.items():
            self.wanted[type_url] = self.wanted[type_url].succeeded_by(resources)
        self._forget_oldest()
        self.world = turn.world

    def _forget_oldest(self) -> None:
        """What was kept for names that nobody asked for in a long time."""
        enough = _KEPT_MIN + 4 * sum(len(part) for part in self.wanted.values())
        while len(self._kept) > enough:
            del self._kept[next(iter(self._kept))]

    def serve(self) -> bool:
        """Put in force what is wanted and not in quarantine. True when a part changed."""
        changed = False
        for type_url, wanted in self.wanted.items():
            served = self._quarantines[type_url].serve(wanted)
            changed = changed or served is not self.parts[type_url]
            self.parts[type_url] = served
        return changed

    def adopt(self) -> None:
        """A revision is in force with these parts."""
        self.adopted = {type_url: part.serial for type_url, part in self.parts.items()}

    def acknowledged(self, part: Part) -> bool:
        """A proxy holds this part of the facet. True when something can be let out of quarantine."""
        url = part.type_url
        is_current = part is self.parts[url] or part is self.wanted[url]
        return is_current and self._quarantines[url].acknowledged(part)

    def refused(self, refusal: Refusal) -> Fault:
        """Whose fault a refusal is. After ``BYTES``, :meth:`serve` again."""
        if refusal.type_url not in self._quarantines:
            return Fault.OUTDATED
        return self._quarantines[refusal.type_url].refused(refusal)


class OutboundFacet(Facet):
    """What the applications behind one kind of sidecar can call, and where that is."""

    types = (envoy.CLUSTER, envoy.ENDPOINTS, envoy.LISTENER, envoy.ROUTES)

    def __init__(self, key: OutboundKey) -> None:
        super().__init__()
        self._key = key
        self._view: OutboundView | None = None

    def make(self, turn: Turn, bench: Bench) -> Made:
        view = bench.scope.outbound(turn.world, self._key)
        made: dict[str, Mapping[str, Resource]] = {}
        if view is not self._view or turn.moved is None:
            made.update(_by_name(bench.memo.keyed((view,), translate.outbound_resources, view, bench.memo)))
        made[envoy.ENDPOINTS] = _endpoints(
            view, self._view, turn, bench, self.wanted[envoy.ENDPOINTS].resources
        )
        self._view = view
        return made


class GatewayFacet(Facet):
    """What one kind of gateway offers, what it calls, and where that is."""

    types = envoy.TYPES

    def __init__(self, key: GatewayKey) -> None:
        super().__init__()
        self._key = key
        self._offered: GatewayView | None = None
        self._credentials = _NO_CREDENTIALS
        self._view: OutboundView | None = None

    def make(self, turn: Turn, bench: Bench) -> Made:
        offered, view = bench.scope.gateway(turn.world, self._key)
        made: dict[str, Mapping[str, Resource]] = {}
        if view is not self._view or turn.moved is None:
            outbound = bench.memo.keyed((view,), translate.outbound_resources, view, bench.memo)
            made[envoy.CLUSTER] = _by_name(outbound)[envoy.CLUSTER]
        credentials = turn.world.trust.credentials.get(self._key.namespace, _NO_CREDENTIALS)
        if (offered, credentials) != (self._offered, self._credentials) or turn.moved is None:
            made.update(
                _by_name(
                    bench.memo.keyed(
                        (offered, credentials), translate.gateway_resources, offered, bench.memo, credentials
                    )
                )
            )
        made[envoy.ENDPOINTS] = _endpoints(
            view, self._view, turn, bench, self.wanted[envoy.ENDPOINTS].resources
        )
        self._offered, self._credentials, self._view = offered, credentials, view
        return made


class InboundFacet(Facet):
    """What one workload answers for, and whom it lets in. Its key is its view: it never changes."""

    types = (envoy.CLUSTER, envoy.LISTENER)

    def __init__(self, view: InboundView) -> None:
        super().__init__()
        self._view = view

    def make(self, turn: Turn, bench: Bench) -> Made:
        if self.world is not None and turn.moved is not None:
            return {}
        return _by_name(bench.memo.keyed((self._view,), translate.inbound_resources, self._view, bench.memo))


class HostFacet(Facet):
    """What one machine binds (interception ``NONE``). Its key is its view: it never changes."""

    types = (envoy.LISTENER,)

    def __init__(self, view: HostView) -> None:
        super().__init__()
        self._view = view

    def make(self, turn: Turn, bench: Bench) -> Made:
        if self.world is not None and turn.moved is not None:
            return {}
        return _by_name(bench.memo.keyed((self._view,), translate.host_resources, self._view, bench.memo))


class TrustFacet(Facet):
    """Whom every proxy of the mesh believes."""

    types = (envoy.SECRET,)

    def make(self, turn: Turn, bench: Bench) -> Made:
        roots = turn.world.trust.roots
        return _by_name(bench.memo.keyed((roots,), translate.trust_resources, roots, bench.memo))


def _by_name(made: Mapping[str, Iterable[Resource]]) -> dict[str, Mapping[str, Resource]]:
    return {type_url: Part.of(type_url, resources).resources for type_url, resources in made.items()}


def _endpoints(
    view: OutboundView,
    before: OutboundView | None,
    turn: Turn,
    bench: Bench,
    known: Mapping[str, Resource],
) -> Mapping[str, Resource]:
    """The assignments of the view's clusters; while these are the same, of those that moved alone."""
    is_partial = (
        before is not None
        and view.clusters is before.clusters
        and view.standpoint is before.standpoint
        and turn.moved is not None
    )
    keys: Iterable[ServiceKey] = (
        turn.moved or () if is_partial else dict.fromkeys(cluster.service.key for cluster in view.clusters)
    )
    asked = bench.scope.endpoints(turn.world, view, keys)
    if is_partial and not asked.by_cluster:
        return known
    made = _by_name(translate.endpoint_resources(asked, bench.memo))[envoy.ENDPOINTS]
    return {**known, **made} if is_partial else made
