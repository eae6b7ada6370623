"""A real Consul of one server, with an empty catalogue: where the demo's machines register."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from mesh.clock import Clock
from reconciler.demo.hybrid import programs
from reconciler.demo.hybrid.door import Door
from reconciler.demo.places import free_ports
from reconciler.demo.processes import Processes, Program
from reconciler.demo.workloads import LOOPBACK

NAME = "consul"
DATACENTER = "dc1"
_VERSION_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsulAgent:
    """A running agent."""

    door: Door
    processes: Processes
    program: Program

    @property
    def url(self) -> str:
        return self.door.url

    async def register(self, definition: Mapping[str, Any]) -> None:
        """A service of this agent's node, in the words of Consul's own configuration."""
        await self.door.ask("PUT", "/v1/agent/service/register", definition)

    async def deregister(self, service_id: str) -> None:
        await self.door.ask("PUT", f"/v1/agent/service/deregister/{service_id}")

    async def passes(self, service_id: str) -> None:
        """Report that an instance is well; one with a check is not, until that is said."""
        await self.door.ask("PUT", f"/v1/agent/check/pass/service:{service_id}")

    def suspend(self) -> None:
        self.processes.suspend(self.program)

    def resume(self) -> None:
        self.processes.resume(self.program)

    def write_credentials(self, folder: Path) -> None:
        """What the control plane needs to know of it: its address. (There are no ACLs here.)"""
        folder.mkdir(mode=0o700)
        (folder / "address").write_text(f"{self.url}\n")


@asynccontextmanager
async def running(folder: Path, processes: Processes, clock: Clock) -> AsyncIterator[ConsulAgent]:
    """One that has elected itself."""
    binary = programs.find(NAME)
    said = await processes.run(
        "consul version", binary, "version", folder=Path("/"), timeout_s=_VERSION_TIMEOUT_S
    )
    http, serf, rpc = free_ports(3)
    _write(folder, _config(http, serf, rpc, programs.version(said.decode(), binary)))
    program = await processes.start(
        NAME, binary, "agent", "-config-file=config.json", "-data-dir=data", folder=folder
    )
    async with aiohttp.ClientSession() as session:
        door = Door(name=NAME, url=f"http://{LOOPBACK}:{http}", session=session)
        # It answers with an empty text as long as nobody leads, and has no node of its own at first.
        await door.until_answers("/v1/status/leader", processes, clock)
        await door.until_answers("/v1/catalog/service/consul", processes, clock)
        yield ConsulAgent(door=door, processes=processes, program=program)


def _write(folder: Path, config: Mapping[str, Any]) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))


def _config(http: int, serf: int, rpc: int, version: tuple[int, ...]) -> dict[str, Any]:
    # A port that is there unless it is closed, and unknown before (Consul, changelog of 1.14).
    closed = {"grpc_tls": -1} if version >= (1, 14) else {}
    return {
        "node_name": "server-1",
        "datacenter": DATACENTER,
        "server": True,
        "bootstrap_expect": 1,
        "bind_addr": LOOPBACK,
        "client_addr": LOOPBACK,
        "disable_update_check": True,
        "ports": {
            "http": http,
            "https": -1,
            "dns": -1,
            "grpc": -1,
            **closed,
            "serf_lan": serf,
            "serf_wan": -1,
            "server": rpc,
        },
        "performance": {"raft_multiplier": 1},
    }
