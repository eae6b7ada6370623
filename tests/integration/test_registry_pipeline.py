"""From a change in Consul to the bytes of one assignment: only what changed is touched, and little kept."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from mesh.clock import SystemClock
from reconciler.demo.processes import Processes, ours
from registries.consul import reading
from registries.consul.mapping import Mapped, mapped
from tests.bench.pipeline import Pipeline
from tests.support.consul_registries import listening
from tests.support.fake_consul import FakeConsul, an_entry, fake_consul
from xds.translate import endpoints

SERVICES, INSTANCES = 20, 10


@pytest.fixture
def mappings(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each service was mapped."""
    counts: Counter[str] = Counter()

    def counted(name: str, *arguments: Any) -> Mapped:
        counts[name] += 1
        return mapped(name, *arguments)

    monkeypatch.setattr(reading, "mapped", counted)
    return counts


async def test_one_changed_instance_is_one_read_one_mapping_one_combination_and_one_assignment(
    mappings: Counter[str],
) -> None:
    pipeline = Pipeline(SystemClock())
    async with fake_consul() as consul:
        for service in range(SERVICES):
            for number in range(INSTANCES):
                consul.put(an_instance(service, number))
        async with listening(consul.url) as heard:
            await heard.until("all services", lambda: len(heard.said) == SERVICES)
            pipeline.take(heard.answer)
            before = dict(pipeline.endpoints)
            so_far = counts(pipeline, consul, mappings)

            consul.put(an_instance(7, 3, port=9999))
            await heard.until("the change", lambda: ("10.0.7.3", 9999) in heard.said["s7"])
            pipeline.take(heard.answer)

            assert counts(pipeline, consul, mappings) - so_far == Counter(
                {
                    "services read": 1,
                    "services mapped": 1,
                    "services guarded": 1,
                    "services combined": 1,
                    "assignments translated": 1,
                    "endpoints encoded": 1,
                }
            )
            after = pipeline.endpoints
            changed = {name for name, resource in after.items() if before[name] is not resource}
            assert changed == {"outbound|80||s7.service.consul"}


def an_instance(service: int, number: int, port: int = 80) -> dict[str, Any]:
    return an_entry(
        f"node-{number}",
        f"s{service}-{number}",
        f"s{service}",
        port=port,
        Address=f"10.0.{service}.{number}",
        Meta={"serviceAccount": "web"},
    )


def counts(pipeline: Pipeline, consul: FakeConsul, mappings: Counter[str]) -> Counter[str]:
    """The work done so far."""
    reads = (path for path, query in consul.asked if path.startswith("/v1/health/service/") and not query)
    return Counter(
        {
            "services read": len(list(reads)),
            "services mapped": mappings.total(),
            "services guarded": pipeline.guard.looked_at,
            "services combined": pipeline.catalogues.combined,
            "assignments translated": pipeline.workshop.memo.made["assignment"],
            "endpoints encoded": endpoints._lb_endpoint.cache_info().misses,
        }
    )


async def test_the_quarter_of_a_large_registry_is_kept_in_a_quarter_of_its_budget(
    tmp_path_factory: pytest.TempPathFactory, record_property: Callable[[str, object], None]
) -> None:
    """1,000 services of 100 endpoints: 200 MB. The whole of it is what ``tests.bench.pipeline`` measures."""
    folder = tmp_path_factory.mktemp("pipeline")
    async with Processes(folder) as processes:
        said = await processes.run(
            "the measurement",
            *(sys.executable, "-m", "tests.bench.pipeline", "--services", "250", "--changes", "20"),
            folder=folder,
            timeout_s=60,
            environment=ours(),
        )
    measured = json.loads(said)
    record_property("measured", measured)
    assert measured["kept_mb"] <= 50
