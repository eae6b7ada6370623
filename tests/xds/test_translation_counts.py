"""Work is spent per kind of proxy and per change: how often translation really runs.

The world is that of the benchmark (tests/bench/meshes.py): 300 services of 10 endpoints, 300 workloads
in 5 namespaces, one proxy each. Every fifth service has a VirtualService and two subsets.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from mesh.clock import breathe
from mesh.identity import SpiffeId
from mesh.latest import Latest
from mesh.world import World
from tests.bench import meshes
from tests.bench.meshes import Size
from tests.support.clock import FakeClock
from tests.support.worlds import Worlds
from xds import envoy
from xds.directory import Caller
from xds.facets import InboundFacet, OutboundFacet
from xds.fleet import Fleet, Member

SIZE = Size()
ROUTED = SIZE.services // 5
# Each service has a cluster, and each routed one two more: its subsets.
CLUSTERS = SIZE.services + 2 * ROUTED


@functools.cache
def the_mesh() -> Worlds:
    """What makes the worlds of all tests: the files are read once."""
    return Worlds()


class Running:
    """A fleet of everybody, following what it is given."""

    def __init__(self, fleet: Fleet, worlds: Latest[World]) -> None:
        self.fleet = fleet
        self.members: tuple[Member, ...] = ()
        self._worlds, self._files = worlds, meshes.files(SIZE)

    async def join_all(self) -> None:
        callers = (
            (node, Caller(SpiffeId("cluster.local", node.namespace, account), node.name))
            for node, account in meshes.proxies(SIZE)
        )
        joining = (self.fleet.join(node, {}, caller) for node, caller in callers)
        self.members = tuple(await asyncio.gather(*joining))

    async def change(self, files: Mapping[str, str | None]) -> tuple[Counter[str], int]:
        """Publish a world with these files instead: which translations ran, and who was told."""
        for name, text in files.items():
            if text is None:
                del self._files[name]
            else:
                self._files[name] = text
        ran, told = Counter(self.fleet.memo.made), [one.assignment.version for one in self.members]
        world = the_mesh().of(self._files, before=self._worlds.value)
        self._worlds.publish(world)
        while self.fleet.progress is None or self.fleet.progress.revision != world.revision:
            await breathe()
        after = [one.assignment.version for one in self.members]
        return self.fleet.memo.made - ran, sum(a != b for a, b in zip(told, after, strict=True))


@asynccontextmanager
async def everybody() -> AsyncIterator[Running]:
    worlds = Latest(the_mesh().of(meshes.files(SIZE)))
    # The clock stands still: a turn is never cut into slices, so it is over when it is seen to be.
    fleet = Fleet(FakeClock(), worlds)
    following = asyncio.create_task(fleet.run())
    running = Running(fleet, worlds)
    try:
        await running.join_all()
        yield running
    finally:
        following.cancel()


async def test_300_workloads_of_5_namespaces_are_5_outbound_and_300_inbound_facets() -> None:
    async with everybody() as running:
        facets = {id(facet): type(facet) for member in running.members for facet in member.facets}
        kinds = Counter(facets.values())

        assert kinds[OutboundFacet] == 5
        assert kinds[InboundFacet] == 300


async def test_each_thing_is_translated_once_per_kind_of_proxy() -> None:
    """What five namespaces see alike is made once; what they see each in their way, five times."""
    async with everybody() as running:
        made = running.fleet.memo.made

        assert made["outbound_resources"] == SIZE.namespaces
        assert made["route_table"] == SIZE.namespaces
        # All services have the same port, and where it is listened for is the same everywhere.
        assert made["outbound_listener"] == 1
        assert made["outbound"] == CLUSTERS
        assert made["assignment"] == CLUSTERS
        # A host is called by its short name in its own namespace, and by longer ones in all others.
        assert made["virtual_host"] == 2 * SIZE.services
        assert made["inbound_resources"] == made["inbound"] == SIZE.workloads


async def test_one_endpoint_that_moves_is_translated_once_and_told_to_all() -> None:
    async with everybody() as running:
        ran, told = await running.change(meshes.moved_endpoint(SIZE, 0))

        assert ran == {"assignment": 1}
        assert told == SIZE.streams


async def test_one_line_of_a_virtual_service_translates_its_host_and_the_tables_that_hold_it() -> None:
    async with everybody() as running:
        ran, told = await running.change(meshes.changed_route(SIZE, 0))

        assert ran == {
            "outbound_resources": SIZE.namespaces,
            "route_table": SIZE.namespaces,
            "virtual_host": 2,
        }
        assert told == SIZE.streams


async def test_one_namespaces_policy_translates_its_own_workloads_alone() -> None:
    """Sixty of three hundred workloads are in the namespace; the other proxies are told nothing."""
    async with everybody() as running:
        ran, told = await running.change({"team-0/policy.yaml": None})

        mine = SIZE.workloads // SIZE.namespaces
        assert told == mine
        assert set(ran) == {"inbound_resources", "virtual_inbound"}
        assert ran["virtual_inbound"] == mine


async def test_a_commit_that_changes_nothing_translates_nothing() -> None:
    async with everybody() as running:
        ran, told = await running.change({"comment.yaml": "# a word to the reader\n"})

        assert ran == {}
        assert told == 0


async def test_all_proxies_of_a_namespace_share_the_very_bytes() -> None:
    async with everybody() as running:
        shared: defaultdict[str, set[int]] = defaultdict(set)
        for member in running.members:
            outbound, *_ = member.assignment.value.parts[envoy.CLUSTER]
            shared[member.proxy.namespace].add(id(outbound))

        assert [len(parts) for parts in shared.values()] == [1] * SIZE.namespaces
