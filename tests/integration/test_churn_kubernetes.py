"""A large cluster in which everything changes, up to the endpoints in a real Envoy.

``python -m tests.bench.registries kubernetes`` is the same for a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from tests.servers.kubernetes import KubernetesApi
from tests.support.churn import churn, until_settled
from tests.support.churn_kubernetes import SERVICES, KubernetesSource
from tests.support.churn_stage import raised
from tests.support.envoys import needs_envoy

SPAN = timedelta(seconds=8)


@needs_envoy
async def test_envoy_ends_with_what_the_cluster_holds_and_never_loses_what_has_stayed(
    kubernetes_api: KubernetesApi,
    namespace: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Fifty changes a second; half-way the API server is killed and started again."""
    source = KubernetesSource(kubernetes_api, namespace)
    await asyncio.to_thread(source.fill)
    async with raised(tmp_path, source.registry(tmp_path / "keys"), SERVICES) as stage:
        found = await churn(stage, source, SPAN)
        await until_settled(stage, await asyncio.to_thread(source.expected))

        assert found.missed == []
        assert found.looks > SPAN.total_seconds()
        assert set(source.kinds) == {
            *("fail", "recover", "terminate", "remove", "add", "move", "delete", "bear", "relabel")
        }
        # A server that has just started may know but a part of what it holds: that is not believed.
        assert "removals held" not in stage.daemon.log
        assert await stage.count("cluster_manager.cluster_removed") == 0
    record_property("found", str(found))
    print(found)  # noqa: T201 (measured)
