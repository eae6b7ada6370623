"""What the control plane counts of its own work: gauges that are read when someone asks."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from reconciler.worlds import Worlds
from xds.fleet import Fleet


class _Translations(Collector):
    """How often each translating function really ran."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterable[CounterMetricFamily]:
        made = CounterMetricFamily(
            "meshwright_translations", "Resources and parts of them that were made anew.", labels=["function"]
        )
        for function, count in dict(self._fleet.memo.made).items():
            made.add_metric([function], count)
        yield made


def expose(registry: CollectorRegistry, fleet: Fleet, worlds: Worlds) -> None:
    """Register them; Istio's names where Istio has them (``pilot/pkg/model``)."""

    def gauge(name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=registry)

    registry.register(_Translations(fleet))
    gauge("pilot_services", "Services known.").set_function(
        lambda: len(worlds.latest.value.services.services)
    )
    gauge("pilot_virt_services", "VirtualServices accepted.").set_function(
        lambda: len(worlds.latest.value.config.of("VirtualService"))
    )
    gauge("meshwright_proxies_behind", "Connected proxies that lack the revision served.").set_function(
        lambda: sum(not member.is_live for member in fleet.members)
    )
    gauge("meshwright_resources_broken", "Resources that could not be made: bugs.").set_function(
        lambda: len(fleet.memo.broken)
    )
