"""HTTPS at a gateway: a cluster keeps the certificate as a Secret, the repository only names it."""

from __future__ import annotations

import asyncio
import base64
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mesh.clock import SystemClock
from reconciler.demo.repository import Repository
from tests.servers.kubernetes import KubernetesApi
from tests.servers.kubernetes_objects import a_manifest
from tests.support.config import a_mesh
from tests.support.daemons import Daemon, NamedProcesses, is_live, until
from tests.support.envoys import needs_envoy
from tests.support.https_sites import Pair, a_site

pytestmark = pytest.mark.envoy


def a_secret(namespace: str, pair: Pair) -> dict[str, Any]:
    data = {"tls.crt": pair.certificate, "tls.key": pair.key}
    encoded = {name: base64.b64encode(value).decode() for name, value in data.items()}
    return a_manifest("Secret", "site-cert", namespace, type="kubernetes.io/tls", data=encoded)


def a_mesh_of(*registries: str) -> str:
    mesh = json.loads(a_mesh())
    mesh["spec"]["registries"] = [
        {"name": name, "kubernetes": {"secretRef": name, "gatewaySecrets": True}} for name in registries
    ]
    return json.dumps(mesh)


def written(folder: Path) -> bytes:
    """All that is in the files of a folder."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@needs_envoy
async def test_a_gateway_shows_the_secret_that_a_cluster_keeps_also_when_both_sides_come_and_go(
    kubernetes_api: KubernetesApi, namespace: str, tmp_path: Path
) -> None:
    """The Secret is renewed; the control plane restarts while the cluster hangs; the cluster comes back."""
    first, second, third = Pair.made(), Pair.made(), Pair.made()
    state, logs, east = tmp_path / "state", tmp_path / "logs", tmp_path / "registries" / "east"
    kubernetes_api.apply(a_secret(namespace, first))
    east.mkdir(parents=True)
    kubernetes_api.kubeconfig(east / "kubeconfig")
    async with NamedProcesses(logs) as ours, NamedProcesses(logs) as processes:
        with a_site(namespace) as site:
            repository = Repository(tmp_path, processes, SystemClock())
            daemon = Daemon(repository.url, state, ours)
            await repository.create(bell=state / "admin.sock")
            files = {"mesh.yaml": a_mesh_of("east"), "web.yaml": site.config}
            push = await repository.push(files, "A site")
            await daemon.start("--registries-directory", east.parent)
            await daemon.until_ready()
            async with daemon.as_demo() as control_plane:
                await site.start(tmp_path / "edge-1", control_plane, processes)
            await until("the Secret to be shown", partial(site.answers, first))
            status = await daemon.until_status(
                "the commit to be live", lambda status: is_live(status, push.commit, 1)
            )
            assert [one["code"] for one in status["problems"] if one["severity"] == "warning"] == []

            await asyncio.to_thread(kubernetes_api.apply, a_secret(namespace, second))
            await until("the renewed Secret to be shown", partial(site.answers, second))

            kubernetes_api.suspend()
            assert await daemon.end() == 0
            await daemon.start("--registries-directory", east.parent)
            await daemon.until_ready()
            assert "secrets of gateways awaited no longer registries=east" in daemon.log
            await daemon.until_status(
                "the gateway to be back", lambda status: is_live(status, push.commit, 1)
            )
            assert await site.answers(second)

            kubernetes_api.resume()
            await asyncio.to_thread(kubernetes_api.apply, a_secret(namespace, third))
            await until("the Secret after the silence to be shown", partial(site.answers, third))

            kept = written(state) + written(logs)
            assert push.commit.encode() in kept
            for pair in (first, second, third):
                assert pair.key.splitlines()[1] not in kept
                assert base64.b64encode(pair.key) not in kept
