"""A small mesh as processes: two namespaces and a gateway, a real Envoy for each, programs behind them.

``front`` and ``orders`` live in ``shop``, ``ledger`` in ``bank``, and nobody outside ``bank`` sees what is
in it. Both folders are units of acceptance of their own. Requests are made through the proxies' own
HTTP proxy ports, as a program beside them would make them.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp

from mesh.clock import SystemClock
from reconciler.demo import envoy, places, workloads
from reconciler.demo.processes import Program
from reconciler.demo.proxies import Machine
from reconciler.demo.repository import Push, Repository
from reconciler.demo.stage import program
from tests.support.daemons import Daemon, NamedProcesses, is_live, running_in, until

_ASK = aiohttp.ClientTimeout(total=10)
_PAUSE = timedelta(milliseconds=5)

MESH = """\
apiVersion: meshwright.dev/v1alpha1
kind: Mesh
metadata: {name: failures}
spec:
  tenancy: [{path: shop}, {path: bank}]
  meshConfig: {accessLogFile: /dev/stdout}
"""

INGRESS = """\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ingress, namespace: istio-system}
spec:
  address: 127.0.80.1
  labels: {istio: ingressgateway}
  serviceAccount: ingress
"""

GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 18080, name: http, protocol: HTTP}
    bind: 127.0.0.1
    hosts: ["*"]
"""

STRICT = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""


def workload(name: str, namespace: str, address: str, port: int) -> str:
    """A WorkloadEntry. Its program is the demo's ``details``, whatever the service is called."""
    return f"""\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}-1, namespace: {namespace}}}
spec:
  address: {address}
  ports: {{http: {port}}}
  labels: {{app: details, service: {name}, version: v1}}
  serviceAccount: {name}
"""


def service(name: str, namespace: str, *also: str) -> str:
    """A ServiceEntry that its own namespace sees, and ``also`` these."""
    return f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{name}.{namespace}.svc.cluster.local]
  exportTo: [{", ".join([".", *also]) if also else '"."'}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 9080, name: http, protocol: HTTP}}]
  workloadSelector: {{labels: {{service: {name}}}}}
"""


def routes(header: str = "none", *, gateway: str = "istio-system/door", indent: str = "  ") -> str:
    """A VirtualService of orders; ``header`` shows in each answer as ``x-revision``."""
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: orders, namespace: shop}}
spec:
  exportTo: ["."]
{indent}hosts: ["orders.shop.svc.cluster.local"]
  gateways: [mesh]
  http:
  - headers: {{response: {{set: {{x-revision: "{header}"}}}}}}
    route: [{{destination: {{host: orders.shop.svc.cluster.local}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: door, namespace: shop}}
spec:
  exportTo: [istio-system]
  hosts: ["*"]
  gateways: [{gateway}]
  http:
  - route: [{{destination: {{host: orders.shop.svc.cluster.local}}}}]
"""


def bank_routes(header: str = "none") -> str:
    """A VirtualService of ledger, with the same header."""
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: ledger, namespace: bank}}
spec:
  exportTo: ["."]
  hosts: [ledger.bank.svc.cluster.local]
  http:
  - headers: {{response: {{set: {{x-revision: "{header}"}}}}}}
    route: [{{destination: {{host: ledger.bank.svc.cluster.local}}}}]
