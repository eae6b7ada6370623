"""How fresh a Consul is said to be when the wall clock jumps."""

from __future__ import annotations

from datetime import timedelta

from mesh.kinds.registry_consul import Consul
from registries.consul.registry import ConsulRegistry
from registries.registry import State
from tests.support.clock import FakeClock


async def test_a_wall_clock_that_is_set_back_does_not_silence_the_registry() -> None:
    clock = FakeClock()
    registry = ConsulRegistry("dc1", Consul(), credentials=None, clock=clock, chance=lambda: 0.0)
    registry._heard()
    clock.jump(-timedelta(hours=1))
    await clock.advance(timedelta(seconds=1))
    registry._heard()

    said = registry.freshness.value
    assert (said.state, said.heard_at, said.heard) == (State.LIVE, clock.now(), 1.0)
