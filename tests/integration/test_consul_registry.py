"""Every kind of change of a real Consul reaches the answer, and nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mesh.kinds.registry_consul import Consul, ConsulMapping
from mesh.services import Location, Protocol, Resolution
from registries.answers import Offer
from tests.servers.consul import ConsulAgent
from tests.support.consul_registries import Listening, content, listening, read_afresh

WEB = {"ID": "web-1", "Name": "web", "Address": "10.0.0.1", "Port": 80}
HEALTHY = {"Check": {"TTL": "1h", "Status": "passing"}}


def external(agent: ConsulAgent, node: str, service: dict[str, Any], **more: Any) -> None:
    """A service of a node without an agent, and without a check unless one is given."""
    agent.register_external({"Node": node, "Address": "10.9.0.1", "Service": service, **more})


async def test_registered_instances_appear_and_deregistered_ones_vanish(consul_agent: ConsulAgent) -> None:
    async with listening(consul_agent.url) as heard:
        await heard.until_said()
        consul_agent.register(WEB | HEALTHY)
        await heard.until_said(web=[("10.0.0.1", 80)])
        consul_agent.register(WEB | HEALTHY | {"ID": "web-2", "Address": "10.0.0.2"})
        await heard.until_said(web=[("10.0.0.1", 80), ("10.0.0.2", 80)])
        consul_agent.deregister("web-1")
        await heard.until_said(web=[("10.0.0.2", 80)])
        consul_agent.deregister("web-2")
        await heard.until_said()


async def test_a_critical_instance_leaves_and_comes_back_when_it_passes(consul_agent: ConsulAgent) -> None:
    async with listening(consul_agent.url) as heard:
        consul_agent.register(WEB | {"Check": {"TTL": "1h"}})
        await heard.until_said(web=[])
        consul_agent.check("service:web-1", "pass")
        await heard.until_said(web=[("10.0.0.1", 80)])
        consul_agent.check("service:web-1", "fail")
        await heard.until_said(web=[])


async def test_a_warning_keeps_an_instance_out_unless_it_is_chosen_to_serve(
    consul_agent: ConsulAgent,
) -> None:
    consul_agent.register(WEB | HEALTHY | {"Weights": {"Passing": 10, "Warning": 3}})
    chosen = Consul(address=consul_agent.url, serve_warning=True)
    async with listening(consul_agent.url) as strict, listening(chosen) as lenient:
        await strict.until_said(web=[("10.0.0.1", 80)])
        await lenient.until("the first answer", lambda: _weights(lenient) == [10])
        consul_agent.check("service:web-1", "warn")
        await strict.until_said(web=[])
        await lenient.until("the weight of a warning", lambda: _weights(lenient) == [3])


def _weights(heard: Listening) -> list[int]:
    offer = heard.offer("web")
    return [one.workload.weight for one in offer.instances] if offer else []


@pytest.mark.parametrize("of", ["service", "node"])
async def test_maintenance_drains(consul_agent: ConsulAgent, of: str) -> None:
    """It stays among the endpoints, so that the requests it has can end, and gets no new ones."""

    def maintained(*, is_on: bool) -> None:
        if of == "service":
            consul_agent.service_maintenance("web-1", is_on=is_on)
        else:
            consul_agent.node_maintenance(is_on=is_on)

    def draining() -> list[bool]:
        offer = heard.offer("web")
        return [one.is_draining for one in offer.instances] if offer else []

    consul_agent.register(WEB | HEALTHY)
    async with listening(consul_agent.url) as heard:
        await heard.until("an instance", lambda: draining() == [False])
        maintained(is_on=True)
        await heard.until("its drain", lambda: draining() == [True])
        maintained(is_on=False)
        await heard.until("its return", lambda: draining() == [False])


SERVICE: dict[str, Any] = {"ID": "web-1", "Service": "web", "Address": "10.0.0.1", "Port": 80}


@pytest.mark.parametrize(
    ("change", "shows"),
    [
        ({"Service": {**SERVICE, "Address": "10.0.0.7"}}, lambda one: one.workload.address == "10.0.0.7"),
        ({"Service": {**SERVICE, "Port": 81}}, lambda one: one.ports == ((81, 81),)),
        (
            {"Service": {**SERVICE, "Meta": {"version": "v2"}}},
            lambda one: one.workload.labels == (("version", "v2"),),
        ),
        ({"Service": {**SERVICE, "Tags": ["a=b"]}}, lambda one: one.workload.labels == (("a", "b"),)),
        (
            {"Service": {**SERVICE, "Weights": {"Passing": 7, "Warning": 1}}},
            lambda one: one.workload.weight == 7,
        ),
        (
            {"NodeMeta": {"zone": "z9"}},
            lambda one: one.workload.locality.zone == "z9",
        ),
    ],
    ids=["address", "port", "meta", "tag", "weights", "node-meta"],
)
async def test_a_change_without_a_change_of_health_is_seen(
    consul_agent: ConsulAgent, change: dict[str, Any], shows: Callable[[Any], bool]
) -> None:
    """Instances here have no checks at all: only the indexes of registrations and nodes move."""
    for name in ("a", "b", "c"):
        external(consul_agent, f"n-{name}", {"ID": name, "Service": name, "Port": 1, "Address": "10.0.1.1"})
    external(consul_agent, "n1", SERVICE)

    def holds() -> bool:
        offer = heard.offer("web")
        return offer is not None and bool(offer.instances) and shows(offer.instances[0])

    async with listening(consul_agent.url) as heard:
        await heard.until("the instance", lambda: heard.offer("web") is not None)
        assert not holds()
        before = heard.offer("a")
        consul_agent.register_external({"Node": "n1", "Address": "10.9.0.1", **change})
        await heard.until("the change", holds)

        assert heard.offer("a") is before


@pytest.mark.parametrize("odd", [{"Port": 70000}, {"Port": -5}, {"Address": "224.0.0.1"}])
async def test_what_consul_takes_and_envoy_does_not_leaves_the_others_served(
    consul_agent: ConsulAgent, odd: dict[str, Any]
) -> None:
    """Whoever may register one instance could otherwise freeze the endpoints of its whole service."""
    external(consul_agent, "n1", SERVICE)
    wrong = {**SERVICE, "ID": "web-2", **odd}
    consul_agent.register_external({"Node": "n2", "Address": "0.0.0.0", "Service": wrong})
    async with listening(consul_agent.url) as heard:
        await heard.until_said(web=[("10.0.0.1", 80)])

        assert [remark.about for remark in heard.answer.remarks] == ["service web"]


async def test_a_node_that_is_moved_takes_its_services_along(consul_agent: ConsulAgent) -> None:
    external(consul_agent, "n1", {"ID": "web-1", "Service": "web", "Port": 80})
    async with listening(consul_agent.url) as heard:
        await heard.until_said(web=[("10.9.0.1", 80)])
        consul_agent.register_external({"Node": "n1", "Address": "10.9.0.2"})
        await heard.until_said(web=[("10.9.0.2", 80)])
        consul_agent.deregister_external("n1")
        await heard.until_said()


async def test_services_of_a_name_that_differs_by_case_are_one(consul_agent: ConsulAgent) -> None:
    external(consul_agent, "n1", {**SERVICE, "Service": "Web"})
    external(consul_agent, "n2", {**SERVICE, "ID": "web-2", "Address": "10.0.0.2"})
    async with listening(consul_agent.url) as heard:
        await heard.until_said(web=[("10.0.0.1", 80), ("10.0.0.2", 80)])


async def test_an_instance_says_who_it_is_and_what_it_speaks(consul_agent: ConsulAgent) -> None:
    meta = {"serviceAccount": "shop", "protocol": "grpc", "namespace": "shop", "servicePort": "8080"}
    service = {**SERVICE, "Meta": meta, "Tags": ["version=v1", "primary"]}
    external(consul_agent, "n1", service, NodeMeta={"region": "eu", "zone": "eu-1"})
    settings = Consul(address=consul_agent.url, mapping=ConsulMapping(namespaces=("shop",)))
    async with listening(settings) as heard:
        await heard.until("the service", lambda: heard.offer("web", "shop") is not None)
        offer = heard.offer("web", "shop")
        assert isinstance(offer, Offer)
        one = offer.instances[0]

        assert (offer.service.ports[0].number, offer.service.ports[0].protocol) == (8080, Protocol.GRPC)
        assert offer.service.location is Location.INTERNAL
        assert one.ports == ((8080, 80),)
        assert (one.workload.service_account, one.workload.mutual_tls) == ("shop", True)
        assert str(one.workload.locality) == "eu/eu-1"
        assert dict(one.workload.labels) == {**meta, "version": "v1", "tag.primary": "true"}
        assert heard.answer.said("shop").workloads == {"web-1": one.workload}
        assert heard.answer.remarks == ()


async def test_an_external_service_by_name_is_found_by_dns(consul_agent: ConsulAgent) -> None:
    external(consul_agent, "n1", {"ID": "db", "Service": "db", "Address": "Db.Example.com", "Port": 5432})
    async with listening(consul_agent.url) as heard:
        await heard.until_said(db=[("db.example.com", 5432)])
        offer = heard.offer("db")

        assert offer is not None
        assert offer.service.resolution is Resolution.DNS


async def test_proxies_and_gateways_of_consuls_own_mesh_are_left_out(consul_agent: ConsulAgent) -> None:
    proxy = {"ID": "p", "Service": "web-proxy", "Kind": "connect-proxy", "Port": 1, "Address": "10.0.0.9"}
    external(consul_agent, "n1", {**proxy, "Proxy": {"DestinationServiceName": "web"}})
    external(consul_agent, "n1", SERVICE)
    by_name = Consul(address=consul_agent.url, include=("web*", "web-proxy"))
    async with listening(consul_agent.url) as heard, listening(by_name) as asked:
        await heard.until_said(web=[("10.0.0.1", 80)])
        await asked.until("both", lambda: set(asked.said) == {"web", "web-proxy"})


async def test_only_what_is_included_is_read(consul_agent: ConsulAgent) -> None:
    for name in ("shop-a", "shop-b", "other"):
        external(consul_agent, "n1", {"ID": name, "Service": name, "Port": 1, "Address": "10.0.0.1"})
    settings = Consul(address=consul_agent.url, include=("shop-*",), exclude=("*-b",))
    async with listening(settings) as heard:
        await heard.until_said(**{"shop-a": [("10.0.0.1", 1)]})


async def test_only_instances_with_all_tags_are_taken(consul_agent: ConsulAgent) -> None:
    for number, tags in ((1, ["mesh", "blue"]), (2, ["mesh"])):
        service = {**SERVICE, "ID": f"web-{number}", "Address": f"10.0.0.{number}", "Tags": tags}
        external(consul_agent, "n1", service)
    async with listening(Consul(address=consul_agent.url, tags=("mesh", "blue"))) as heard:
        await heard.until_said(web=[("10.0.0.1", 80)])


async def test_several_consuls_are_several_registries(
    consul_agent: ConsulAgent, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("second")
    with ConsulAgent(folder, datacenter="dc2", join_wan=consul_agent) as second:
        consul_agent.register(WEB | HEALTHY)
        second.register(WEB | HEALTHY | {"Address": "10.2.0.1"})
        through = Consul(address=consul_agent.url, datacenter="dc2")
        async with (
            listening(consul_agent.url) as one,
            listening(second.url, name="dc2") as other,
            listening(through, name="through") as third,
        ):
            await one.until_said(web=[("10.0.0.1", 80)])
            await other.until_said(web=[("10.2.0.1", 80)])
            await third.until_said(web=[("10.2.0.1", 80)])
            locality = (
                third.answer.said("default").offers["web.service.consul"].instances[0].workload.locality
            )

            assert locality.region == "dc2"
            assert third.answer.registry == "through"


async def test_the_answer_after_many_changes_is_that_of_a_fresh_read(consul_agent: ConsulAgent) -> None:
    async with listening(consul_agent.url) as heard:
        await heard.until_said()
        for turn in range(30):
            service = {
                "ID": f"s-{turn % 7}",
                "Service": f"s-{turn % 3}",
                "Port": 80 + turn,
                "Address": "10.0.0.1",
            }
            await asyncio.to_thread(external, consul_agent, f"n-{turn % 5}", service)
            if turn % 4 == 3:
                await asyncio.to_thread(consul_agent.deregister_external, f"n-{turn % 5}")
        fresh = content(await read_afresh(consul_agent.url))
        await heard.until("the same as a fresh read", lambda: content(heard.answer) == fresh)
