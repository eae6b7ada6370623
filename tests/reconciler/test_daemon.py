"""What the daemon hands from room to room."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from mesh.latest import Latest
from mesh.world import Credential
from reconciler import daemon
from reconciler.settings import Settings
from tests.support.certificates import NOW, an_authority
from tests.support.clock import FakeClock


def a_daemon(state: Path) -> daemon._Daemon:
    return daemon._Daemon(Settings(repo="/mesh", state=state), FakeClock(), AsyncExitStack())


async def test_a_ca_that_was_replaced_is_told_to_proxies_and_machines(tmp_path: Path) -> None:
    """Both get its roots without a restart; what gateways present stays."""
    ours = a_daemon(tmp_path)
    authority, replaced = Latest(an_authority(NOW)), an_authority(NOW)
    bundle = Latest(daemon._bundle(authority.value))
    presented = {"web": {"site": Credential(b"chain", b"key")}}
    ours._secrets.keep(presented)
    following = asyncio.create_task(ours._follow(authority, bundle))
    authority.publish(replaced)
    version, trust = await ours._worlds.trust.newer_than(0)
    following.cancel()

    assert version == 1
    assert trust is not None
    assert (trust.roots, trust.credentials) == (daemon._bundle(replaced).roots, presented)
    assert bundle.value == daemon._bundle(replaced)
