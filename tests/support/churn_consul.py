"""A Consul whose catalogue is large and changes all the time: 500 services of 20 instances each.

The first ten instances of each service stay as they are. The others are registered, deregistered, fail and
pass their checks, go into maintenance and come out of it, and change their meta or their port. What is
expected in the end is read from Consul's own ``health/service``, one service after the other.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.servers.consul import ConsulAgent
from tests.support.churn import Change
from tests.support.churn_stage import Places

SERVICES, INSTANCES, STEADY = 500, 20, 10
_NODES = 200
_WATCHED = 6
_PORTS = range(1024, 60_000)

Place = tuple[int, int]
"""A service and the number of an instance of it."""
Operation = dict[str, Any]


def registry(agent: ConsulAgent) -> dict[str, Any]:
    """As ``Mesh.spec.registries`` has it."""
    return {"name": "dc1", "consul": {"address": agent.url, "mapping": {"port": 80, "protocol": "http"}}}


@dataclass(slots=True)
class ConsulSource:
    """The catalogue of one agent. Owned by the test that churns it."""

    agent: ConsulAgent
    kinds: Counter[str] = field(default_factory=Counter)
    """How often each kind of change was chosen."""
    _state: dict[Place, str] = field(default_factory=dict)
    """Of those that are not well."""
    _ports: dict[Place, int] = field(default_factory=dict)
    _busy: set[Place] = field(default_factory=set)
    _turns: Iterator[int] = field(default_factory=lambda: iter(range(1, 1_000_000)))

    def fill(self) -> None:
        """Put everything into the catalogue."""
        self.agent.write(
            [
                {"Node": {"Verb": "set", "Node": {"Node": f"node-{number}", "Address": f"10.99.0.{number}"}}}
                for number in range(_NODES)
            ]
        )
        every = [(service, number) for service in range(SERVICES) for number in range(INSTANCES)]
        self.agent.write([step for place in every for step in (self._registration(place), _check(place))])

    @property
    def steady(self) -> Mapping[str, Places]:
        return {
            _cluster(f"s{service}"): {
                (_address((service, number)), 80): "HEALTHY" for number in range(STEADY)
            }
            for service in range(0, SERVICES, SERVICES // _WATCHED)
        }

    def change(self, how: random.Random) -> Change:
        place = self._choose(how)
        self._busy.add(place)
        state = self._state.pop(place, "well")
        kind = {"sick": "pass", "gone": "register", "drained": "resume"}.get(state) or how.choice(
            ("fail", "deregister", "drain", "move", "relabel")
        )
        self.kinds[kind] += 1
        old = _address(place), self._ports.get(place, 80)
        match kind:
            case "pass":
                return self._change(place, [_check(place)], old, "HEALTHY")
            case "register":
                return self._change(place, [self._registration(place), _check(place)], old, "HEALTHY")
            case "resume":
                return self._change(place, [_no_maintenance(place)], old, "HEALTHY")
            case "fail":
                self._state[place] = "sick"
                return self._change(place, [_check(place, "critical")], old, "")
            case "deregister":
                self._state[place] = "gone"
                return self._change(place, [_removal(place)], old, "")
            case "drain":
                self._state[place] = "drained"
                return self._change(place, [_maintenance(place)], old, "DRAINING")
            case "move":
                port = self._ports[place] = how.choice(_PORTS)
                return self._change(place, [self._registration(place)], (_address(place), port), "HEALTHY")
            case _:
                # Envoy has nothing to show for it: whoever waits for it is content with what is there.
                step = self._registration(place, version=f"v{next(self._turns)}")
                return self._change(place, [step], old, "HEALTHY")

    def kill(self) -> None:
        self.agent.kill()

    def start(self) -> None:
        self.agent.start()

    def expected(self) -> Mapping[str, Places]:
        names = set(self.agent.ask("GET", "/v1/catalog/services")) - {"consul"}
        return {_cluster(name): _served(self.agent.health(name)) for name in names}

    def _choose(self, how: random.Random) -> Place:
        """One of those that are not well, about as often as one of those that are."""
        unwell = list(self._state)
        while True:
            place = how.randrange(SERVICES), how.randrange(STEADY, INSTANCES)
            if unwell and how.random() < 0.4:
                place = how.choice(unwell)
            if place not in self._busy:
                return place

    def _change(self, place: Place, steps: Sequence[Operation], at: tuple[str, int], health: str) -> Change:
        return Change(
            write=partial(self.agent.write, steps),
            cluster=_cluster(f"s{place[0]}"),
            shows=lambda there: there.get(at, "") == health,
            done=partial(self._busy.discard, place),
        )

    def _registration(self, place: Place, version: str = "v1") -> Operation:
        known = {
            "ID": _id(place),
            "Service": f"s{place[0]}",
            "Address": _address(place),
            "Port": self._ports.get(place, 80),
            "Meta": {"serviceAccount": f"a{place[0] % 50}", "version": version},
        }
        return {"Service": {"Verb": "set", "Node": _node(place), "Service": known}}


def _served(entries: Sequence[Mapping[str, Any]]) -> Places:
    """Which instances get requests: those whose checks pass; maintenance is no sickness, but drains."""
    found: dict[tuple[str, int], str] = {}
    for entry in entries:
        failing = [one["CheckID"] for one in entry["Checks"] if one["Status"] != "passing"]
        if all(check.startswith("_service_maintenance:") for check in failing):
            at = entry["Service"]["Address"], entry["Service"]["Port"]
            found[at] = "DRAINING" if failing else "HEALTHY"
    return found


def _cluster(service: str) -> str:
    return f"outbound|80||{service}.service.consul"


def _address(place: Place) -> str:
    return f"10.{place[0] // 250}.{place[0] % 250}.{place[1] + 1}"


def _id(place: Place) -> str:
    return f"s{place[0]}-{place[1]}"


def _node(place: Place) -> str:
    return f"node-{(place[0] * INSTANCES + place[1]) % _NODES}"


def _check(place: Place, status: str = "passing", *, check_id: str = "") -> Operation:
    known = {
        "Node": _node(place),
        "CheckID": check_id or f"c-{_id(place)}",
        "Name": "a check",
        "Status": status,
        "ServiceID": _id(place),
        "ServiceName": f"s{place[0]}",
    }
    return {"Check": {"Verb": "set", "Check": known}}


def _maintenance(place: Place) -> Operation:
    """As ``consul maint`` does it."""
    return _check(place, "critical", check_id=f"_service_maintenance:{_id(place)}")


def _no_maintenance(place: Place) -> Operation:
    known = {"Node": _node(place), "CheckID": f"_service_maintenance:{_id(place)}"}
    return {"Check": {"Verb": "delete", "Check": known}}


def _removal(place: Place) -> Operation:
    known = {"ID": _id(place), "Service": f"s{place[0]}"}
    return {"Service": {"Verb": "delete", "Node": _node(place), "Service": known}}