"""


ORDERS = "http://orders.shop.svc.cluster.local:9080/details/0"
LEDGER = "http://ledger.bank.svc.cluster.local:9080/details/0"

FILES: Mapping[str, str] = {
    "mesh.yaml": MESH,
    "ingress.yaml": INGRESS,
    "gateway.yaml": GATEWAY,
    "strict.yaml": STRICT,
    "shop/front.yaml": workload("front", "shop", "127.0.80.10", 19080),
    "shop/orders.yaml": workload("orders", "shop", "127.0.80.20", 19081)
    + "---\n"
    + service("orders", "shop", "istio-system"),
    "shop/routes.yaml": routes(),
    "bank/ledger.yaml": workload("ledger", "bank", "127.0.80.30", 19082)
    + "---\n"
    + service("ledger", "bank"),
    "bank/routes.yaml": bank_routes(),
}

FRONT, ORDERS_1, LEDGER_1, INGRESS_1 = "front-1", "orders-1", "ledger-1", "ingress"
EVERYBODY = (INGRESS_1, FRONT, ORDERS_1, LEDGER_1)
SERVERS = (ORDERS_1, LEDGER_1)


@dataclass(slots=True)
class Load:
    """Requests that went on for a while, by what came of them: ``200``, ``503``, the name of an error."""

    outcomes: Counter[str] = field(default_factory=Counter)

    async def goes_on(self, requests: int = 60) -> None:
        """Wait until so many more have been answered."""
        enough = self.outcomes.total() + requests

        async def are_enough() -> bool:
            return self.outcomes.total() >= enough

        await until(f"{requests} more requests", are_enough)

    @property
    def failed(self) -> dict[str, int]:
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != "200"}


@dataclass(slots=True, kw_only=True)
class LiveMesh:
    """A mesh that is up. Owned by the fixture that raised it."""

    folder: Path
    place: places.Place
    repository: Repository
    daemon: Daemon
    processes: NamedProcesses
    machines: Mapping[str, Machine]
    session: aiohttp.ClientSession

    async def push(self, files: Mapping[str, str | None], message: str = "Change it") -> Push:
        """Commit and push; addresses and ports are those of the place."""
        step = self.place_step
        moved = {name: places.move(text, step) if text else text for name, text in files.items()}
        return await self.repository.push(moved, message)

    @property
    def place_step(self) -> int:
        """How far the place lies from the one in the files."""
        address = self.place.cast.workloads[0].address
        return int(address.split(".")[2]) - places.NETWORK

    async def push_live(self, files: Mapping[str, str | None]) -> Push:
        """Push, and wait until every proxy has it."""
        push = await self.push(files)
        await self.until_live(push)
        return push

    async def until_live(self, push: Push, proxies: int = len(EVERYBODY)) -> dict[str, Any]:
        return await self.daemon.until_status(
            f"{push.commit} to be live on {proxies}", lambda status: is_live(status, push.commit, proxies)
        )

    async def until_connected(self) -> dict[str, Any]:
        """Wait until everybody is connected and has acknowledged what is served."""
        return await self.daemon.until_status(
            "everybody to be back",
            lambda status: status["live"]["connected"] == status["live"]["acknowledged"] == len(EVERYBODY),
        )

    async def ask(self, caller: str = FRONT, url: str = ORDERS) -> tuple[str, Mapping[str, str]]:
        """One request, as the caller's program makes it: the outcome and the headers."""
        proxy = f"http://127.0.0.1:{self.machines[caller].workload.http_proxy_port}"
        return await self._get(url, proxy=proxy)

    async def visit(self) -> tuple[str, Mapping[str, str]]:
        """One request from outside, through the gateway."""
        url = self.place.cast.url.replace("/productpage", "/details/0")
        return await self._get(url)

    async def _get(self, url: str, **words: Any) -> tuple[str, Mapping[str, str]]:
        try:
            async with self.session.get(url, **words) as response:
                await response.read()
                return str(response.status), dict(response.headers)
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__, {}

    async def answers(self, header: str, caller: str = FRONT, url: str = ORDERS) -> None:
        """Wait until answers bear this revision."""

        async def bears() -> bool:
            outcome, headers = await self.ask(caller, url)
            return outcome == "200" and headers.get("x-revision") == header

        await until(f"answers with x-revision {header}", bears)

    @asynccontextmanager
    async def load(self) -> AsyncIterator[Load]:
        """Requests without a pause on every path of the mesh, as long as the block runs."""
        load, done = Load(), asyncio.Event()

        async def again(ask: Callable[[], Any]) -> None:
            while not done.is_set():
                outcome, _ = await ask()
                load.outcomes[outcome] += 1
                await SystemClock().sleep(_PAUSE)

        async with asyncio.TaskGroup() as group:
            for ask in (self.ask, self.visit, lambda: self.ask(LEDGER_1, LEDGER)):
                group.create_task(again(ask))
            try:
                yield load
            finally:
                done.set()

    async def is_open(self, port: int) -> bool:
        """Whether the gateway answers at a port, with whatever."""
        return (await self._get(f"http://127.0.0.1:{port}/"))[0].isdigit()

    async def received_bytes(self, name: str) -> int:
        """All that an Envoy has received from the control plane, on the wire."""
        return (await self.statistics(name))["cluster.xds-grpc.upstream_cx_rx_bytes_total"]

    def envoy(self, name: str) -> Program:
        return self.processes.named[f"{name}-envoy"]

    def envoy_log(self, name: str) -> str:
        return self.envoy(name).log.read_text()

    async def statistics(self, name: str) -> dict[str, int]:
        """Envoy's own counters and gauges."""
        text = await self.admin(name, "/stats")
        pairs = (line.rsplit(": ", 1) for line in text.splitlines() if ": " in line)
        return {key: int(value) for key, value in pairs if value.isdigit()}

    async def updates(self) -> dict[str, dict[str, int]]:
        """What each Envoy has counted of configuration: responses taken, and what they changed."""
        return {
            name: {
                key: value for key, value in (await self.statistics(name)).items() if key.endswith(_UPDATES)
            }
            for name in self.machines
        }

    async def admin(self, name: str, path: str) -> str:
        """What Envoy says of itself; empty as long as nobody answers."""
        workload = self.machines[name].workload
        return (await self._window(workload.address, workload.proxy_ports.admin, path, 5))[1]

    async def readiness(self, name: str, limit_s: float = 5) -> int:
        """The status that a load balancer is told; 0 when it is told nothing in time."""
        workload = self.machines[name].workload
        port = workload.proxy_ports.readiness
        return (await self._window(workload.address, port, "/healthz/ready", limit_s))[0]

    async def prometheus(self, name: str) -> str:
        """What Prometheus reads of one proxy."""
        workload = self.machines[name].workload
        port = workload.proxy_ports.metrics
        return (await self._window(workload.address, port, "/stats/prometheus", 5))[1]

    async def _window(self, address: str, port: int, path: str, limit_s: float) -> tuple[int, str]:
        limit = aiohttp.ClientTimeout(total=limit_s)
        try:
            async with self.session.get(f"http://{address}:{port}{path}", timeout=limit) as response:
                return response.status, await response.text()
        except (aiohttp.ClientConnectionError, TimeoutError):
            return 0, ""

    async def heal(self) -> None:
        """As every test finds it: the control plane runs, everybody is connected and has all of it."""
        if not self.daemon.is_running:
            await self.daemon.start()
        await self.until_connected()

    def signal(self, name: str, number: signal.Signals) -> None:
        self.envoy(name).process.send_signal(number)

    async def end_proxy(self, name: str) -> None:
        """End an Envoy and what renews its certificate, as a machine that is switched off does."""
        for one in (self.envoy(name), self.processes.named[f"{name}-renewal"]):
            one.process.kill()
            await one.process.wait()


