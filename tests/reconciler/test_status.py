from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from mesh.names import ObjectKey
from mesh.world import Trust
from reconciler.acceptance import Accepted, UnitStatus
from reconciler.cycle import CycleStatus, State
from reconciler.reading import Reader, TextFile
from reconciler.status import broken_fields, proxies, resources, status
from reconciler.worlds import Worlds
from registries.drops import Moment
from tests.support.clock import FakeClock
from tests.support.config import a_service, a_workload
from tests.support.fleets import a_caller, a_node, accept, refuse
from tests.support.without_registries import worlds_of
from xds import envoy
from xds.fleet import Fleet
from xds.member import Member
from xds.memo import Broken
from xds.server import Connection
from xds.session import Sync, TypeStatus

REVIEWS = "outbound|9080||reviews.bookinfo.svc.cluster.local"
FILES = {
    "services.yaml": "\n\n" + a_service("reviews"),
    "workloads.yaml": a_workload("reviews") + "\n---\n" + a_workload("ratings", "10.0.0.2"),
}


@dataclass
class Running:
    fleet: Fleet
    worlds: Worlds
    cycle: CycleStatus

    async def join(self, app: str) -> Member:
        return await self.fleet.join(a_node(app), {}, a_caller(app))

    def status(self) -> dict[str, Any]:
        answer = status(
            self.cycle, self.fleet, self.worlds, (), Moment(0.0, datetime(2026, 1, 1, tzinfo=UTC))
        )
        # It is handed on as JSON, whatever it holds.
        return cast("dict[str, Any]", json.loads(json.dumps(answer)))


@asynccontextmanager
async def a_control_plane() -> AsyncIterator[Running]:
    clock = FakeClock()
    worlds = worlds_of(clock)
    fleet = Fleet(clock, worlds.latest)
    reading = Reader()([TextFile(name, text.encode()) for name, text in FILES.items()])
    unit = UnitStatus(folder="", seen="r1", accepted="r1")
    worlds.offer(Accepted(revision="r1", commit="tree", units=(unit,), reading=reading))
    worlds.trust.publish(Trust())
    cycle = CycleStatus(
        branch="main",
        url="https://git/mesh",
        state=State.READY,
        seen="r1",
        revision="r1",
        served="tree",
        since=clock.now(),
        units=(unit,),
    )
    tasks = [asyncio.create_task(worlds.run())]
    await worlds.is_first_made.wait()
    tasks.append(asyncio.create_task(fleet.run()))
    try:
        yield Running(fleet, worlds, cycle)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_live_is_counted_among_those_who_are_connected() -> None:
    async with a_control_plane() as running:
        member = await running.join("reviews")
        live = running.status()["live"]
        assert (live["acknowledged"], live["connected"]) == (0, 1)
        assert (live["behind"], live["disconnected"]) == (["reviews-1.bookinfo"], ["ratings-1.bookinfo"])

        accept(member)
        live = running.status()["live"]
        assert (live["revision"], live["acknowledged"], live["behind"]) == ("r1", 1, [])
        assert live["pushed_at_ms"] == live["seen_at_ms"] == 1767225600000


async def test_the_loop_and_the_units_are_told_as_they_are() -> None:
    async with a_control_plane() as running:
        answer = running.status()

    assert (answer["revision"], answer["accepted"], answer["tree"]) == ("r1", "r1", "tree")
    assert (answer["state"], answer["since"]) == ("ready", "2026-01-01T00:00:00.000+00:00")
    assert [unit["seen"] for unit in answer["units"]] == ["r1"]
    assert answer["git"]["url"] == "https://git/mesh"
    assert [problem["code"] for problem in answer["problems"]] == ["MW0008"]
    assert answer["broken"] == []


async def test_a_refusal_leads_back_to_the_line_it_came_from() -> None:
    async with a_control_plane() as running:
        member = await running.join("reviews")
        version = refuse(member, envoy.CLUSTER, REVIEWS).version

        assert running.status()["live"]["refused"] == [
            {
                "proxy": "reviews-1.bookinfo",
                "type": "cds",
                "resource": REVIEWS,
                "version": version,
                "message": "no",
                "sources": [{"object": "ServiceEntry/bookinfo/reviews", "file": "services.yaml", "line": 3}],
            }
        ]


async def test_what_is_broken_leads_back_to_the_lines_it_was_to_be_made_of() -> None:
    async with a_control_plane() as running:
        source = ObjectKey("ServiceEntry", "bookinfo", "reviews")
        told = broken_fields(Broken("a", "outbound", "a bug", (source,)), running.worlds.accepted.value)

    assert told == {
        "resource": "a",
        "function": "outbound",
        "reason": "a bug",
        "sources": [{"object": "ServiceEntry/bookinfo/reviews", "file": "services.yaml", "line": 3}],
    }


async def test_endpoints_lead_back_to_those_who_declared_them() -> None:
    async with a_control_plane() as running:
        member = await running.join("reviews")
        found = {one["name"]: one for one in resources(member, envoy.ENDPOINTS, running.worlds)}

    assert found[REVIEWS]["sources"] == [
        {"object": "WorkloadEntry/bookinfo/reviews-1", "file": "workloads.yaml", "line": 1}
    ]


async def test_an_object_that_is_not_known_is_null() -> None:
    async with a_control_plane() as running:
        (problem,) = running.status()["problems"]

    assert (problem["code"], problem["object"]) == ("MW0008", None)


class Said:
    """A session that has got somewhere."""

    def __init__(self, sync: Sync) -> None:
        self._sync = sync

    def status(self) -> tuple[TypeStatus, ...]:
        return tuple(TypeStatus(type_url=type_url, sync=self._sync) for type_url in envoy.TYPES)


async def test_each_connected_proxy_is_told_with_its_types_and_facets() -> None:
    async with a_control_plane() as running:
        member = await running.join("reviews")
        accept(member)
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        session = cast("Any", Said(Sync.SYNCED))
        here = Connection(membership=member, session=session, since=moment, certificate_end=moment)
        gone = Connection(
            membership=cast("Any", object()), session=session, since=moment, certificate_end=None
        )
        (row,) = proxies([gone, here], running.fleet)["proxies"]

    assert (row["name"], row["role"], row["revision"], row["is_live"]) == (
        "reviews-1.bookinfo",
        "sidecar",
        "r1",
        True,
    )
    assert {kind: one["sync"] for kind, one in row["types"].items()} == dict.fromkeys(
        ("cds", "eds", "lds", "rds", "sds"), "SYNCED"
    )
    assert row["facets"] == ["outbound", "inbound", "trust"]
    assert row["certificate_end"] == "2026-01-01T00:00:00.000+00:00"


async def test_what_a_proxy_was_sent_is_told_by_name_with_its_places() -> None:
    async with a_control_plane() as running:
        member = await running.join("reviews")
        found = {one["name"]: one for one in resources(member, envoy.CLUSTER, running.worlds)}

    assert list(found) == sorted(found)
    assert found[REVIEWS]["resource"]["name"] == REVIEWS
    assert found[REVIEWS]["sources"][0]["file"] == "services.yaml"
    assert found["PassthroughCluster"]["sources"] == []
