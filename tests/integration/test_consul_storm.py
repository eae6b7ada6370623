"""A large Consul in which everything changes at once: nothing is missed, and it is not asked to death.

``MESHWRIGHT_STORM_SECONDS`` makes the storm longer than the few seconds that the suite has for it.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from mesh.clock import SystemClock
from registries.answers import Instance
from registries.consul.client import Client, Reply
from registries.consul.pace import AT_LEISURE
from tests.servers.consul import ConsulAgent
from tests.support.consul_registries import Listening, content, listening, read_afresh

SERVICES, INSTANCES, NODES = 500, 20, 200
CHANGES_PER_SECOND = 50
SECONDS = int(os.environ.get("MESHWRIGHT_STORM_SECONDS", "8"))
Place = tuple[int, int]
Operation = dict[str, Any]


def registration(place: Place, port: int = 80) -> Operation:
    service, number = place
    own = {"ID": f"s{service}-{number}", "Service": f"s{service}", "Port": port}
    address = f"10.{service // 250}.{service % 250}.{number}"
    meta = {"serviceAccount": f"a{service % 50}"}
    known = {**own, "Address": address, "Meta": meta}
    return {"Service": {"Verb": "set", "Node": node_of(place), "Service": known}}


def check(place: Place, status: str = "passing") -> Operation:
    service, number = place
    own = {"CheckID": f"c-{service}-{number}", "Name": "ttl", "Status": status}
    of = {"ServiceID": f"s{service}-{number}", "ServiceName": f"s{service}"}
    return {"Check": {"Verb": "set", "Check": {"Node": node_of(place), **own, **of}}}


def removal(place: Place) -> Operation:
    service, number = place
    own = {"ID": f"s{service}-{number}", "Service": f"s{service}"}
    return {"Service": {"Verb": "delete", "Node": node_of(place), "Service": own}}


def node_of(place: Place) -> str:
    return f"node-{(place[0] * INSTANCES + place[1]) % NODES}"


@dataclass(slots=True)
class Storm:
    """Changes in no order, each of one instance, and how long each took to be in the answer."""

    heard: Listening
    agent: ConsulAgent
    clock: SystemClock = field(default_factory=SystemClock)
    pending: dict[Place, tuple[float, Callable[[Instance | None], bool]]] = field(default_factory=dict)
    lags: list[float] = field(default_factory=list)
    _state: dict[Place, str] = field(default_factory=dict)
    _turns: Iterator[int] = field(default_factory=lambda: iter(range(10_000_000)))

    def served(self, place: Place) -> Instance | None:
        offer = self.heard.offer(f"s{place[0]}")
        name = f"s{place[0]}-{place[1]}"
        found = (one for one in offer.instances if one.workload.name == name) if offer else iter(())
        return next(found, None)

    async def change(self, place: Place, how: random.Random) -> None:
        state = self._state.get(place, "well")
        port = 1000 + next(self._turns) % 60_000
        match state, how.randrange(3):
            case "sick", _:
                self._state[place] = "well"
                operations, shows = [check(place)], _is_served
            case "gone", _:
                self._state[place] = "well"
                operations, shows = [registration(place), check(place)], _is_served
            case _, 0:
                self._state[place] = "sick"
                operations, shows = [check(place, "critical")], _is_not_served
            case _, 1:
                self._state[place] = "gone"
                operations, shows = [removal(place)], _is_not_served
            case _:
                operations, shows = [registration(place, port)], _serves_at(port)
        self.pending[place] = (self.clock.monotonic(), shows)
        await asyncio.to_thread(self.agent.write, operations)

    async def watch(self) -> None:
        version = self.heard.registry.answer.version
        while True:
            version, _ = await self.heard.registry.answer.newer_than(version)
            now = self.clock.monotonic()
            for place, (begun, shows) in list(self.pending.items()):
                if shows(self.served(place)):
                    self.lags.append(now - begun)
                    del self.pending[place]


def _is_served(one: Instance | None) -> bool:
    return one is not None


def _is_not_served(one: Instance | None) -> bool:
    return one is None


def _serves_at(port: int) -> Callable[[Instance | None], bool]:
    return lambda one: one is not None and one.ports[0][1] == port


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Requests to Consul, by kind."""
    counts: Counter[str] = Counter()
    ask = Client.ask

    async def counted(self: Client, path: str, *, only: str = "", **more: Any) -> Reply:
        is_read = path.startswith("/v1/health/service/")
        counts[("probe" if only else "read") if is_read else "query"] += 1
        return await ask(self, path, only=only, **more)

    monkeypatch.setattr(Client, "ask", counted)
    return counts


async def test_after_a_storm_the_answer_is_that_of_a_fresh_read(
    consul_agent: ConsulAgent, asked: Counter[str]
) -> None:
    places = [(service, number) for service in range(SERVICES) for number in range(INSTANCES)]
    await asyncio.to_thread(_fill, consul_agent, places)
    how = random.Random(7)
    how.shuffle(places)
    order = iter(places * (1 + CHANGES_PER_SECOND * SECONDS // len(places)))
    async with listening(consul_agent.url, pace=AT_LEISURE) as heard:
        await heard.until("all services", lambda: len(heard.said) == SERVICES)
        assert asked["read"] == SERVICES
        asked.clear()
        storm = Storm(heard, consul_agent)
        watching = asyncio.create_task(storm.watch())
        begun = storm.clock.monotonic()
        for turn in range(CHANGES_PER_SECOND * SECONDS):
            place = next(one for one in order if one not in storm.pending)
            await storm.change(place, how)
            early = begun + turn / CHANGES_PER_SECOND - storm.clock.monotonic()
            await storm.clock.sleep(timedelta(seconds=max(early, 0)))
        took = storm.clock.monotonic() - begun
        seen = dict(asked)
        fresh = content(await read_afresh(consul_agent.url))
        await heard.until("the same as a fresh read", lambda: content(heard.answer) == fresh)
        watching.cancel()

    lags = sorted(storm.lags)
    at = {share: round(1000 * lags[int(len(lags) * share / 100)]) for share in (50, 99)}
    per_second = {kind: round(number / took) for kind, number in seen.items()}
    defaults: defaultdict[str, int] = defaultdict(int, per_second)
    print(f"lag p50 {at[50]} ms, p99 {at[99]} ms; requests per second {per_second}; {took:.0f} s")  # noqa: T201 (measured)
    # One request per service and change would be 25,000 a second.
    assert defaults["probe"] <= 1.2 * AT_LEISURE.probes_per_second
    assert defaults["read"] <= 2 * CHANGES_PER_SECOND
    assert defaults["query"] <= 25


def _fill(agent: ConsulAgent, places: list[Place]) -> None:
    for number in range(NODES):
        agent.register_external({"Node": f"node-{number}", "Address": f"10.99.0.{number}"})
    agent.write([operation for place in places for operation in (registration(place), check(place))])
