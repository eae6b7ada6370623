"""The API server that tests make up does what the real one does, as far as a reflector asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from registries.kubernetes.api import Gone
from registries.kubernetes.client import Client
from tests.servers.kubernetes import KubernetesApi
from tests.servers.kubernetes_objects import a_manifest
from tests.support.cluster_registries import named_access
from tests.support.cluster_server import ClusterServer

NODES = "/api/v1/nodes"


class Cluster(Protocol):
    """A cluster with Nodes, of which only the names matter."""

    client: Client

    async def add(self, name: str) -> None: ...

    async def remove(self, name: str) -> None: ...

    async def compact(self) -> None: ...


class Fake:
    def __init__(self, server: ClusterServer, client: Client) -> None:
        self.client, self._server = client, server

    async def add(self, name: str) -> None:
        await self._server.put("node", {"metadata": {"name": name}})

    async def remove(self, name: str) -> None:
        await self._server.delete("node", "", name)

    async def compact(self) -> None:
        self._server.compact()


class Real:
    def __init__(self, api: KubernetesApi, client: Client) -> None:
        self.client, self._api = client, api

    async def add(self, name: str) -> None:
        await asyncio.to_thread(self._api.apply, a_manifest("Node", name))

    async def remove(self, name: str) -> None:
        await asyncio.to_thread(self._api.delete, a_manifest("Node", name))

    async def compact(self) -> None:
        await asyncio.to_thread(self._api.compact)


@pytest.fixture(scope="module")
def from_etcd(has_kubernetes: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A real one that answers watches from etcd: what was compacted is gone at once."""
    with KubernetesApi(tmp_path_factory.mktemp("contract"), flags=("--watch-cache=false",)) as api:
        yield api


@pytest.fixture(params=["made up", "real"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Opens either; five Nodes are in it."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Cluster]:
        if request.param == "made up":
            async with ClusterServer() as server, Client(server.credentials) as client:
                yield await _with_nodes(Fake(server, client))
        else:
            api = request.getfixturevalue("from_etcd")
            credentials = await named_access(tmp_path, api.kubeconfig).read()
            async with Client(credentials) as client:
                yield await _with_nodes(Real(api, client))

    return opened


async def _with_nodes(cluster: Cluster) -> Cluster:
    for number in range(5):
        await cluster.add(f"n{number}")
    return cluster


def names(page: Any) -> list[str]:
    return sorted(item["metadata"]["name"] for item in page["items"])


async def events(stream: AsyncIterator[Sequence[bytes]], number: int) -> list[tuple[str, str]]:
    """The type and object of that many events; the name, or the code of an error."""
    found: list[tuple[str, str]] = []
    async with asyncio.timeout(20):
        async for lines in stream:
            for event in map(json.loads, lines):
                thing = event["object"]
                found.append((event["type"], str(thing.get("code") or thing["metadata"]["name"])))
            if len(found) >= number:
                break
    return found


async def test_a_list_in_pages_shows_one_moment(cluster: Any) -> None:
    async with cluster() as it:
        first = await it.client.get(NODES, {"limit": "2"})
        await it.add("late")
        second = await it.client.get(NODES, {"limit": "500", "continue": first["metadata"]["continue"]})
        await it.remove("late")

        assert names(first) + names(second) == ["n0", "n1", "n2", "n3", "n4"]
        assert "continue" not in second["metadata"]
        assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_a_watch_tells_what_happened_since_the_list(cluster: Any) -> None:
    async with cluster() as it:
        version = (await it.client.get(NODES, {"limit": "500"}))["metadata"]["resourceVersion"]
        await it.add("new")
        await it.remove("new")
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "30"}
        async with it.client.watch(NODES, query) as stream:
            assert await events(stream, 2) == [("ADDED", "new"), ("DELETED", "new")]


async def test_a_watch_from_a_version_that_was_compacted_is_gone(cluster: Any) -> None:
    async with cluster() as it:
        version = (await it.client.get(NODES, {"limit": "500"}))["metadata"]["resourceVersion"]
        await it.add("new")
        await it.remove("new")
        await it.compact()
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "30"}
        try:
            async with it.client.watch(NODES, query) as stream:
                said = await events(stream, 1)
        except Gone:
            said = [("ERROR", "410")]  # some versions answer with the status itself

        assert said == [("ERROR", "410")]


async def test_a_page_from_a_version_that_was_compacted_is_gone(cluster: Any) -> None:
    async with cluster() as it:
        first = await it.client.get(NODES, {"limit": "2"})
        await it.add("new")
        await it.remove("new")
        await it.compact()

        with pytest.raises(Gone, match=r"^the API server answered 410 to the GET of /api/v1/nodes: "):
            await it.client.get(NODES, {"limit": "2", "continue": first["metadata"]["continue"]})
