"""HTTPS at a gateway: the operator keeps the certificate, the repository only names it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from mesh.clock import SystemClock
from reconciler.demo.repository import Repository
from tests.support.daemons import Daemon, NamedProcesses, is_live, until
from tests.support.envoys import needs_envoy
from tests.support.https_sites import Pair, a_site

pytestmark = pytest.mark.envoy


@needs_envoy
async def test_a_gateway_shows_the_certificate_that_the_operator_keeps_under_its_name(tmp_path: Path) -> None:
    kept, logs = Pair.made(), tmp_path / "logs"
    kept.keep(tmp_path / "secrets" / "web" / "site-cert")
    async with NamedProcesses(logs) as ours, NamedProcesses(logs) as processes:
        with a_site() as site:
            repository = Repository(tmp_path, processes, SystemClock())
            daemon = Daemon(repository.url, tmp_path / "state", ours)
            await repository.create(bell=daemon.state / "admin.sock")
            push = await repository.push({"web.yaml": site.config}, "A site")
            await daemon.start("--secrets-directory", tmp_path / "secrets")
            await daemon.until_ready()
            async with daemon.as_demo() as control_plane:
                await site.start(tmp_path / "edge-1", control_plane, processes)
                await until("the site over HTTPS", partial(site.answers, kept))
                status = await daemon.until_status(
                    "the commit to be live", lambda status: is_live(status, push.commit, 1)
                )
                assert [one["code"] for one in status["problems"] if one["severity"] == "warning"] == []
