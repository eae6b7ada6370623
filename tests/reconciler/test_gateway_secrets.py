"""Which certificates gateways are given, when an operator and clusters keep some."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import pytest

from mesh.kinds.registry_kubernetes import Kubernetes
from mesh.latest import Latest
from mesh.services import Provider
from mesh.world import Credential, Credentials, World
from reconciler.gateway_secrets import PATIENCE, Follower, GatewaySecrets, wanted
from registries.answers import Remark
from registries.kubernetes.objects import Key
from registries.source import SourceStatus
from tests.support.clock import FakeClock
from tests.support.config import a_mesh, a_workload, a_world, document
from tests.support.fake_registries import until

SITE, SHOP = ("web", "site"), ("web", "shop")
EAST = {"secretRef": "east", "gatewaySecrets": True}
WEST = {"secretRef": "west", "gatewaySecrets": True}


def a_credential(number: int) -> Credential:
    return Credential(b"chain %d" % number, b"key %d" % number)


def a_gateway(*names: str, namespace: str = "web") -> str:
    servers = [
        {
            "port": {"number": 8443 + at, "name": f"https-{at}", "protocol": "HTTPS"},
            "hosts": ["site.example.com"],
            "tls": {"mode": "SIMPLE", "credentialName": name},
        }
        for at, name in enumerate(names)
    ]
    return document("Gateway", "site", namespace, selector={"app": "edge"}, servers=servers)


def a_world_of(*documents: str, **clusters: Mapping[str, Any]) -> World:
    mesh = json.loads(a_mesh())
    mesh["spec"]["registries"] = [{"name": name, "kubernetes": said} for name, said in clusters.items()]
    return a_world(json.dumps(mesh), *documents)


class FakeSecrets:
    """Says what a test says of one cluster."""

    def __init__(self, wanted: Latest[frozenset[Key]]) -> None:
        self.wanted = wanted
        self.found: Latest[Mapping[Key, Credential]] = Latest({})
        self.absent: Latest[frozenset[Key]] = Latest(frozenset())
        self.refused: Latest[frozenset[Key]] = Latest(frozenset())
        self.remarks: Latest[tuple[Remark, ...]] = Latest(())
        self.is_running = False

    async def run(self) -> NoReturn:
        self.is_running = True
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            self.is_running = False


class Gateways:
    """Everything that follows the Secrets of fake clusters."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.worlds: Latest[World] = Latest(World())
        self.opened: defaultdict[str, list[FakeSecrets]] = defaultdict(list)
        self.secrets = GatewaySecrets(self.worlds, self._open, self.clock)

    def _open(self, name: str, settings: Kubernetes, wanted: Latest[frozenset[Key]]) -> Follower:
        assert settings.gateway_secrets
        self.opened[name].append(FakeSecrets(wanted))
        return self.opened[name][-1]

    async def becomes(self, world: World) -> None:
        """The newest world, looked at."""
        self.worlds.publish(world)
        await self.clock.advance(PATIENCE)

    async def cluster(self, name: str, number: int = 1) -> FakeSecrets:
        await until(lambda: len(self.opened[name]) == number and self.opened[name][-1].is_running)
        return self.opened[name][-1]

    async def until_presented(self, credentials: Credentials) -> None:
        await until(lambda: self.secrets.credentials.value == credentials)

    def remarks(self, name: str) -> list[str]:
        status = SourceStatus(name=name, provider=Provider.KUBERNETES)
        (said,) = self.secrets.remarked([status])
        return [f"{one.about}: {one.message}" for one in said.remarks]


@asynccontextmanager
async def following(own: Credentials | None = None) -> AsyncIterator[Gateways]:
    gateways = Gateways()
    gateways.secrets.keep(own or {})
    task = asyncio.create_task(gateways.secrets.run())
    try:
        yield gateways
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


# What is asked for


def test_a_secret_is_wanted_where_the_proxies_of_its_gateway_are() -> None:
    """They are given those of their own namespace only."""
    elsewhere = a_workload("edge", namespace="ingress")

    assert wanted(a_world(a_gateway("site", "shop")), {}) == {SITE, SHOP}
    assert wanted(a_world(a_gateway("site"), elsewhere), {}) == {("ingress", "site")}


