"""A real Envoy on the xDS port: delta ADS over mutual TLS, refusals, and coming back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from mesh.clock import SystemClock
from mesh.latest import Latest
from mesh.proxies import Proxy, Role
from tests.support import envoys
from tests.support.ads_server import CONTROL_PLANE, ServedAds, TestAuthority, served_ads
from tests.support.memberships import FakeDirectory, FakeMembership
from xds import envoy
from xds.resources import Assignment, Part, Resource

# The node id that every Envoy of the support module has.
REVIEWS = Proxy(
    role=Role.SIDECAR,
    name="reviews-v1",
    namespace="bookinfo",
    address="127.0.0.1",
    service_account="reviews",
)
ADS = {"ads": {}, "resource_api_version": "V3"}
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
BAD_SOCKET = {
    "name": "tls",
    "typed_config": {
        "@type": TLS,
        "common_tls_context": {
            "validation_context": {"trusted_ca": {"filename": "/nowhere/at/all.pem"}},
        },
    },
}


def a_cluster(name: str, **more: Any) -> Resource:
    literal = {
        "name": name,
        "type": "EDS",
        "connect_timeout": "1s",
        "eds_cluster_config": {"eds_config": ADS},
        **more,
    }
    return Resource.of(name, envoy.parsed("envoy.config.cluster.v3.Cluster", literal))


def an_assignment(name: str, port: int) -> Resource:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    literal = {
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
    }
    return Resource.of(name, envoy.parsed("envoy.config.endpoint.v3.ClusterLoadAssignment", literal))


def a_listener(name: str, table: str) -> Resource:
    literal = envoys.a_listener(name, {})
    manager = literal["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["route_config"]
    manager["rds"] = {"route_config_name": table, "config_source": ADS}
    return Resource.of(name, envoy.parsed("envoy.config.listener.v3.Listener", literal))


def a_table(name: str, cluster: str) -> Resource:
    literal = {
        "name": name,
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}],
            }
        ],
    }
    return Resource.of(name, envoy.parsed("envoy.config.route.v3.RouteConfiguration", literal))


def a_world(
    clusters: Mapping[str, Mapping[str, Any]], to: str, *, port: int = 1, revision: str = "r1"
) -> Assignment:
    """Clusters with their differences, an endpoint for each, and a listener whose table sends to ``to``."""
    return Assignment(
        {
            envoy.CLUSTER: (
                Part.of(envoy.CLUSTER, [a_cluster(name, **more) for name, more in clusters.items()]),
            ),
            envoy.ENDPOINTS: (Part.of(envoy.ENDPOINTS, [an_assignment(name, port) for name in clusters]),),
            envoy.LISTENER: (Part.of(envoy.LISTENER, [a_listener("main", "table")]),),
            envoy.ROUTES: (Part.of(envoy.ROUTES, [a_table("table", to)]),),
        },
        revision,
    )


def a_bootstrap(authority: TestAuthority, port: int) -> dict[str, Any]:
    key, chain = authority.workload("reviews-v1", "bookinfo", "reviews")
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    socket = {
        "@type": TLS,
        "sni": CONTROL_PLANE,
        "common_tls_context": {
            "tls_certificates": [
                {
                    "certificate_chain": {"inline_string": chain.decode()},
                    "private_key": {"inline_string": key.decode()},
                }
            ],
            "validation_context": {
                "trusted_ca": {"inline_string": authority.root.decode()},
                "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": CONTROL_PLANE}}],
            },
        },
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    cluster = {
        "name": "xds-grpc",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2,
        },
        "transport_socket": {"name": "tls", "typed_config": socket},
        "load_assignment": {
            "cluster_name": "xds-grpc",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    ads = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
    }
    return {
        "static_resources": {"clusters": [cluster]},
        "dynamic_resources": {"ads_config": ads, "cds_config": ADS, "lds_config": ADS},
    }


@contextlib.asynccontextmanager
async def an_envoy(served: ServedAds, folder: Path) -> AsyncIterator[envoys.Running]:
    stack = contextlib.ExitStack()
    manager = envoys.running(a_bootstrap(served.authority, served.port), folder)
    try:
        yield await asyncio.to_thread(stack.enter_context, manager)
    finally:
        await asyncio.to_thread(stack.close)


async def until(condition: Any, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await SystemClock().sleep(timedelta(milliseconds=20))


def holds(member: FakeMembership, world: Assignment) -> bool:
    return all(member.held.get(type_url) == parts for type_url, parts in world.parts.items())


async def clusters_of(proxy: envoys.Running) -> set[str]:
    answer = await asyncio.to_thread(envoys._ask, proxy.admin, "GET", "/clusters?format=json", {})
    return {cluster["name"] for cluster in answer.json["cluster_statuses"]} - {"xds-grpc"}


@envoys.needs_envoy
async def test_a_real_envoy_takes_changes_and_comes_back_to_nothing_new(tmp_path: Path) -> None:
    """Configuration, a change, a removal; then a new server, to which Envoy says what it has."""
    authority = TestAuthority()
    first = a_world({"a": {}, "b": {}}, to="a")
    world = Latest(first)
    directory = FakeDirectory({"reviews-v1": world}, REVIEWS)
    async with contextlib.AsyncExitStack() as envoy_stack:
        async with served_ads(directory, authority=authority) as served:
            proxy = await envoy_stack.enter_async_context(an_envoy(served, tmp_path))
            await until(lambda: holds(directory.members[0], first))

            second = a_world({"a": {"connect_timeout": "2s"}, "c": {}}, to="c", revision="r2")
            before = SystemClock().monotonic()
            world.publish(second)
            await until(lambda: holds(directory.members[0], second))
            assert SystemClock().monotonic() - before < 5, "a changed cluster was left to warm"
            assert await clusters_of(proxy) == {"a", "c"}
            port = served.port
        again = FakeDirectory({"reviews-v1": world}, REVIEWS)
        async with served_ads(again, authority=authority, address=f"127.0.0.1:{port}") as served:
            await until(lambda: bool(again.members) and holds(again.members[0], second))
            assert served.settings.bodies.sent == 0


@envoys.needs_envoy
async def test_one_bad_cluster_among_good_ones_is_found_and_left_out(tmp_path: Path) -> None:
    """The good ones of the same response go live; the record of versions is what is served."""
    authority = TestAuthority()
    names = {f"good-{number}": {} for number in range(8)}
    world = Latest(a_world({**names, "wrong": {"transport_socket": BAD_SOCKET}}, to="good-1"))
    directory = FakeDirectory({"reviews-v1": world}, REVIEWS)
    async with contextlib.AsyncExitStack() as envoy_stack:
        async with served_ads(directory, authority=authority) as served:
            proxy = await envoy_stack.enter_async_context(an_envoy(served, tmp_path))
            await until(lambda: bool(directory.members[0].refusals))
            await until(lambda: envoy.LISTENER in directory.members[0].held)
            await until(lambda: served.server.connections[0].session.is_idle)
            (refusal,) = directory.members[0].refusals
            assert refusal.name == "wrong"
            assert "/nowhere/at/all.pem" in refusal.message
            assert await clusters_of(proxy) == set(names)
            port = served.port
        world.publish(a_world(names, to="good-1", revision="r2"))
        again = FakeDirectory({"reviews-v1": world}, REVIEWS)
        async with served_ads(again, authority=authority, address=f"127.0.0.1:{port}") as served:
            await until(lambda: bool(again.members) and holds(again.members[0], world.value))
            assert served.settings.bodies.sent == 0
