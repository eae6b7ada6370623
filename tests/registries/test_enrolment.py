"""Workloads that come, are called what they prove, and go when they have gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.errors import Misconfigured, Refused
from mesh.identity import SpiffeId
from mesh.latest import Latest
from mesh.proxies import NodeId, Role
from mesh.services import Catalogue, Locality, ServiceKey
from mesh.world import World
from registries.enrolment import Enrolment
from registries.roster import Enrolled, Roster, read, write
from tests.support.catalogues import catalogue
from tests.support.clock import FakeClock
from tests.support.config import Meshes, a_config, a_service, a_workload, a_world, document

GRACE = timedelta(seconds=10)
GATHERING = timedelta(milliseconds=100)


def a_group(name: str = "web", account: str = "web", **template: object) -> str:
    return document(
        "WorkloadGroup",
        name,
        metadata={"labels": {"app": "web", "version": "v2"}},
        template={"serviceAccount": account, "labels": {"version": "v1", "tier": "front"}, **template},
    )


def a_node(name: str = "vm-1", address: str = "10.0.0.5", namespace: str = "bookinfo") -> NodeId:
    return NodeId(role=Role.SIDECAR, address=address, name=name, namespace=namespace, domain="cluster.local")


def identity(account: str = "web") -> SpiffeId:
    return SpiffeId("cluster.local", "bookinfo", account)


def enrolled(name: str = "vm-1", address: str = "10.0.0.5", **said: str) -> Enrolled:
    fields = {"namespace": "bookinfo", "group": "web", "account": "web", **said}
    return Enrolled(name=name, address=address, **fields)


@dataclass
class Bench:
    """An enrolment at work. ``rosters`` are those that were published, one after another."""

    clock: FakeClock
    enrolment: Enrolment
    worlds: Latest[World]
    roster: Latest[Roster]
    file: Path

    def arrive(self, name: str = "vm-1", address: str = "10.0.0.5", account: str = "web") -> bool:
        return self.enrolment.arrive(a_node(name, address), "web", identity(account))

    def depart(self, name: str = "vm-1") -> None:
        self.enrolment.depart("bookinfo", name)

    async def passes(self, span: timedelta, version: int | None = None) -> None:
        """Let time pass; with ``version``, until a roster newer than that is published (a disk is in it)."""
        await self.clock.advance(span)
        if version is not None:
            async with asyncio.timeout(5):
                await self.roster.newer_than(version)

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.roster.value]


@asynccontextmanager
async def a_bench(
    folder: Path, world: World | None = None, *, is_one_host: bool = False
) -> AsyncIterator[Bench]:
    clock, roster = FakeClock(), Latest[Roster](())
    worlds = Latest(world or a_world(a_group()))
    file = folder / "enrolled.json"
    enrolment = Enrolment(clock, worlds, roster, file=file, is_one_host=is_one_host)
    running = asyncio.ensure_future(enrolment.run())
    try:
        yield Bench(clock, enrolment, worlds, roster, file)
    finally:
        running.cancel()


async def test_who_arrives_is_enrolled_and_kept(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        assert bench.arrive() is True
        await bench.passes(GATHERING, 0)

        assert bench.roster.value == (enrolled(),)
        assert read(bench.file) == (enrolled(),)


async def test_two_thousand_at_once_are_one_publication(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        for at in range(2000):
            bench.arrive(f"vm-{at}", f"10.0.{at // 250}.{at % 250 + 1}")
        await bench.passes(GATHERING, 0)

        assert (bench.roster.version, len(bench.roster.value)) == (1, 2000)


async def test_who_leaves_is_withdrawn_after_the_grace(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        bench.arrive()
        await bench.passes(GATHERING, 0)
        bench.depart()
        await bench.passes(GRACE - GATHERING)
        assert bench.names == ["vm-1"]

        await bench.passes(2 * GATHERING, 1)
        assert bench.names == []
        assert read(bench.file) == ()


async def test_who_comes_back_in_time_is_not_withdrawn(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        bench.arrive()
        await bench.passes(GATHERING, 0)
        bench.depart()
        await bench.passes(GRACE / 2)
        bench.arrive()
        await bench.passes(10 * GRACE)

        assert (bench.names, bench.roster.version) == (["vm-1"], 1)


async def test_a_second_stream_that_comes_before_the_first_has_ended_keeps_the_workload(
    tmp_path: Path,
) -> None:
    async with a_bench(tmp_path) as bench:
        bench.arrive()
        bench.arrive()
        await bench.passes(GATHERING, 0)
        bench.depart()
        await bench.passes(2 * GRACE)

        assert bench.names == ["vm-1"]


async def test_after_a_restart_everybody_is_there_and_has_five_minutes_to_come_back(tmp_path: Path) -> None:
    kept = enrolled("vm-1"), enrolled("vm-2", "10.0.0.6")
    write(tmp_path / "enrolled.json", kept)

    async with a_bench(tmp_path) as bench:
        assert bench.roster.value == kept
        await bench.passes(timedelta(minutes=4))
        bench.arrive("vm-2", "10.0.0.6")
        await bench.passes(timedelta(minutes=1) - GATHERING)
        assert bench.roster.value == kept

        await bench.passes(3 * GATHERING, 1)
        assert bench.names == ["vm-2"]


async def test_a_machine_that_moved_has_its_new_address(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        bench.arrive()
        await bench.passes(GATHERING, 0)
        bench.arrive(address="10.0.0.9")
        await bench.passes(2 * GATHERING, 1)

        assert bench.roster.value == (enrolled(address="10.0.0.9"),)


async def test_there_is_nothing_to_enrol_for_who_is_declared_by_name(tmp_path: Path) -> None:
    world = a_world(a_group(), a_workload("web", name="vm-1"))
    async with a_bench(tmp_path, world) as bench:
        assert bench.arrive() is False
        await bench.passes(GRACE)

        assert bench.roster.value == ()


async def test_a_group_that_does_not_exist_is_refused_until_it_does(tmp_path: Path) -> None:
    async with a_bench(tmp_path, a_world(a_service("web"))) as bench:
        with pytest.raises(Refused) as refused:
            bench.arrive()
        assert str(refused.value) == (
            "vm-1 would enrol in WorkloadGroup bookinfo/web, which does not exist: refused"
        )
        assert refused.value.hint == (
            "declare the group in the repository, or correct AUTO_REGISTER_GROUP in the bootstrap"
        )

        bench.worlds.publish(a_world(a_group()))
        assert bench.arrive() is True


async def test_the_account_of_the_template_must_be_the_one_proven(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        with pytest.raises(Refused) as refused:
            bench.arrive(account="db")
        assert str(refused.value) == (
            "vm-1 presented a certificate of sa/db, but WorkloadGroup bookinfo/web is of sa/web: refused"
        )


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "169.254.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "::ffff:10.0.0.5",
        "2001:DB8::1",
    ],
)
async def test_an_address_that_others_cannot_reach_is_refused(tmp_path: Path, address: str) -> None:
    async with a_bench(tmp_path) as bench:
        with pytest.raises(Refused) as refused:
            bench.arrive(address=address)
        assert str(refused.value) == (
            f"vm-1 would enrol with the address {address}, at which others cannot reach it: refused"
        )


async def test_where_all_proxies_are_on_one_host_its_loopback_is_an_address(tmp_path: Path) -> None:
    async with a_bench(tmp_path, is_one_host=True) as bench:
        assert bench.arrive(address="127.0.80.5") is True


async def test_the_address_of_another_identity_is_refused(tmp_path: Path) -> None:
    world = a_world(a_group(), a_group("jobs", "jobs"), a_workload("db", "10.0.0.1"))
    async with a_bench(tmp_path, world) as bench:
        with pytest.raises(Refused) as of_a_declared_one:
            bench.arrive(address="10.0.0.1")
        bench.arrive()
        with pytest.raises(Refused) as of_an_enrolled_one:
            bench.enrolment.arrive(a_node("vm-2"), "jobs", identity("jobs"))

    assert [str(of_a_declared_one.value), str(of_an_enrolled_one.value)] == [
        "vm-1 would enrol with the address 10.0.0.1 of WorkloadEntry/bookinfo/db-1: refused",
        "vm-2 would enrol with the address 10.0.0.5 of vm-1 of WorkloadGroup/bookinfo/web: refused",
    ]


async def test_two_proxies_of_one_identity_may_share_an_address(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        bench.arrive("vm-1")
        assert bench.arrive("vm-2") is True


async def test_a_name_in_use_is_not_taken_over_by_another_account(tmp_path: Path) -> None:
    async with a_bench(tmp_path, a_world(a_group(), a_group("jobs", "jobs"))) as bench:
        bench.arrive()
        with pytest.raises(Refused) as refused:
            bench.enrolment.arrive(a_node(), "jobs", identity("jobs"))
        assert str(refused.value) == (
            "vm-1 is enrolled with sa/web and still connected, but connects with sa/jobs: refused"
        )

        bench.depart()
        assert bench.enrolment.arrive(a_node(), "jobs", identity("jobs")) is True


async def test_who_cannot_be_kept_is_served_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_bench(tmp_path) as bench:
        bench.file.with_suffix(".new").mkdir()
        bench.arrive()
        await bench.passes(GATHERING, 0)

        assert bench.names == ["vm-1"]
    assert "enrolled workloads not kept" in caplog.messages


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "Expecting value: line 1 column 2 (char 1)"),
        (json.dumps([{"name": 1}]), "name is not text"),
    ],
)
def test_a_file_that_is_not_ours_stops_the_start(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "enrolled.json"
    file.write_text(text)

    with pytest.raises(Misconfigured) as wrong:
        read(file)
    assert str(wrong.value) == f"cannot read the enrolled workloads in {file}: {reason}"
    assert wrong.value.hint == "remove the file: workloads enrol again when their proxies connect"


WEB = ServiceKey("web.bookinfo.svc.cluster.local", "bookinfo")


def made(*documents: str, one: Enrolled | None = None) -> Catalogue:
    return catalogue(a_config(*documents), (one or enrolled(),))


def test_an_enrolled_workload_is_what_its_group_says() -> None:
    found = made(a_group(ports={"http-9080": 8080}, locality="eu/eu-1", weight=3), a_service("web"))
    workload = found.workloads["bookinfo", "vm-1"]
    (endpoint,) = found.endpoints[WEB].by_port[9080]

    # The labels of the metadata win over those of the template.
    assert workload.labels == (("app", "web"), ("tier", "front"), ("version", "v2"))
    assert (workload.address, workload.service_account) == ("10.0.0.5", "web")
    assert (endpoint.address, endpoint.port, endpoint.weight) == ("10.0.0.5", 8080, 3)
    assert (endpoint.locality, endpoint.mutual_tls) == (Locality("eu", "eu-1"), True)
    assert found.endpoints[WEB].accounts == ("ns/bookinfo/sa/web",)
    assert [one.target for one in found.inbound["bookinfo", "vm-1"]] == [8080]


def test_a_group_without_an_account_is_of_the_default_one_and_speaks_mutual_tls() -> None:
    found = made(a_group(account=""), a_service("web"), one=enrolled(account="default"))

    assert found.endpoints[WEB].accounts == ("ns/bookinfo/sa/default",)


@pytest.mark.parametrize(
    "documents",
    [
        pytest.param((), id="its group is gone"),
        pytest.param((a_group(account="other"),), id="its group is of another account now"),
        pytest.param((a_group(), a_workload("db", "10.0.0.5")), id="its address was declared for another"),
    ],
)
def test_who_is_no_longer_of_a_group_is_no_workload(documents: tuple[str, ...]) -> None:
    found = made(a_service("web"), *documents)

    assert ("bookinfo", "vm-1") not in found.workloads
    assert found.endpoints[WEB].by_port[9080] == ()


def test_a_workload_entry_of_the_name_says_everything_anew() -> None:
    found = made(a_group(), a_service("web"), a_workload("web", "10.0.0.7", name="vm-1"))

    assert found.workloads["bookinfo", "vm-1"].address == "10.0.0.7"


def test_what_one_enrols_leaves_other_services_the_same_objects() -> None:
    meshes = Meshes()
    config = meshes.config(a_group(), a_service("web"), a_service("db"), a_workload("db"))
    before = meshes.declared.catalogue(config)
    after = meshes.declared.catalogue(config, (enrolled(),))

    db = ServiceKey("db.bookinfo.svc.cluster.local", "bookinfo")
    assert after.endpoints[db] is before.endpoints[db]
    assert after.services is before.services
    assert after.endpoints[WEB] is not before.endpoints[WEB]
    assert (
        meshes.declared.catalogue(config, (enrolled(),)).endpoints[WEB].by_port
        == after.endpoints[WEB].by_port
    )
