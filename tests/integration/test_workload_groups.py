"""Machines that enrol themselves into a group, with a real control plane and real Envoys."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mesh.clock import SystemClock
from mesh.errors import Refused
from mesh.identity import SpiffeId
from mesh.latest import Latest
from mesh.proxies import Interception, NodeId, Role
from mesh.world import Trust
from reconciler.acceptance import Accepted
from reconciler.demo.control_plane import ControlPlane, Ports, admin_socket, serving
from reconciler.demo.processes import Processes
from reconciler.demo.proxies import CONTROL_PLANE, Machine
from reconciler.demo.repository import Repository
from reconciler.demo.workloads import LOOPBACK, TRUST_DOMAIN, ProxyPorts, Workload
from reconciler.reading import Reader, TextFile
from reconciler.worlds import Worlds
from registries.enrolment import Enrolment
from registries.roster import Roster
from tests.support.config import a_mesh, a_port, a_service, a_workload, document
from tests.support.envoys import application, binary, needs_envoy
from tests.support.scenarios_places import claimed
from tests.support.served import free_port
from tests.support.without_registries import worlds_of
from xds.admission import NotAdmitted, Reason
from xds.bootstrap import Installation, Socket, bootstrap_text
from xds.directory import Caller
from xds.fleet import Fleet

GRACE_SECONDS = 10
START = timedelta(seconds=60)


def a_group() -> str:
    return document(
        "WorkloadGroup",
        "web",
        metadata={"labels": {"app": "web"}},
        template={"serviceAccount": "web"},
    )


@dataclass
class Proxy:
    """A machine's Envoy, which can be started, stopped and started again."""

    machine: Machine
    group: str = ""
    running: Processes = field(init=False)

    async def start(self) -> None:
        workload = self.machine.workload
        node = NodeId(
            role=Role.SIDECAR,
            address=workload.address,
            name=workload.name,
            namespace=workload.namespace,
            domain=TRUST_DOMAIN,
        )
        ports = workload.proxy_ports
        installation = Installation(
            node=node,
            interception=Interception.NONE,
            control_plane=(Socket(LOOPBACK, self.machine.control_plane.ports.xds),),
            control_plane_id=CONTROL_PLANE,
            http_proxy_port=workload.http_proxy_port,
            group=self.group,
            admin=Socket(workload.address, ports.admin),
            metrics=Socket(workload.address, ports.metrics),
            readiness=Socket(workload.address, ports.readiness),
        )
        folder = self.machine.folder
        (folder / "bootstrap.json").write_text(bootstrap_text(installation))
        self.running = Processes(folder / "logs")
        await self.running.__aenter__()
        await self.running.start(
            "envoy",
            self.machine.envoy,
            *("--config-path", "bootstrap.json", "--concurrency", "1"),
            *("--log-level", "warning", "--disable-hot-restart"),
            folder=folder,
        )

    async def stop(self) -> None:
        await self.running.end()


async def until(true: Callable[[], Awaitable[bool]], awaited: str, seconds: float = 30) -> None:
    """Wait for something that another process does. Bounded."""
    clock = SystemClock()
    try:
        async with asyncio.timeout(seconds):
            while not await true():
                await clock.sleep(timedelta(milliseconds=100))
    except TimeoutError:
        raise AssertionError(f"waited {seconds:.0f} s for {awaited}") from None


async def answer(control_plane: ControlPlane, path: str) -> Any:
    async with control_plane.session.get(f"http://meshwright{path}") as response:
        return await response.json() if response.status == 200 else None


async def call(port: int, host: str) -> int:
    """The status of a request that the client's application makes through its proxy."""

    def ask() -> int:
        request = urllib.request.Request(f"http://{LOOPBACK}:{port}/", headers={"Host": host})
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    return await asyncio.to_thread(ask)


