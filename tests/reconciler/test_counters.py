from __future__ import annotations

from prometheus_client import CollectorRegistry

from reconciler.counters import expose
from tests.support.clock import FakeClock
from tests.support.config import Meshes, a_service, a_virtual_service, a_workload
from tests.support.fleets import a_fleet, accept
from tests.support.without_registries import worlds_of


async def test_what_is_counted_is_asked_when_somebody_looks() -> None:
    worlds = worlds_of(FakeClock())
    registry = CollectorRegistry()
    async with a_fleet(a_service("reviews"), a_workload("reviews")) as mesh:
        expose(registry, mesh.fleet, worlds)

        def value(name: str, **labels: str) -> float | None:
            return registry.get_sample_value(name, labels)

        assert value("pilot_services") == 0
        worlds.latest.publish(Meshes().world(a_service("reviews"), a_virtual_service("reviews", "reviews")))
        assert (value("pilot_services"), value("pilot_virt_services")) == (1, 1)

        member = await mesh.join("reviews")
        assert value("meshwright_proxies_behind") == 1
        accept(member)
        assert value("meshwright_proxies_behind") == 0
        assert value("meshwright_translations_total", function="route_table") == 1
        assert value("meshwright_resources_broken") == 0