def test_what_the_operator_keeps_is_not_asked_for() -> None:
    own = {"web": {"site": a_credential(1)}, "other": {"shop": a_credential(1)}}

    assert wanted(a_world(a_gateway("site", "shop")), own) == {SHOP}


@pytest.mark.parametrize("name", ["a,metadata.name!=b", "a=b", "../shop", "Shop", "shop?watch=1", "-"])
def test_a_name_that_could_ask_for_other_secrets_is_not_asked_for(name: str) -> None:
    """It stands in a field selector."""
    assert wanted(a_world(a_gateway(name)), {}) == frozenset()


async def test_only_clusters_that_say_so_are_asked() -> None:
    async with following() as gateways:
        closed = {"secretRef": "closed"}
        await gateways.becomes(a_world_of(a_gateway("site"), closed=closed, east=EAST))
        east = await gateways.cluster("east")

        assert list(gateways.opened) == ["east"]
        assert east.wanted.value == {SITE}


async def test_a_gateway_that_comes_and_goes_changes_what_is_asked_for() -> None:
    async with following() as gateways:
        await gateways.becomes(a_world_of(a_gateway("site"), east=EAST))
        east = await gateways.cluster("east")
        east.found.publish({SITE: a_credential(1)})
        await gateways.until_presented({"web": {"site": a_credential(1)}})
        await gateways.becomes(a_world_of(a_gateway("shop"), east=EAST))

        await until(lambda: east.wanted.value == {SHOP})
        await gateways.until_presented({})


# What is presented


async def test_a_secret_that_is_renewed_is_presented_beside_what_the_operator_keeps() -> None:
    own = {"web": {"shop": a_credential(9)}, "ops": {"panel": a_credential(8)}}
    async with following(own) as gateways:
        await gateways.becomes(a_world_of(a_gateway("site"), east=EAST))
        east = await gateways.cluster("east")
        for number in (1, 2):
            east.found.publish({SITE: a_credential(number)})
            site = {"site": a_credential(number)}
            await gateways.until_presented({"web": site | own["web"], "ops": own["ops"]})


async def test_gateways_of_other_namespaces_are_left_alone() -> None:
    """What is translated for them is remembered by this very object."""
    async with following({"ops": {"panel": a_credential(8)}}) as gateways:
        await gateways.becomes(a_world_of(a_gateway("site"), east=EAST))
        east = await gateways.cluster("east")
        east.found.publish({SITE: a_credential(1)})
        await until(lambda: "web" in gateways.secrets.credentials.value)
        before = gateways.secrets.credentials.value["ops"]
        east.found.publish({SITE: a_credential(2)})
        await until(lambda: gateways.secrets.credentials.value["web"]["site"] == a_credential(2))

        assert gateways.secrets.credentials.value["ops"] is before


async def test_a_cluster_that_is_reached_otherwise_keeps_what_it_had_until_it_says_that_it_is_gone() -> None:
    async with following() as gateways:
        await gateways.becomes(a_world_of(a_gateway("site"), east=EAST))
        first = await gateways.cluster("east")
        first.found.publish({SITE: a_credential(1)})
        await gateways.until_presented({"web": {"site": a_credential(1)}})
        await gateways.becomes(a_world_of(a_gateway("site"), east=EAST | {"context": "admin"}))
        second = await gateways.cluster("east", 2)

        assert not first.is_running
        assert gateways.secrets.credentials.value == {"web": {"site": a_credential(1)}}
        second.absent.publish(frozenset({SITE}))
        await gateways.until_presented({})


async def test_what_a_cluster_has_given_goes_with_it() -> None:
    async with following() as gateways:
        await gateways.becomes(a_world_of(a_gateway("site"), east=EAST))
        east = await gateways.cluster("east")
        east.found.publish({SITE: a_credential(1)})
        await gateways.until_presented({"web": {"site": a_credential(1)}})
        await gateways.becomes(a_world_of(a_gateway("site"), east={"secretRef": "east"}))

        await gateways.until_presented({})
        await until(lambda: not east.is_running)


# Several clusters


