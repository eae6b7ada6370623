"""What one registry says: services, the instances behind them, and workloads.

An :class:`Answer` is a value that shares with the one before it everything that did not change, down to
the single instance, so that ``is`` tells what changed and nothing else is looked at again. Which registry
is believed where several speak of one thing is not decided here, but in ``combine.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.services import Provider, Service, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One workload that serves a service.

    ``ports`` says where it serves which port of the service: pairs of the service's port number and the
    workload's own, in order; a port that is not in it is not served here.
    """

    workload: Workload
    ports: tuple[tuple[int, int], ...]
    is_draining: bool = False

    @property
    def place(self) -> tuple[str, str, tuple[tuple[int, int], ...]]:
        """What tells it from the other instances of the service: network, address and ports."""
        return self.workload.network, self.workload.address, self.ports


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """One service as one registry knows it. Instances are sorted by :attr:`Instance.place`."""

    service: Service
    instances: tuple[Instance, ...]
    unready: tuple[Instance, ...] = ()
    """Instances that get no requests, as they are not ready or not healthy. Their proxies have the ports of
    the service all the same: a proxy that waits for its application must not wait for it to be ready."""


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What one registry says of one namespace: the same object as long as nothing in it changed."""

    offers: Mapping[str, Offer]
    """By host."""
    workloads: Mapping[str, Workload]
    """By name: whose proxies may connect, and what a selector may pick."""


SILENCE = Said({}, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something that a person should mend in the registry itself: a meta key that cannot be read, say.

    ``about`` names it in the registry's own words, ``hint`` says in the imperative what to do.
    """

    about: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """All that one registry says now. Compared by identity: a new one is made only on change."""

    registry: str
    provider: Provider
    namespaces: Mapping[str, Said] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()

    def said(self, namespace: str) -> Said:
        return self.namespaces.get(namespace, SILENCE)

    @property
    def services(self) -> int:
        """How many services it knows."""
        return sum(len(said.offers) for said in self.namespaces.values())

    @property
    def instances(self) -> int:
        """How many instances stand behind them. Walks over all services."""
        return sum(
            len(offer.instances) for said in self.namespaces.values() for offer in said.offers.values()
        )
