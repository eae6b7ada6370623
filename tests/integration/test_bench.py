"""``make bench`` in small: every number comes out, and what it promises to count holds."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.clock import SystemClock
from mesh.errors import Misconfigured
from tests.bench.client import build
from tests.bench.meshes import Size
from tests.bench.run import CACHE, Plan, run

SIZE = Size(services=20, endpoints=3, workloads=20, namespaces=4, streams=20)


async def test_a_small_mesh_is_measured_and_keeps_its_promises(tmp_path: Path) -> None:
    try:
        build(CACHE)
    except Misconfigured as error:
        pytest.skip(f"{error}: {error.hint}")
    plan = Plan(size=SIZE, rounds=2, limit=timedelta(seconds=30))

    report = await run(plan, tmp_path, SystemClock())

    assert report.broken == ()
    assert report.connect.each.p50 > 0
    assert report.endpoint_change.streams == report.route_change.streams == SIZE.streams
    assert report.endpoint_change.to_last_ack.max > 0
    assert report.endpoint_change.translations["assignment"] == 1
    assert report.route_change.translations["route_table"] == SIZE.namespaces
    assert report.restart.resources == 0
    assert report.memory.max_mb >= report.memory.connected_mb > 0
    assert json.loads(report.as_json())["ok"] is True
    assert "VirtualService change to last ACK" in report.as_table()