async def test_the_cluster_that_comes_first_wins_and_the_other_says_so() -> None:
    async with following() as gateways:
        await gateways.becomes(a_world_of(a_gateway("site"), east=EAST, west=WEST))
        east, west = await gateways.cluster("east"), await gateways.cluster("west")
        west.found.publish({SITE: a_credential(2)})
        await gateways.until_presented({"web": {"site": a_credential(2)}})
        east.found.publish({SITE: a_credential(1)})
        await gateways.until_presented({"web": {"site": a_credential(1)}})

        assert gateways.remarks("east") == []
        assert gateways.remarks("west") == [
            "Secret web/site: registry 'east' keeps another certificate of that name, and comes first"
        ]


async def test_two_that_keep_the_same_are_no_tie() -> None:
    async with following() as gateways:
        await gateways.becomes(a_world_of(a_gateway("site"), east=EAST, west=WEST))
        for name in ("east", "west"):
            (await gateways.cluster(name)).found.publish({SITE: a_credential(1)})
        await gateways.until_presented({"web": {"site": a_credential(1)}})

        assert gateways.remarks("west") == []


async def test_a_secret_that_another_cluster_has_is_not_missed() -> None:
    missed = Remark(about="Secret web/site", message="there is no such Secret", hint="create it")
    spoilt = Remark(about="Secret web/shop", message="tls.crt is not PEM", hint="make it anew")
    async with following() as gateways:
        await gateways.becomes(a_world_of(a_gateway("site", "shop"), east=EAST, west=WEST))
        east, west = await gateways.cluster("east"), await gateways.cluster("west")
        west.remarks.publish((missed, spoilt))
        assert len(gateways.remarks("west")) == 2
        east.found.publish({SITE: a_credential(1)})
        await gateways.until_presented({"web": {"site": a_credential(1)}})

        assert gateways.remarks("west") == ["Secret web/shop: tls.crt is not PEM"]


# The start


async def settles(gateways: Gateways) -> asyncio.Task[None]:
    task = asyncio.create_task(gateways.secrets.settled())
    await gateways.clock.advance(PATIENCE / 100)
    return task


async def test_a_start_waits_until_every_cluster_has_answered() -> None:
    """Found, not there, not granted: each is an answer."""
    async with following() as gateways:
        gateways.worlds.publish(a_world_of(a_gateway("site", "shop"), east=EAST, west=WEST))
        east, west = await gateways.cluster("east"), await gateways.cluster("west")
        start = await settles(gateways)
        west.refused.publish(frozenset({SITE, SHOP}))
        east.found.publish({SITE: a_credential(1)})
        await gateways.clock.advance(PATIENCE / 100)
        assert not start.done()
        east.absent.publish(frozenset({SHOP}))

        await until(start.done)
        assert gateways.secrets.credentials.value == {"web": {"site": a_credential(1)}}


async def test_a_start_waits_ten_seconds_at_most(caplog: pytest.LogCaptureFixture) -> None:
    async with following() as gateways:
        gateways.worlds.publish(a_world_of(a_gateway("site"), east=EAST))
        await gateways.cluster("east")
        start = await settles(gateways)
        assert not start.done()
        await gateways.clock.advance(PATIENCE)

        await until(start.done)
        (said,) = [one for one in caplog.records if one.name == "reconciler.gateway_secrets"]
        assert (said.message, vars(said)["registries"]) == (
            "secrets of gateways awaited no longer",
            "east",
        )


@pytest.mark.parametrize("world", [a_world_of(a_gateway("site")), a_world_of(east=EAST)])
async def test_a_start_without_anything_to_ask_waits_for_nobody(world: World) -> None:
    async with following() as gateways:
        gateways.worlds.publish(world)

        await until((await settles(gateways)).done)


async def test_no_key_is_shown_in_what_is_printed() -> None:
    async with following() as gateways:
        await gateways.becomes(a_world_of(a_gateway("site"), east=EAST))
        (await gateways.cluster("east")).found.publish({SITE: a_credential(1)})
        await until(lambda: bool(gateways.secrets.credentials.value))

        assert "key 1" not in repr(gateways.secrets.credentials.value)
