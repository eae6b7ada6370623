"""The load client behaves as the Envoys it stands for, and counts what it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ca.credentials import server_credentials
from mesh.clock import SystemClock
from mesh.errors import Misconfigured, Unavailable
from mesh.proxies import NodeId
from tests.bench.client import LoadClient, build, running
from tests.bench.identities import Fleet
from tests.support.delta_server import DeltaServer, delta_server
from xds import envoy

SOON = timedelta(seconds=20)
CACHE = Path(__file__).parents[2] / ".cache" / "bench"
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


@pytest.fixture(scope="module")
def binary() -> Path:
    try:
        return build(CACHE)
    except Misconfigured as error:
        pytest.skip(f"{error}: {error.hint}")


def a_cluster(name: str, timeout: str = "1s") -> Any:
    literal = {
        "name": name,
        "type": "EDS",
        "connect_timeout": timeout,
        "eds_cluster_config": {"eds_config": {"ads": {}}},
    }
    return envoy.parsed("envoy.config.cluster.v3.Cluster", literal)


def some_endpoints(name: str, port: int) -> Any:
    address = {"socket_address": {"address": "10.0.0.1", "port_value": port}}
    literal = {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}
    return envoy.parsed("envoy.config.endpoint.v3.ClusterLoadAssignment", literal)


def a_listener(name: str, routes: str) -> Any:
    rds = {"route_config_name": routes, "config_source": {"ads": {}}}
    manager = envoy.parsed(MANAGER, {"stat_prefix": "x", "rds": rds})
    listener = envoy.parsed("envoy.config.listener.v3.Listener", {"name": name})
    listener.filter_chains.add().filters.add(name="http").typed_config.CopyFrom(envoy.packed(manager))
    return listener


def a_world(clusters: int = 300) -> dict[str, dict[str, Any]]:
    names = [f"outbound|8080||s{i}.example" for i in range(clusters)]
    static = envoy.parsed("envoy.config.cluster.v3.Cluster", {"name": "PassthroughCluster"})
    return {
        envoy.CLUSTER: {static.name: static, **{name: a_cluster(name) for name in names}},
        envoy.ENDPOINTS: {name: some_endpoints(name, 1) for name in names},
        envoy.LISTENER: {"0.0.0.0_8080": a_listener("0.0.0.0_8080", "8080")},
        envoy.ROUTES: {"8080": envoy.parsed("envoy.config.route.v3.RouteConfiguration", {"name": "8080"})},
        envoy.SECRET: {
            "ROOTCA": envoy.parsed("envoy.extensions.transport_sockets.tls.v3.Secret", {"name": "ROOTCA"})
        },
    }


@asynccontextmanager
async def a_fleet(
    binary: Path, folder: Path, world: dict[str, dict[str, Any]], streams: int = 3, **options: bool
) -> AsyncIterator[tuple[LoadClient, DeltaServer]]:
    fleet = Fleet(folder / "state", folder / "fleet", SystemClock())
    fleet.enrol(
        (NodeId.parse(f"sidecar~10.0.0.{i}~w{i}.shop~shop.svc.cluster.local"), "w") for i in range(streams)
    )
    async with (
        delta_server(world, server_credentials(fleet.issuer)) as server,
        running(
            binary, "127.0.0.1", server.port, fleet.roots, fleet.streams, "--secret", "ROOTCA", **options
        ) as client,
    ):
        yield client, server


def said(server: DeltaServer) -> list[tuple[str, int, str]]:
    """What the server heard: type, how many names were subscribed to, nonce."""
    return [
        (envoy.SHORT_NAMES[one.type_url], len(one.resource_names_subscribe), one.response_nonce)
        for one in server.requests
    ]


async def test_a_stream_asks_and_answers_in_envoys_order(binary: Path, tmp_path: Path) -> None:
    async with a_fleet(binary, tmp_path, a_world(clusters=2), streams=1) as (client, server):
        current = await client.current(SOON)
        await client.begin("settle", streams=0)
        await client.end(SOON)

        assert said(server) == [
            ("cds", 0, ""),
            ("eds", 2, ""),
            ("sds", 1, ""),
            ("cds", 0, "n1"),
            ("eds", 0, "n2"),
            ("lds", 0, ""),
            ("sds", 0, "n3"),
            ("rds", 1, ""),
            ("lds", 0, "n4"),
            ("rds", 0, "n5"),
        ]
        assert [bool(one.node.id) for one in server.requests] == [True, *[False] * 9]
        assert (current.streams, current.responses, current.resources) == (1, 5, 8)


async def test_names_beyond_the_servers_window_arrive_whole(binary: Path, tmp_path: Path) -> None:
    """The default window is 64 kB; three thousand names are twice that."""
    async with a_fleet(binary, tmp_path, a_world(clusters=3000), streams=2) as (client, _):
        current = await client.current(SOON)

        assert current.resources == 2 * (3001 + 3000 + 1 + 1 + 1)


async def test_a_round_counts_streams_resources_and_names(binary: Path, tmp_path: Path) -> None:
    world = a_world(clusters=5)
    async with a_fleet(binary, tmp_path, world) as (client, server):
        await client.current(SOON)
        began = await client.begin("change", streams=3, type_name="eds")
        name = "outbound|8080||s4.example"
        world[envoy.ENDPOINTS][name] = some_endpoints(name, 2)
        await server.push()
        round_ = await client.end(SOON)

        assert (round_.streams, round_.responses, round_.resources, round_.removed) == (3, 3, 3, 0)
        assert round_.names == (name,)
        assert round_.first is not None
        assert round_.last is not None
        assert began < round_.first <= round_.last


async def test_what_nobody_is_sent_is_counted_as_nothing(binary: Path, tmp_path: Path) -> None:
    async with a_fleet(binary, tmp_path, a_world(clusters=1)) as (client, server):
        await client.current(SOON)
        await client.begin("nothing", streams=3)
        await server.push()
        round_ = await client.count()

        assert (round_.streams, round_.responses, round_.bytes, round_.last) == (0, 0, 0, None)


async def test_a_changed_cluster_is_acknowledged_once_it_is_warm(binary: Path, tmp_path: Path) -> None:
    world = a_world(clusters=1)
    async with a_fleet(binary, tmp_path, world, streams=1) as (client, server):
        await client.current(SOON)
        server.requests.clear()
        await client.begin("change", streams=1, type_name="eds")
        (name,) = world[envoy.ENDPOINTS]
        world[envoy.CLUSTER][name] = a_cluster(name, timeout="2s")
        await server.push()
        await client.end(SOON)

        assert said(server)[-3:] == [("eds", 1, ""), ("eds", 0, "n7"), ("cds", 0, "n6")]


async def test_a_stream_that_comes_back_says_what_it_has(binary: Path, tmp_path: Path) -> None:
    world = a_world()
    async with a_fleet(binary, tmp_path, world) as (client, server):
        await client.current(SOON)
        server.requests.clear()
        await client.reconnect()
        current = await client.current(SOON)

        assert (current.streams, current.responses, current.resources) == (3, 3, 0)
        asked = {
            envoy.SHORT_NAMES[one.type_url]: len(one.initial_resource_versions)
            for one in server.requests
            if not one.response_nonce
        }
        assert asked == {"cds": 301, "eds": 300, "sds": 1, "lds": 1, "rds": 1}


async def test_a_removed_cluster_takes_its_subscription_with_it(binary: Path, tmp_path: Path) -> None:
    world = a_world(clusters=2)
    async with a_fleet(binary, tmp_path, world, streams=1) as (client, server):
        await client.current(SOON)
        await client.begin("removal", streams=1, type_name="cds")
        name = "outbound|8080||s1.example"
        del world[envoy.CLUSTER][name]
        await server.push()
        round_ = await client.end(SOON)

        assert (round_.resources, round_.removed, round_.names) == (0, 1, (name,))
        assert [list(one.resource_names_unsubscribe) for one in server.requests[-2:]] == [[name], []]


async def test_a_server_that_is_not_there_is_said_to_be_so(binary: Path, tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "state", tmp_path, SystemClock())
    fleet.enrol([(NodeId.parse("sidecar~10.0.0.1~w.shop~shop.svc.cluster.local"), "w")])
    async with running(binary, "127.0.0.1", 1, fleet.roots, fleet.streams) as client:
        with pytest.raises(Unavailable) as refused:
            await client.current(timedelta(milliseconds=300))

    assert str(refused.value) == (
        "load client did not report 'current' within 0.3 s; last stream closed: Connection refused"
    )
