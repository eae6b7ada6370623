"""A large Consul in which everything changes, up to the endpoints in a real Envoy.

``python -m tests.bench.registries consul`` is the same for a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from tests.servers.consul import ConsulAgent
from tests.support.churn import churn, until_settled
from tests.support.churn_consul import SERVICES, ConsulSource, registry
from tests.support.churn_stage import raised
from tests.support.envoys import needs_envoy

SPAN = timedelta(seconds=8)


@needs_envoy
async def test_envoy_ends_with_what_consul_holds_and_never_loses_what_has_stayed(
    consul_agent: ConsulAgent, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Fifty changes a second; half-way the agent is killed and started again."""
    source = ConsulSource(consul_agent)
    await asyncio.to_thread(source.fill)
    async with raised(tmp_path, registry(consul_agent), SERVICES) as stage:
        found = await churn(stage, source, SPAN)
        await until_settled(stage, await asyncio.to_thread(source.expected))

        assert found.missed == []
        assert found.looks > SPAN.total_seconds()
        assert set(source.kinds) == {
            *("fail", "pass", "deregister", "register", "drain", "resume", "move", "relabel")
        }
        # A server that has just started may know but a part of what it holds: that is not believed.
        assert "removals held" not in stage.daemon.log
        assert await stage.count("cluster_manager.cluster_removed") == 0
    record_property("found", str(found))
    print(found)  # noqa: T201 (measured)
