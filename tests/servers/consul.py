"""A real Consul agent on loopback, with an empty catalogue of its own, alone or joined to others.

Works with every Consul from 1.8 (Debian's) on. It is asked over plain HTTP; none of our own clients is
used. Gossip is quicker than in production, so that the loss of a node shows within seconds.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self

from tests.servers.consul_catalogue import Catalogue, Definition
from tests.servers.door import Answered, Door
from tests.servers.private_ca import Pair, PrivateCa
from tests.servers.processes import LOOPBACK, Server, free_ports
from tests.servers.programs import find, version_of

_EXPECT_THREE = {"bootstrap_expect": 3}


class ConsulAgent(Catalogue):
    """One agent. Used as a context; owned by the block that runs it."""

    def __init__(
        self,
        folder: Path,
        *,
        node_name: str = "server-1",
        datacenter: str = "dc1",
        acl: bool = False,
        tls: bool = False,
        verify_incoming: bool = False,
        join: ConsulAgent | None = None,
        is_server: bool = True,
        join_wan: ConsulAgent | None = None,
        settings: Definition | None = None,
    ) -> None:
        """Not started yet.

        ``join`` is a running agent whose cluster this one enters, as a further server or, without
        ``is_server``, as a client; it shares that one's authority, TLS and ACLs. ``join_wan`` is a
        server of another datacenter. ``settings`` are Consul's own, and win over ours.
        """
        super().__init__(node_name, datacenter)
        self.folder = folder
        self.port, self.serf_port, self.wan_port, self.rpc_port = free_ports(4)
        self._binary = find("consul")
        self._join, self._is_server, self._join_wan = join, is_server, join_wan
        self._has_acl: bool = acl if join is None else join._has_acl
        self._has_tls: bool = tls if join is None else join._has_tls
        self._verify_incoming: bool = verify_incoming if join is None else join._verify_incoming
        self.ca: PrivateCa = PrivateCa(folder / "pki", "Consul CA") if join is None else join.ca
        # A certificate to show where ``verify_incoming`` is on.
        self.client_pair: Pair = self.ca.pair("client") if join is None else join.client_pair
        self._context = self.ca.context(self.client_pair) if self._has_tls else None
        self._settings = settings or {}
        self._server = Server(f"consul agent {node_name}", folder / "consul.log")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return f"{'https' if self._has_tls else 'http'}://{LOOPBACK}:{self.port}"

    @property
    def rpc_address(self) -> str:
        """What servers call each other, and the leader."""
        return f"{LOOPBACK}:{self.rpc_port}"

    @property
    def log(self) -> Path:
        return self._server.log

    def door(self, token: str = "") -> Door:
        headers = {"X-Consul-Token": token} if token else {}
        return Door(port=self.port, headers=headers, context=self._context)

    def start(self) -> None:
        """Start it, or start it again with the same data at the same ports."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "config.json"
        config.write_text(json.dumps({**self._config(), **self._settings}))
        self._server.start(
            [self._binary, "agent", f"-config-file={config}", f"-data-dir={self._data}"], self.has_leader
        )
        try:
            if self._has_acl and not self.token:
                self.token = self._join.token if self._join is not None else self._bootstrapped()
                self.ask("PUT", "/v1/agent/token/agent", {"Token": self.token})
            self._server.wait_for(self._is_in_catalogue)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End it as an operator would: it keeps its data and does not leave its cluster."""
        self._server.stop()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._server.kill()

    def restart_fresh(self) -> None:
        """At the same ports with nothing in it: every index goes backwards."""
        self.kill()
        shutil.rmtree(self._data)
        self.token = ""
        self.start()

    def suspend(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        self._server.suspend()

    def resume(self) -> None:
        self._server.resume()

    def heal(self) -> None:
        """Up, whatever was done to it."""
        if self._server.is_running:
            self.resume()
        else:
            self.start()

    def has_leader(self) -> bool:
        """Whether it is up and knows of a leader."""
        try:
            return bool(self.door().ask("GET", "/v1/status/leader", timeout_s=2.0))
        except (OSError, HTTPException, Answered):
            return False

    def _is_in_catalogue(self) -> bool:
        """Whether the cluster counts this node among the healthy.

        Asked consistently: a leader that has just started may still be reading its log.
        """
        try:
            checks = self.ask("GET", f"/v1/health/node/{self.node_name}", consistent="")
            servers = self.health("consul", passing="1", consistent="")
        except (OSError, HTTPException, Answered):
            return False
        mine = {check["CheckID"]: check["Status"] for check in checks}
        return mine.get("serfHealth") == "passing" and bool(servers)

    def _bootstrapped(self) -> str:
        """A first token of management; for a moment after the election nobody can make one."""
        made: list[str] = []

        def is_made() -> bool:
            try:
                made.append(self.door().ask("PUT", "/v1/acl/bootstrap")["SecretID"])
            except Answered as error:
                if error.status != 500:
                    raise
            return bool(made)

        self._server.wait_for(is_made)
        return made[0]

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _config(self) -> dict[str, Any]:
        http = {"http": -1, "https": self.port} if self._has_tls else {"http": self.port, "https": -1}
        if version_of(self._binary) >= (1, 14):
            http["grpc_tls"] = -1
        config: dict[str, Any] = {
            "node_name": self.node_name,
            "datacenter": self.datacenter,
            "server": self._is_server,
            "bind_addr": LOOPBACK,
            "client_addr": LOOPBACK,
            "disable_update_check": True,
            "leave_on_terminate": False,
            "ports": {
                **http,
                "dns": -1,
                "grpc": -1,
                "serf_lan": self.serf_port,
                "serf_wan": self.wan_port,
                "server": self.rpc_port,
            },
            "performance": {"raft_multiplier": 1},
            "gossip_lan": {"probe_interval": "300ms", "probe_timeout": "200ms", "suspicion_mult": 2},
            # A mesh of a test asks more from one address than a client should.
            "limits": {"http_max_conns_per_client": 10_000},
        }
        if self._is_server:
            # A further server becomes a voter soon, and not only after ten seconds.
            config["autopilot"] = {"server_stabilization_time": "100ms"}
            if self._join is None:
                config["bootstrap_expect"] = 1
        if self._join is not None:
            config |= {"retry_join": [f"{LOOPBACK}:{self._join.serf_port}"], "retry_interval": "200ms"}
        if self._join_wan is not None:
            address = f"{LOOPBACK}:{self._join_wan.wan_port}"
            config |= {"retry_join_wan": [address], "retry_interval_wan": "200ms"}
        if self._has_acl:
            config["acl"] = {"enabled": True, "default_policy": "deny", "enable_token_persistence": True}
        if self._has_tls:
            config |= self._tls_config()
        return config

    def _tls_config(self) -> dict[str, Any]:
        hosts = (LOOPBACK, "localhost", f"server.{self.datacenter}.consul")
        pair = self.ca.pair(self.node_name, hosts=hosts)
        return {
            "ca_file": str(self.ca.file),
            "cert_file": str(pair.certificate),
            "key_file": str(pair.key),
            "verify_outgoing": True,
            "verify_incoming": self._verify_incoming,
        }


@contextmanager
def three_servers(folder: Path) -> Iterator[tuple[ConsulAgent, ConsulAgent, ConsulAgent]]:
    """A cluster that survives the loss of one server; the first of the three leads."""
    first = ConsulAgent(folder / "1", node_name="server-1", settings=_EXPECT_THREE)
    others = [
        ConsulAgent(folder / str(it), node_name=f"server-{it}", join=first, settings=_EXPECT_THREE)
        for it in (2, 3)
    ]
    agents = [first, *others]
    try:
        with ThreadPoolExecutor(len(agents)) as pool:  # none is up before there is a leader
            list(pool.map(ConsulAgent.start, agents))
        leader = first.ask("GET", "/v1/status/leader")
        one, two, three = sorted(agents, key=lambda it: it.rpc_address != leader)
        yield one, two, three
    finally:
        for agent in agents:
            agent.kill()
