"""A registry that is silent, lies or comes back: what the Envoy of a caller keeps. With a real Consul."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

from registries.registry import State
from tests.servers.consul import ConsulAgent
from tests.support.churn_stage import NAME, Stage, raised
from tests.support.daemons import meshwright, until
from tests.support.envoys import needs_envoy

CLUSTER = "outbound|80||web.service.consul"
COUNT = 16


def an_instance(number: int) -> dict[str, Any]:
    return {
        "ID": f"web-{number}",
        "Name": "web",
        "Address": f"10.0.0.{number}",
        "Port": 8080,
        "Meta": {"servicePort": "80"},
    }


def a_registry(agent: ConsulAgent) -> dict[str, Any]:
    return {"name": "dc1", "consul": {"address": agent.url}}


async def fill(agent: ConsulAgent) -> None:
    for number in range(1, COUNT + 1):
        await asyncio.to_thread(agent.register, an_instance(number))


async def instances(stage: Stage) -> int:
    """How many the caller's Envoy has, by its own word."""
    return len((await stage.endpoints([CLUSTER])).get(CLUSTER, ()))


async def held(stage: Stage) -> int:
    return sum(one["missing"] for one in (await stage.registry())["held"] if one["measure"] == "instances")


async def restart(stage: Stage, folder: Path, number: signal.Signals = signal.SIGKILL) -> None:
    await stage.daemon.end(number)
    await stage.daemon.start("--registries-directory", folder / "keys")
    await stage.daemon.until_ready()

    async def is_back() -> bool:
        return NAME in str(await stage.daemon.proxies())

    await until("the caller to be back", is_back)


@needs_envoy
async def test_a_control_plane_that_restarts_while_consul_is_away_serves_what_it_said_last(
    consul_agent: ConsulAgent, tmp_path: Path
) -> None:
    """istio#25100, and the Roblox outage: neither an empty cache nor an absent Consul withdraws anybody."""
    await fill(consul_agent)
    async with raised(tmp_path, a_registry(consul_agent), 1) as stage:
        assert await instances(stage) == COUNT
        await asyncio.to_thread(consul_agent.kill)
        await restart(stage, tmp_path)

        assert (await stage.registry())["state"] == State.STALE
        assert await instances(stage) == COUNT
        assert {len(places) for places in (await stage.sent()).values()} >= {COUNT}

        await asyncio.to_thread(consul_agent.start)
        await stage.until_state(State.LIVE)
        assert await instances(stage) == COUNT


@needs_envoy
async def test_a_consul_that_comes_back_empty_is_not_believed_until_a_person_says_so(
    consul_agent: ConsulAgent, tmp_path: Path
) -> None:
    """consul#4103: the catalogue named nothing around a leader change, and the index began anew."""
    await fill(consul_agent)
    async with raised(tmp_path, a_registry(consul_agent), 1) as stage:
        await asyncio.to_thread(consul_agent.restart_fresh)

        async def is_held() -> bool:
            return await held(stage) > 0

        await until("the removals to be held", is_held, 60)
        assert await instances(stage) == COUNT

        # A restart in the middle of it believes no more than before.
        await restart(stage, tmp_path)
        await stage.until_state(State.LIVE)
        await until("the removals to be held again", is_held, 60)
        assert await instances(stage) == COUNT

        said = await meshwright("registries", "release", "dc1", "--state", stage.daemon.state)
        assert said.out.startswith("dc1: "), said.err

        async def is_gone() -> bool:
            return await instances(stage) == 0

        await until("the instances to be gone", is_gone)