@needs_envoy
async def test_a_machine_serves_as_long_as_it_is_there_and_no_restart_withdraws_it(tmp_path: Path) -> None:
    envoy = binary()
    assert envoy is not None
    async with AsyncExitStack() as stack:
        place = stack.enter_context(claimed())
        web, client = place.network("10.0.0.5"), place.network("10.0.0.6")
        port, client_port = free_port(), free_port()
        app = stack.enter_context(application("web", (LOOPBACK, port)))
        tools = await stack.enter_async_context(Processes(tmp_path / "logs"))
        repository = Repository(tmp_path, tools, SystemClock())
        state, ports = tmp_path / "state", Ports.free()
        await repository.create(bell=admin_socket(state))
        files = {
            "mesh.yaml": a_mesh(),
            "web.yaml": a_service("web", ports=[a_port(port, name="http")]),
            "strict.yaml": document("PeerAuthentication", "strict", mtls={"mode": "STRICT"}),
            "client.yaml": a_workload("client", client),
        }
        await repository.push(files, "no group yet")
        before = await stack.enter_async_context(AsyncExitStack())
        control_plane = await before.enter_async_context(
            plane(repository.url, state, ports, tmp_path / "before")
        )
        await control_plane.until_ready(START)

        def proxy(name: str, address: str, account: str, own: int, group: str = "") -> Proxy:
            workload = Workload(
                name=name,
                namespace="bookinfo",
                address=address,
                labels={},
                service_account=account,
                port=own,
                proxy_ports=ProxyPorts(),
            )
            machine = Machine(
                workload=workload,
                folder=tmp_path / name,
                envoy=envoy,
                control_plane=control_plane,
                processes=tools,
            )
            machine.folder.mkdir()
            return Proxy(machine, group)

        caller = proxy("client-1", client, "client", client_port)
        vm = proxy("vm-1", web, "web", port, "web")
        through = caller.machine.workload.http_proxy_port
        await asyncio.gather(caller.machine.enrol(), vm.machine.enrol())
        for one in (caller, vm):
            await one.start()
            stack.push_async_callback(one.stop)

        async def refusals() -> bool:
            return "vm-1 would enrol in WorkloadGroup bookinfo/web" in log(tmp_path / "before")

        async def serves() -> bool:
            return await call(through, f"web:{port}") == 200

        async def fails() -> bool:
            return await call(through, f"web:{port}") == 503

        async def is_known_to_the_caller() -> bool:
            found = await answer(control_plane, "/proxies/client-1.bookinfo/endpoints")
            return web in str(found)

        async def has_left() -> bool:
            found = await answer(control_plane, "/proxies")
            return [row["name"] for row in found["proxies"]] == ["client-1.bookinfo"]

        # Refused until there is a group; then it is let in without anybody's help.
        await until(refusals, "vm-1 to be refused")
        await repository.push({"group.yaml": a_group()}, "a group")
        await until(serves, "vm-1 to serve", 60)
        assert app.asked[-1]["headers"]["x-forwarded-client-cert"].endswith(
            f"spiffe://{TRUST_DOMAIN}/ns/bookinfo/sa/client"
        )
        shown = await answer(control_plane, "/proxies")
        assert [row["name"] for row in shown["proxies"]] == ["client-1.bookinfo", "vm-1.bookinfo"]

        # While the control plane is away the machine goes too; the new one does not take that for leaving.
        await before.aclose()
        await vm.stop()
        control_plane = await stack.enter_async_context(
            plane(repository.url, state, ports, tmp_path / "after")
        )
        await control_plane.until_ready(START)
        await until(is_known_to_the_caller, "client-1 to be back")
        await vm.start()
        await until(serves, "vm-1 to serve again", 60)

        # It goes for good.
        clock = SystemClock()
        began = clock.monotonic()
        await vm.stop()
        await until(has_left, "vm-1 to have left")
        assert await is_known_to_the_caller()

        async def is_withdrawn() -> bool:
            return not await is_known_to_the_caller()

        await until(is_withdrawn, "vm-1 to be withdrawn")
        assert clock.monotonic() - began > GRACE_SECONDS
        await until(fails, "nobody to serve")


@asynccontextmanager
async def plane(url: str, state: Path, ports: Ports, logs: Path) -> AsyncIterator[ControlPlane]:
    """A control plane that can be ended alone."""
    async with (
        Processes(logs) as processes,
        serving(url, state, processes, SystemClock(), ports=ports) as control_plane,
    ):
        yield control_plane


def log(folder: Path) -> str:
    return (folder / "control-plane.log").read_text()


