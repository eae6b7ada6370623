"""The xDS port over real gRPC with mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import grpc.aio
import pytest

from mesh.clock import SystemClock
from mesh.latest import Latest
from mesh.proxies import Proxy
from tests.support.ads_client import AdsClient
from tests.support.ads_server import ServedAds, TestAuthority, served_ads
from tests.support.memberships import (
    FakeDirectory,
    a_part,
    a_proxy,
    a_world,
    an_assignment,
    node_id,
    some_settings,
)
from xds import envoy
from xds.admission import Reason
from xds.resources import Assignment, Part
from xds.server import Transport
from xds.session import Settings, Sync
from xds.suspects import Limits

PAUSE = SystemClock()
WEB = a_proxy()
DB = a_proxy("db-1", "db", "postgres")


def a_directory(world: Latest[Assignment], *more: Proxy) -> FakeDirectory:
    return FakeDirectory({proxy.name: world for proxy in (WEB, *more)}, WEB, *more)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await PAUSE.sleep(timedelta(milliseconds=10))


@contextlib.asynccontextmanager
async def talking(
    directory: FakeDirectory,
    *,
    settings: Settings | None = None,
    certificate: tuple[str, str, str] = ("web-1", "web", "front"),
    node: Proxy = WEB,
) -> AsyncIterator[tuple[ServedAds, AdsClient]]:
    """A server, and one stream to it."""
    async with (
        served_ads(directory, settings=settings) as served,
        served.channel(*certificate) as channel,
        AdsClient(channel, node_id(node)) as client,
    ):
        yield served, client


async def brought_up(client: AdsClient) -> None:
    """Ask as Envoy does, and take everything of :func:`a_world`."""
    await client.ask(envoy.CLUSTER)
    await client.take()
    await client.ask(envoy.ENDPOINTS, subscribe=["a", "b"])
    await client.take()
    await client.ask(envoy.LISTENER)
    await client.take()
    await client.ask(envoy.ROUTES, subscribe=["table"])
    await client.take()


def changed(world: Assignment, *parts: Part) -> Assignment:
    return Assignment({**world.parts, **an_assignment(*parts).parts}, "r2")


def counted(served: ServedAds, metric: str, **labels: str) -> float | None:
    return served.settings.metrics.registry.get_sample_value(metric, labels)


async def test_a_proxy_gets_its_configuration_and_its_changes() -> None:
    world = Latest(a_world())
    directory = a_directory(world)
    async with served_ads(directory) as served:
        async with served.channel() as channel, AdsClient(channel, node_id(WEB)) as client:
            await brought_up(client)
            (member,) = directory.members
            (connection,) = served.server.connections
            synced = dict.fromkeys(world.value.parts, Sync.SYNCED) | {envoy.SECRET: Sync.NOT_SENT}
            await until(lambda: {status.type_url: status.sync for status in connection.types} == synced)
            assert member.held == {**world.value.parts, envoy.SECRET: ()}
            assert connection.certificate_end is not None

            world.publish(changed(world.value, a_part(envoy.ENDPOINTS, a="v2", b="v1")))
            response = await client.hear()
            assert [resource.name for resource in response.resources] == ["a"]
            assert connection.types[1].sync is Sync.STALE
            await client.refuse(response, "not\nthis  one")
            await until(lambda: connection.types[1].sync is Sync.NACK)
            assert connection.types[1].message == "a: not this one"
            assert member.refusals[0].message == "not this one"
        await until(lambda: member.has_left)
        assert served.server.connections == ()
        assert counted(served, "pilot_xds") == 0
        assert counted(served, "pilot_xds_eds_reject") == 1
        assert counted(served, "pilot_xds_pushes", type="eds") == 2
        assert counted(served, "pilot_proxy_convergence_time_count") == 1


async def test_a_change_for_others_is_not_on_the_wire() -> None:
    """Two proxies with parts of their own and one in common: each hears of its own changes alone."""
    common = a_part(envoy.CLUSTER, common="v1")
    worlds = {
        proxy.name: Latest(an_assignment(common, a_part(envoy.CLUSTER, **{proxy.namespace: "v1"})))
        for proxy in (WEB, DB)
    }
    directory = FakeDirectory(worlds, WEB, DB)
    async with (
        served_ads(directory) as served,
        served.channel() as web_channel,
        served.channel("db-1", "db", "postgres") as db_channel,
        AdsClient(web_channel, node_id(WEB)) as web,
        AdsClient(db_channel, node_id(DB)) as db,
    ):
        for client in (web, db):
            await client.ask(envoy.CLUSTER)
            await client.take()
        await until(lambda: all(envoy.CLUSTER in member.held for member in directory.members))
        worlds["db-1"].publish(an_assignment(common, a_part(envoy.CLUSTER, db="v2")))
        response = await db.take()
        assert [resource.name for resource in response.resources] == ["db"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await web.hear()


async def test_listeners_wait_for_clusters_and_clusters_go_last() -> None:
    """Make before break, over the wire."""
    world = Latest(a_world())
    async with talking(a_directory(world)) as (_served, client):
        await brought_up(client)
        world.publish(
            an_assignment(
                a_part(envoy.CLUSTER, a="v1", c="v1"),
                a_part(envoy.ENDPOINTS, a="v1", c="v1"),
                a_part(envoy.LISTENER, web="v1"),
                a_part(envoy.ROUTES, table="to c"),
            )
        )
        added = await client.hear()
        assert [resource.name for resource in added.resources] == ["c"]
        assert not added.removed_resources
        await client.ask(envoy.ENDPOINTS, subscribe=["c"])
        assert (await client.take()).type_url == envoy.ENDPOINTS
        await client.acknowledge(added)
        routes = await client.take()
        assert [resource.name for resource in routes.resources] == ["table"]
        removed = await client.take()
        assert (removed.type_url, list(removed.removed_resources)) == (envoy.CLUSTER, ["b"])


async def test_a_changed_cluster_is_followed_by_its_endpoints() -> None:
    """Envoy warms it and waits for them, without asking."""
    world = Latest(a_world())
    async with talking(a_directory(world)) as (_served, client):
        await brought_up(client)
        world.publish(changed(world.value, a_part(envoy.CLUSTER, a="v1", b="v2")))
        cluster, endpoints = await client.hear(), await client.hear()
        assert [resource.name for resource in cluster.resources] == ["b"]
        assert endpoints.type_url == envoy.ENDPOINTS
        assert [resource.name for resource in endpoints.resources] == ["b"]


async def test_a_proxy_that_never_acknowledges_still_gets_everything() -> None:
    world = Latest(a_world())
    settings = some_settings(phase_limit=timedelta(seconds=0.1))
    async with talking(a_directory(world), settings=settings) as (_served, client):
        await client.ask(envoy.CLUSTER)
        await client.hear()
        await client.ask(envoy.LISTENER)
        assert (await client.hear()).type_url == envoy.LISTENER


class LeapingClock(SystemClock):
    """Ten seconds pass whenever somebody looks."""

    def __init__(self) -> None:
        self._looks = 0

    def monotonic(self) -> float:
        self._looks += 1
        return 10.0 * self._looks


async def test_a_retry_that_falls_due_between_two_looks_at_the_clock_is_made() -> None:
    """Timers may fire early, so the moment may come just after it was looked for."""
    settings = some_settings(limits=Limits(flight=1e6, backoff_first=20.0), phase_limit=timedelta(days=1))
    directory = a_directory(Latest(a_world()))
    async with (
        served_ads(directory, settings=settings, clock=LeapingClock()) as served,
        served.channel() as channel,
        AdsClient(channel, node_id(WEB)) as client,
    ):
        await brought_up(client)
        (member,) = directory.members
        await until(lambda: member.held.keys() >= {envoy.LISTENER, envoy.ROUTES})
        member.assignment.publish(changed(member.assignment.value, a_part(envoy.ROUTES, table="v2")))
        await client.refuse(await client.hear())
        async with asyncio.timeout(5):
            again = await client.take()
        assert [resource.name for resource in again.resources] == ["table"]


async def test_a_stream_that_ends_leaves_nothing_for_the_garbage_collector() -> None:
    """It may be long in coming, or never come: what is in a cycle when it is frozen stays for ever."""
    directory = a_directory(Latest(a_world()))
    gc.collect()
    gc.disable()
    try:
        async with served_ads(directory) as served:
            async with served.channel() as channel, AdsClient(channel, node_id(WEB)) as client:
                await brought_up(client)
                (session,) = [weakref.ref(connection.session) for connection in served.server.connections]
            await until(lambda: session() is None)
    finally:
        gc.enable()


STRANGERS = [
    (
        ("web-1", "db", "postgres"),
        Reason.IDENTITY,
        "machine web-1 presented a certificate of ns/db/sa/postgres but connects as ns/web: refused",
    ),
    (
        ("web-2", "web", "front"),
        Reason.MACHINE,
        "machine web-2 presented a certificate of ns/web/sa/front but connects as proxy web-1: refused",
    ),
    (
        ("web-1", "web", "back"),
        Reason.IDENTITY,
        "machine web-1 presented a certificate of ns/web/sa/back but connects as ns/web/sa/front: refused",
    ),
]


@pytest.mark.parametrize(("certificate", "reason", "message"), STRANGERS)
async def test_a_stranger_is_refused_with_a_reason_and_counted(
    certificate: tuple[str, str, str], reason: Reason, message: str
) -> None:
    async with served_ads(a_directory(Latest(a_world()))) as served:
        async with served.channel(*certificate) as channel, AdsClient(channel, node_id(WEB)) as client:
            await client.ask(envoy.CLUSTER)
            assert await client.end() == (grpc.StatusCode.PERMISSION_DENIED, message)
        assert counted(served, "meshwright_xds_refused_streams_total", reason=reason) == 1
        assert served.server.connections == ()


async def test_an_unknown_proxy_is_refused() -> None:
    directory = a_directory(Latest(a_world()))
    async with talking(directory, certificate=("db-1", "db", "postgres"), node=DB) as (_, client):
        await client.ask(envoy.CLUSTER)
        message = "no proxy db-1 is known in ns/db: refused"
        assert await client.end() == (grpc.StatusCode.PERMISSION_DENIED, message)


async def test_a_certificate_of_another_authority_opens_nothing() -> None:
    async with served_ads(a_directory(Latest(a_world()))) as served:
        key, chain = TestAuthority().workload("web-1", "web", "front")
        credentials = grpc.ssl_channel_credentials(served.authority.root, key, chain)
        options = [("grpc.ssl_target_name_override", "meshwright.test")]
        target = f"127.0.0.1:{served.port}"
        async with (
            grpc.aio.secure_channel(target, credentials, options=options) as channel,
            AdsClient(channel, node_id(WEB)) as client,
        ):
            assert (await client.end())[0] is grpc.StatusCode.UNAVAILABLE


async def test_state_of_the_world_is_refused_with_a_word() -> None:
    async with served_ads(a_directory(Latest(a_world()))) as served, served.channel() as channel:
        method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
        call = channel.stream_stream(method)()
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await call.details() == "state of the world is not served: set api_type to DELTA_GRPC"


async def test_the_servers_certificate_rotates_without_a_restart() -> None:
    """New connections see the new certificate, and the new roots; the old connection lives on."""
    world = Latest(a_world())
    async with talking(a_directory(world)) as (served, client):
        await brought_up(client)
        next_authority = TestAuthority("next root")
        served.certificates.certificate = next_authority.server()
        key, chain = next_authority.workload("web-1", "web", "front")
        credentials = grpc.ssl_channel_credentials(next_authority.root, key, chain)
        options = [
            ("grpc.ssl_target_name_override", "meshwright.test"),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        target = f"127.0.0.1:{served.port}"
        async with (
            grpc.aio.secure_channel(target, credentials, options=options) as again,
            AdsClient(again, node_id(WEB)) as second,
        ):
            await brought_up(second)
        world.publish(changed(world.value, a_part(envoy.ENDPOINTS, a="v2", b="v1")))
        assert (await client.take()).type_url == envoy.ENDPOINTS


async def test_a_proxy_that_does_not_read_costs_only_itself() -> None:
    """Its stream is ended when the time to write is over; others are served meanwhile."""
    big = Part.of(
        envoy.CLUSTER,
        [a_part(envoy.CLUSTER, **{f"c{n}": "x" * 100_000}).resources[f"c{n}"] for n in range(200)],
    )
    small = an_assignment(a_part(envoy.CLUSTER, a="v1"))
    directory = FakeDirectory({"web-1": Latest(an_assignment(big)), "db-1": Latest(small)}, WEB, DB)
    transport = Transport(write_limit=timedelta(seconds=0.3))
    async with served_ads(directory, transport=transport) as served:
        async with (
            served.channel() as slow_channel,
            served.channel("db-1", "db", "postgres") as quick_channel,
            AdsClient(slow_channel, node_id(WEB)) as slow,
            AdsClient(quick_channel, node_id(DB)) as quick,
        ):
            await slow.ask(envoy.CLUSTER)
            await until(lambda: directory.members)
            await quick.ask(envoy.CLUSTER)
            await quick.take()
            await until(lambda: directory.members[0].has_left)
        assert counted(served, "pilot_xds_write_timeout") == 1


async def test_a_drain_ends_streams_between_two_messages() -> None:
    """The limit is for those that cannot be ended so: it is not waited for."""
    directory = a_directory(Latest(a_world()))
    async with talking(directory) as (served, client):
        await brought_up(client)
        async with asyncio.timeout(10):
            await served.server.drain(timedelta(seconds=60))
        assert (await client.end())[0] is grpc.StatusCode.OK
        await until(lambda: directory.members[0].has_left)
