"""A control plane with one registry and one real Envoy that is asked what it has.

The Envoy is the sidecar of a machine that Git declares; it sees every service of the registry.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from mesh.clock import SystemClock
from reconciler.demo.control_plane import admin_socket
from reconciler.demo.proxies import Machine
from reconciler.demo.repository import Repository
from reconciler.demo.workloads import ProxyPorts, Workload
from registries.registry import State
from tests.support.daemons import Daemon, NamedProcesses, meshwright, until
from tests.support.envoys import binary
from tests.support.scenarios_places import claimed
from tests.support.served import free_port

NAME = "watcher-1"
_NAMESPACE = "watching"
_LIMIT_S = 60.0
_ASK = aiohttp.ClientTimeout(total=20)

# To Envoy, what it was told nothing of is healthy, and what drains gets no new requests.
_AS_TOLD = {"UNKNOWN": "HEALTHY", "UNHEALTHY": "DRAINING"}

Places = Mapping[tuple[str, int], str]
"""The endpoints of one cluster: address and port, and whether it is ``HEALTHY`` or ``DRAINING``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A mesh that is up: every service of the registry has arrived in the Envoy."""

    daemon: Daemon
    machine: Machine
    _session: aiohttp.ClientSession

    @property
    def pid(self) -> int:
        """Of the control plane."""
        assert self.daemon.program is not None
        return self.daemon.program.process.pid

    async def endpoints(self, clusters: Iterable[str] | None = None) -> dict[str, Places]:
        """What Envoy has of these clusters, or of all, by its own word."""
        asked = {"include_eds": "", "resource": "dynamic_endpoint_configs"}
        if clusters is not None:
            asked["name_regex"] = "|".join(re.escape(name) for name in clusters)
        dump = json.loads(await self._admin("/config_dump", **asked))
        found = (one["endpoint_config"] for one in dump.get("configs", ()))
        return {
            one["cluster_name"]: places(one) for one in found if one["cluster_name"].startswith("outbound")
        }

    async def sent(self) -> dict[str, Places]:
        """What the control plane has sent it, by ``meshwright proxy``."""
        words = "proxy", f"{NAME}.{_NAMESPACE}", "endpoints", "--output", "json", "--state", self.daemon.state
        said = await meshwright(*words)
        assert said.code == 0, said.err
        return {one["name"]: places(one["resource"]) for one in json.loads(said.out)["endpoints"]}

    async def count(self, statistic: str) -> int:
        """One of Envoy's own counters or gauges."""
        stats = json.loads(await self._admin("/stats", format="json", filter=f"^{re.escape(statistic)}$"))
        return next((int(one["value"]) for one in stats["stats"] if one.get("name") == statistic), 0)

    async def registry(self) -> dict[str, Any]:
        """What ``meshwright registries`` says of the one that is configured."""
        rows = (await self.daemon.ask("/registries"))["registries"]
        return next(row for row in rows if row["name"] != "git")

    async def until_state(self, state: State) -> None:
        """Wait until the registry is heard like this."""

        async def is_so() -> bool:
            return bool((await self.registry())["state"] == state)

        await until(f"the registry to be {state}", is_so, _LIMIT_S)

    async def _admin(self, path: str, **query: str) -> str:
        workload = self.machine.workload
        url = f"http://{workload.address}:{workload.proxy_ports.admin}{path}"
        async with self._session.get(url, params=query) as response:
            response.raise_for_status()
            return await response.text()


def places(assignment: Mapping[str, Any]) -> Places:
    """The endpoints of a ClusterLoadAssignment as JSON."""
    found: dict[tuple[str, int], str] = {}
    for group in assignment.get("endpoints", ()):
        for one in group.get("lb_endpoints", ()):
            socket = one["endpoint"]["address"]["socket_address"]
            health = one.get("health_status", "UNKNOWN")
            found[socket["address"], socket["port_value"]] = _AS_TOLD.get(health, health)
    return found


@asynccontextmanager
async def raised(folder: Path, registry: Mapping[str, Any], services: int) -> AsyncIterator[Stage]:
    """The mesh of this registry (as ``spec.registries`` has it); its credentials are in ``folder/keys``."""
    envoy = binary()
    assert envoy is not None, "guard the test with needs_envoy()"
    logs, clock = folder / "logs", SystemClock()
    with claimed() as place:
        workload = Workload(
            name=NAME,
            namespace=_NAMESPACE,
            address=place.network("10.0.0.5"),
            labels={},
            service_account="watcher",
            port=free_port(),
            proxy_ports=ProxyPorts(),
        )
        async with (
            NamedProcesses(logs) as ours,
            NamedProcesses(logs) as tools,
            aiohttp.ClientSession(timeout=_ASK) as session,
        ):
            (folder / "keys").mkdir(mode=0o700, exist_ok=True)
            repository = Repository(folder, tools, clock)
            daemon = Daemon(repository.url, folder / "state", ours)
            await repository.create(bell=admin_socket(daemon.state))
            await repository.push(_files(registry, workload), "A registry and a machine")
            await daemon.start("--registries-directory", folder / "keys")
            await daemon.until_ready()
            async with daemon.as_demo() as control_plane:
                machine = Machine(
                    workload=workload,
                    folder=folder / NAME,
                    envoy=envoy,
                    control_plane=control_plane,
                    processes=tools,
                )
                machine.folder.mkdir(mode=0o700)
                await machine.enrol()
                await machine.start_proxy()
                stage = Stage(daemon=daemon, machine=machine, _session=session)
                await until("Envoy to have all services", lambda: _has_all(stage, services), _LIMIT_S)
                yield stage


async def _has_all(stage: Stage, services: int) -> bool:
    try:
        found = await stage.endpoints()
    except aiohttp.ClientConnectionError:
        return False
    return sum(map(bool, found.values())) >= services


def _files(registry: Mapping[str, Any], workload: Workload) -> dict[str, str]:
    mesh = {
        "apiVersion": "meshwright.dev/v1alpha1",
        "kind": "Mesh",
        "metadata": {"name": "churn"},
        "spec": {"registries": [registry]},
    }
    entry = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": {"name": workload.name, "namespace": workload.namespace},
        "spec": {"address": workload.address, "serviceAccount": workload.service_account},
    }
    return {"mesh.yaml": json.dumps(mesh), "watcher.yaml": json.dumps(entry)}