@dataclass
class House:
    """Enrolment, worlds and fleet, wired as the daemon does."""

    worlds: Worlds
    fleet: Fleet
    roster: Latest[Roster]

    def offer(self, *documents: str) -> None:
        reading = Reader()(TextFile(f"{at}.yaml", text.encode()) for at, text in enumerate(documents))
        assert not [one for one in reading.problems if one.code.startswith("IST")], reading.problems
        revision = f"{len(documents)}-{self.worlds.accepted.version}"
        self.worlds.offer(Accepted(revision=revision, commit="", units=(), reading=reading))


@asynccontextmanager
async def a_house(folder: Path, *documents: str) -> AsyncIterator[House]:
    clock, roster = SystemClock(), Latest[Roster](())
    worlds = worlds_of(clock, roster)
    enrolment = Enrolment(clock, worlds.latest, roster, file=folder / "enrolled.json", is_one_host=False)
    house = House(worlds, Fleet(clock, worlds.latest, enrolment), roster)
    house.offer(*documents)
    worlds.trust.publish(Trust())
    tasks = [asyncio.ensure_future(work) for work in (worlds.run(), enrolment.run(), house.fleet.run())]
    try:
        await worlds.is_first_made.wait()
        yield house
    finally:
        for task in tasks:
            task.cancel()


async def join(house: House, name: str = "vm-1", address: str = "10.0.0.5", **caller: str) -> Any:
    """A proxy of ``bookinfo`` connects and asks for the group ``web``."""
    node = NodeId(role=Role.SIDECAR, address=address, name=name, namespace="bookinfo", domain=TRUST_DOMAIN)
    identity = SpiffeId(TRUST_DOMAIN, "bookinfo", caller.get("account", "web"))
    said = {"AUTO_REGISTER_GROUP": "web", "INTERCEPTION_MODE": "NONE"}
    async with asyncio.timeout(30):
        return await house.fleet.join(node, said, Caller(identity, caller.get("machine", name)))


async def test_who_is_let_in_has_its_inbound_at_once(tmp_path: Path) -> None:
    async with a_house(tmp_path, a_group(), a_service("web")) as house:
        member = await join(house)

        (inbound,) = [facet for facet in member.facets if type(facet).__name__ == "InboundFacet"]
        names = [name for part in inbound.parts.values() for name in part.resources]
        assert "inbound|9080||" in names
        assert (member.proxy.id, member.proxy.address) == ("vm-1.bookinfo", "10.0.0.5")


async def test_hundreds_at_once_make_few_worlds(tmp_path: Path) -> None:
    async with a_house(tmp_path, a_group(), a_service("web")) as house:
        before = house.worlds.latest.version
        await asyncio.gather(*(join(house, f"vm-{at}", f"10.0.1.{at}") for at in range(1, 201)))

        assert len(house.roster.value) == 200
        assert house.worlds.latest.version - before <= 3


@pytest.mark.parametrize(
    ("caller", "reason", "message"),
    [
        (
            {"machine": "vm-2"},
            Reason.MACHINE,
            "machine vm-2 presented a certificate of ns/bookinfo/sa/web but connects as proxy vm-1: refused",
        ),
        (
            {"account": "db"},
            Reason.ENROLMENT,
            "vm-1 presented a certificate of sa/db, but WorkloadGroup bookinfo/web is of sa/web: refused",
        ),
    ],
)
async def test_who_is_not_of_the_group_is_refused_and_counted(
    tmp_path: Path, caller: dict[str, str], reason: Reason, message: str
) -> None:
    async with a_house(tmp_path, a_group(), a_service("web")) as house:
        with pytest.raises(NotAdmitted) as refused:
            await join(house, **caller)

        assert (refused.value.reason, str(refused.value)) == (reason, message)
        assert house.fleet.members == ()


async def test_the_inbound_of_a_group_that_is_deleted_goes_and_nobody_comes_back(tmp_path: Path) -> None:
    async with a_house(tmp_path, a_group(), a_service("web")) as house:
        member = await join(house)
        version = house.worlds.latest.version
        house.offer(a_service("web"))
        await house.worlds.latest.newer_than(version)

        async def has_no_inbound() -> bool:
            (inbound,) = [facet for facet in member.facets if type(facet).__name__ == "InboundFacet"]
            return not any("inbound|" in name for part in inbound.parts.values() for name in part.resources)

        await until(has_no_inbound, "the inbound to go")
        member.leave()
        with pytest.raises(Refused, match="would enrol in WorkloadGroup bookinfo/web, which does not exist"):
            await join(house)