_UPDATES = (
    "cluster_manager.cds.update_success",
    "listener_manager.lds.update_success",
    "cluster_manager.cds.version",
    "listener_manager.lds.version",
    "cluster_manager.cluster_added",
    "cluster_manager.cluster_modified",
    "cluster_manager.cluster_removed",
    "listener_manager.listener_added",
    "listener_manager.listener_modified",
    "listener_manager.listener_removed",
)


@asynccontextmanager
async def live_mesh(folder: Path) -> AsyncIterator[LiveMesh]:
    """The mesh of ``FILES``, up and acknowledged by everybody; and nothing of it left afterwards."""
    clock, logs = SystemClock(), folder / "logs"
    # The control plane ends last: as long as proxies are connected it waits for them to go.
    async with NamedProcesses(logs) as ours, NamedProcesses(logs) as processes:
        with places.find(FILES, workloads.read) as place:
            repository = Repository(folder, processes, clock)
            daemon = Daemon(repository.url, folder / "state", ours)
            await repository.create(bell=daemon.state / "admin.sock")
            push = await repository.push(place.files, "The whole mesh")
            await daemon.start()
            async with daemon.as_demo() as control_plane, aiohttp.ClientSession(timeout=_ASK) as session:
                mesh = LiveMesh(
                    folder=folder,
                    place=place,
                    repository=repository,
                    daemon=daemon,
                    processes=processes,
                    machines={
                        one.name: Machine(
                            workload=one,
                            folder=folder / "machines" / one.name,
                            envoy=envoy.find(),
                            control_plane=control_plane,
                            processes=processes,
                        )
                        for one in place.cast.workloads
                    },
                    session=session,
                )
                await _raise(mesh)
                await mesh.until_live(push)
                yield mesh
    assert running_in(folder) == []


async def _raise(mesh: LiveMesh) -> None:
    for machine in mesh.machines.values():
        machine.folder.mkdir(parents=True, mode=0o700)
        if machine.name in SERVERS:
            await machine.start_program(*program(machine.workload))
    await mesh.daemon.until_ready()
    async with asyncio.TaskGroup() as group:
        for machine in mesh.machines.values():
            group.create_task(_join(machine))


async def _join(machine: Machine) -> None:
    await machine.enrol()
    await machine.start_proxy()
