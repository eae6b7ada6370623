"""One namespace as all registries see it together, kept up to date.

A namespace is where selectors act and where a workload answers for services, so it is the unit of work:
what one registry changes in it is found by identity, and only services and workloads that it touches are
looked at again. Mappings are replaced when something in them changed, never edited: a catalogue that was
published keeps what it had.

What a workload answers for goes by its address, whichever registry says that a service is served there: a
machine that Git declares answers for the services that Consul puts on it (Istio, ``GetProxyServiceTargets``).
At one port the registry that has the word about the workload comes first. Two workloads that one registry
puts at one address are told apart by their names; in Consul, which knows services and no machines, by their
accounts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from mesh.buckets import Buckets
from mesh.problems import Problem
from mesh.services import Inbound, Provider, Service, ServiceEndpoints, Workload
from registries.answers import SILENCE, Instance, Said
from registries.combine import Claim, Combined, Joined, Ports, Shares, combined, inbound, known_twice
from registries.picking import PICKS, Picks, Voice

# Who has the word about a workload: what was reviewed, then what a cluster has admitted.
_WORD = {Provider.GIT: 0, Provider.KUBERNETES: 1, Provider.CONSUL: 2}


class Neighbourhood:
    """Owned by the task that makes worlds."""

    def __init__(self) -> None:
        self.services: Buckets[Service] = Buckets()
        self.endpoints: Buckets[ServiceEndpoints] = Buckets()
        self.behind: Buckets[ServiceEndpoints] = Buckets()
        self.workloads: Buckets[Workload] = Buckets()
        self.inbound: Buckets[tuple[Inbound, ...]] = Buckets()
        self.combined = 0
        """How many services were combined, ever."""
        self._voices: tuple[Voice, ...] | None = None
        self._shares: Shares = {}
        self._combined: dict[str, Combined] = {}
        self._ties: dict[str, tuple[Problem, ...]] = {}
        self._picks: dict[str, Picks] = {}
        """By registry: what its selectors pick elsewhere."""
        self._at: dict[str, tuple[str, ...]] = {}
        """By address: the workloads that live there."""
        self._answering: dict[str, tuple[str, ...]] = {}
        """By address: the hosts that are served there."""
        self._known_twice: dict[str, Problem] = {}

    @property
    def ties(self) -> tuple[Problem, ...]:
        """What was decided between registries; services by host, then workloads by name."""
        of_services = (tie for _, ties in sorted(self._ties.items()) for tie in ties)
        return (*of_services, *(tie for _, tie in sorted(self._known_twice.items())))

    def follow(self, voices: tuple[Voice, ...], shares: Shares) -> bool:
        """Bring everything up to date. False when nobody says anything else than before."""
        if self._voices is not None and shares == self._shares and _same(voices, self._voices):
            return False
        before, self._voices = self._voices or (), voices
        names = set(_changed(before, voices, _workloads))
        hosts = {*_changed(before, voices, _offers), *self._pick()}
        if shares != self._shares or _in_both(before, voices) != _in_both(voices, before):
            # Another order of trust, or other hosts that are shared, may decide anything anew.
            hosts.update(self._combined, *(voice.said.offers for voice in voices))
            names.update(self.workloads, *(voice.said.workloads for voice in voices))
        self._shares = shares
        addresses = self._follow_workloads(names, before)
        for host in sorted(hosts):
            addresses |= self._combine(host, shares)
        now = {host: self._combined.get(host) for host in hosts}
        self.services = self.services.edited(
            {host: one.service if one else None for host, one in now.items()}
        )
        self.endpoints = self.endpoints.edited(
            {host: one.endpoints if one else None for host, one in now.items()}
        )
        self.behind = self.behind.edited({host: one.behind if one else None for host, one in now.items()})
        self._follow_inbound(addresses, names - self.workloads.keys())
        return True

    def _follow_workloads(self, names: Iterable[str], before: tuple[Voice, ...]) -> set[str]:
        """Whose word holds about each of these workloads. Returns the addresses where something changed."""
        voices = self._voices or ()
        in_order = sorted(voices, key=lambda voice: _WORD[voice.provider])
        touched: set[str] = set()
        edits: dict[str, Workload | None] = {}
        for name in names:
            knowing = [voice for voice in in_order if name in voice.said.workloads]
            old = self.workloads.get(name)
            new = knowing[0].said.workloads[name] if knowing else None
            # An equal one of a registry that was heard again is no news to anybody.
            edits[name] = old if old == new else new
            self._known_twice.pop(name, None)
            if new is not None and len(knowing) > 1:
                self._known_twice[name] = known_twice(knowing[0].registry, knowing[1].registry, new)
            touched.update(
                voice.said.workloads[name].address
                for voice in (*before, *voices)
                if name in voice.said.workloads
            )
            if old is not None:
                touched.add(old.address)
                _leave(self._at, old.address, name)
            if new is not None:
                _enter(self._at, new.address, (name,))
        self.workloads = self.workloads.edited(edits)
        return touched

    def _pick(self) -> Iterator[str]:
        """Let selectors pick in other registries. Yields the hosts for which the picked are others."""
        voices = self._voices or ()
        for voice in voices:
            others = tuple(other for other in voices if other.provider is PICKS.get(voice.provider))
            yield from self._picks.setdefault(voice.registry, Picks()).follow(voice.said.offers, others)
        for gone in self._picks.keys() - {voice.registry for voice in voices}:
            del self._picks[gone]

    def _combine(self, host: str, shares: Shares) -> set[str]:
        """One service anew. Returns the addresses that serve it now and did not, or did and do not."""
        claims = tuple(
            Claim(
                registry=voice.registry,
                provider=voice.provider,
                offer=voice.said.offers[host],
                picked=self._picks[voice.registry].picked.get(host, ()),
            )
            for voice in self._voices or ()
            if host in voice.said.offers
        )
        old = self._combined.pop(host, None)
        new = combined(claims, shares) if claims else None
        self.combined += 1
        self._ties.pop(host, None)
        if new is not None:
            new = self._combined[host] = _sharing(new, old)
            if new.ties:
                self._ties[host] = new.ties
        left, entered = _places(old), _places(new)
        is_other = old is None or new is None or old.service is not new.service
        touched = {address for address, *_ in (left | entered if is_other else left ^ entered)}
        now, alone = {address for address, *_ in entered}, (host,)
        for address in touched:
            if address in now:
                _enter(self._answering, address, alone)
            else:
                _leave(self._answering, address, host)
        return touched

    def _follow_inbound(self, addresses: Iterable[str], gone: Iterable[str]) -> None:
        """What the workloads at these addresses answer for."""
        by_address: dict[str, Mapping[str, list[tuple[Joined, Instance]]]] = {}
        edits: dict[str, tuple[Inbound, ...] | None] = dict.fromkeys(gone)
        alike: dict[tuple[Inbound, ...], tuple[Inbound, ...]] = {}
        for address in addresses:
            for name in self._at.get(address, ()):
                answers: dict[Inbound, int] = {}
                word = self._word_about(name)
                for host in self._answering.get(address, ()):
                    if host not in by_address:
                        by_address[host] = _by_address(self._combined[host])
                    for part, instance in by_address[host].get(address, ()):
                        if self._is_of(name, part, instance):
                            rank = int(part.registry != word)
                            for one in inbound(self._combined[host].service, part, instance):
                                answers[one] = min(rank, answers.get(one, rank))
                in_order = tuple(
                    sorted(answers, key=lambda one: (one.target, answers[one], one.service, one.port.number))
                )
                edits[name] = self._same_inbound(name, alike.setdefault(in_order, in_order))
        self.inbound = self.inbound.edited(edits)

    def _is_of(self, name: str, part: Joined, instance: Instance) -> bool:
        """Whether the instance is this workload, and not another that its registry puts at the address."""
        place = instance.workload
        if place.network and self.workloads[name].network not in ("", place.network):
            return False
        if place.name == name:
            return True
        voice = next(voice for voice in self._voices or () if voice.registry == part.registry)
        other, own = (voice.said.workloads.get(called) for called in (place.name, name))
        if other is None or own is None or not other.address == own.address == place.address:
            return True
        return voice.provider is Provider.CONSUL and other.service_account == own.service_account

    def _word_about(self, name: str) -> str:
        """The registry that has the word about a workload."""
        knowing = (voice for voice in self._voices or () if name in voice.said.workloads)
        return min(knowing, key=lambda voice: _WORD[voice.provider]).registry

    def _same_inbound(self, name: str, found: tuple[Inbound, ...]) -> tuple[Inbound, ...] | None:
        if not found:
            return None
        known = self.inbound.get(name, ())
        return known if known == found else found


def _same(some: tuple[Voice, ...], others: tuple[Voice, ...]) -> bool:
    return len(some) == len(others) and all(
        (one.registry, one.provider) == (other.registry, other.provider) and one.said is other.said
        for one, other in zip(some, others, strict=True)
    )


def _in_both(voices: tuple[Voice, ...], others: tuple[Voice, ...]) -> list[str]:
    """The registries in order, of those that are in both."""
    names = {voice.registry for voice in others}
    return [voice.registry for voice in voices if voice.registry in names]


def _offers(said: Said) -> Mapping[str, Any]:
    return said.offers


def _workloads(said: Said) -> Mapping[str, Any]:
    return said.workloads


def _changed(
    before: tuple[Voice, ...], now: tuple[Voice, ...], part: Callable[[Said], Mapping[str, Any]]
) -> Iterator[str]:
    """The names for which a registry has another object than before."""
    old = {voice.registry: voice.said for voice in before}
    new = {voice.registry: voice.said for voice in now}
    for registry in {**old, **new}:
        left, entered = part(old.get(registry, SILENCE)), part(new.get(registry, SILENCE))
        if left is not entered:
            yield from Buckets.of(entered).changed_since(left)


def _sharing(new: Combined, old: Combined | None) -> Combined:
    """The service as it is now; what is equal to before is the object from before."""
    if old is None:
        return new
    if old.endpoints == new.endpoints:
        endpoints = old.endpoints
    else:
        ports = {
            number: known if (known := old.endpoints.by_port.get(number)) == found else found
            for number, found in new.endpoints.by_port.items()
        }
        endpoints = ServiceEndpoints(ports, new.endpoints.accounts)
    return replace(
        new,
        service=old.service if old.service == new.service else new.service,
        endpoints=endpoints,
        behind=old.behind if old.behind == new.behind else new.behind,
    )


def _places(one: Combined | None) -> set[tuple[str, str, str, Ports, Ports]]:
    """Address, registry, name and ports of every instance."""
    if one is None:
        return set()
    return {
        (instance.workload.address, part.registry, instance.workload.name, instance.ports, part.ports)
        for part in one.joined
        for instance in (*part.offer.instances, *part.offer.unready)
    }


def _by_address(one: Combined) -> Mapping[str, list[tuple[Joined, Instance]]]:
    found: defaultdict[str, list[tuple[Joined, Instance]]] = defaultdict(list)
    for part in one.joined:
        for instance in (*part.offer.instances, *part.offer.unready):
            found[instance.workload.address].append((part, instance))
    return found


def _enter(index: dict[str, tuple[str, ...]], address: str, alone: tuple[str]) -> None:
    """``alone``: the name that enters. Most addresses have just one, and those of a host share the object."""
    known = index.get(address)
    if known is None:
        index[address] = alone
    elif alone[0] not in known:
        index[address] = (*known, *alone)


def _leave(index: dict[str, tuple[str, ...]], address: str, name: str) -> None:
    left = tuple(one for one in index.get(address, ()) if one != name)
    if left:
        index[address] = left
    else:
        index.pop(address, None)
