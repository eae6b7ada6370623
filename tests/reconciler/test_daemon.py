"""What the daemon hands from room to room."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from ipaddress import ip_address
from pathlib import Path

import pytest

from mesh.latest import Latest
from mesh.world import Credential
from reconciler import daemon
from reconciler.settings import Settings
from tests.support.certificates import NOW, an_authority
from tests.support.clock import FakeClock


def a_daemon(state: Path, listen_address: str = "0.0.0.0", *est_hosts: str) -> daemon._Daemon:
    settings = Settings(repo="/mesh", state=state, listen_address=listen_address, est_hosts=est_hosts)
    return daemon._Daemon(settings, FakeClock(), AsyncExitStack())


async def test_a_ca_that_was_replaced_is_told_to_proxies_and_machines(tmp_path: Path) -> None:
    """Both get its roots without a restart; what gateways present stays."""
    ours = a_daemon(tmp_path)
    authority, replaced = Latest(an_authority(NOW)), an_authority(NOW)
    bundle = Latest(daemon._bundle(authority.value))
    presented = {"web": {"site": Credential(b"chain", b"key")}}
    following = asyncio.create_task(ours._follow(authority, bundle, presented))
    authority.publish(replaced)
    version, trust = await ours._worlds.trust.newer_than(0)
    following.cancel()

    assert version == 1
    assert trust is not None
    assert (trust.roots, trust.credentials) == (daemon._bundle(replaced).roots, presented)
    assert bundle.value == daemon._bundle(replaced)


def test_the_servers_certificate_names_hosts_as_names_and_addresses_as_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who checks the address it connects to finds only a name that looks like it."""
    monkeypatch.setattr("socket.gethostname", lambda: "Mesh-1")

    assert a_daemon(tmp_path, "::", "mesh.example.com", "10.0.0.5")._hosts() == (
        *("localhost", ip_address("127.0.0.1")),
        *("mesh.example.com", ip_address("10.0.0.5"), "mesh-1"),
    )


def test_a_hosts_own_name_that_no_certificate_can_hold_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "höst")

    assert a_daemon(tmp_path)._hosts() == ("localhost", ip_address("127.0.0.1"))
