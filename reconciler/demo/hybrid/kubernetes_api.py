"""A real kube-apiserver on a real etcd: a cluster as far as its API goes.

There is no controller, no scheduler and no kubelet: what those would write, the demo writes for them
(``cluster.py``). Whoever asks shows a token.
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
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
from reconciler.demo.processes import Processes
from reconciler.demo.workloads import LOOPBACK

API_SERVER, ETCD = "kube-apiserver", "etcd"
_ISSUER = "https://kubernetes.default.svc"
_KEY_TIMEOUT_S = 20.0
_DAY_S = 86_400
# Where the API keeps objects of a kind, and of a namespace if they have one.
_PLACES = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Service": "/api/v1/namespaces/{}/services",
    "Pod": "/api/v1/namespaces/{}/pods",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesApi:
    """A running API server, asked as its administrator."""

    door: Door
    folder: Path

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.folder / "kubeconfig"

    async def apply(self, manifest: Mapping[str, Any]) -> None:
        """Create or replace what the manifest names (server-side apply)."""
        path = f"{path_of(manifest)}?fieldManager=demo&force=true"
        await self.door.ask("PATCH", path, manifest, kind="application/apply-patch+yaml")

    async def report(self, manifest: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        """The status of an object, as a kubelet would report it."""
        path = f"{path_of(manifest)}/status"
        await self.door.ask("PATCH", path, {"status": status}, kind="application/merge-patch+json")

    async def token(self, namespace: str, account: str) -> str:
        """For a day, from the TokenRequest API."""
        path = f"{_PLACES['ServiceAccount'].format(namespace)}/{account}/token"
        request = {"spec": {"audiences": [_ISSUER], "expirationSeconds": _DAY_S}}
        return str((await self.door.ask("POST", path, request))["status"]["token"])

    def write_credentials(self, folder: Path, token: str) -> None:
        """A kubeconfig for the control plane, with a token of an account that may only read."""
        folder.mkdir(mode=0o700)
        _write_kubeconfig(folder / "kubeconfig", self.door.url, self.folder / "pki" / "server.crt", token)


def path_of(manifest: Mapping[str, Any]) -> str:
    """Where the API keeps it."""
    metadata = manifest["metadata"]
    return f"{_PLACES[manifest['kind']].format(metadata.get('namespace', ''))}/{metadata['name']}"


@asynccontextmanager
async def running(folder: Path, processes: Processes, clock: Clock) -> AsyncIterator[KubernetesApi]:
    """One that is ready, with nothing in it but what it makes itself."""
    server, etcd = programs.find(API_SERVER), programs.find(ETCD)
    port, store, peer = free_ports(3)
    token = secrets.token_urlsafe(24)
    certificate = await _keys(folder, processes, token)
    url = f"https://{LOOPBACK}:{port}"
    _write_kubeconfig(folder / "kubeconfig", url, certificate, token)
    async with aiohttp.ClientSession() as session:
        await processes.start(ETCD, etcd, *_etcd_options(store, peer), folder=folder)
        kept = Door(name=ETCD, url=f"http://{LOOPBACK}:{store}", session=session)
        await kept.until_answers("/health", processes, clock)
        await processes.start(API_SERVER, server, *_server_options(port, store), folder=folder)
        context = ssl.create_default_context(cafile=certificate)
        door = Door(name=API_SERVER, url=url, session=session, token=token, context=context)
        await door.until_answers("/readyz", processes, clock)
        yield KubernetesApi(door=door, folder=folder)


async def _keys(folder: Path, processes: Processes, token: str) -> Path:
    """A certificate that the server shows, its key, and the administrator's token. Where the first is."""
    pki = _new_folder(folder)
    await processes.run(
        "openssl req",
        "openssl",
        "req",
        *("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-days", "2", "-subj", f"/CN={API_SERVER}", "-addext", f"subjectAltName=IP:{LOOPBACK}"),
        *("-keyout", "server.key", "-out", "server.crt"),
        folder=pki,
        timeout_s=_KEY_TIMEOUT_S,
    )
    (pki / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
    return pki / "server.crt"


def _new_folder(folder: Path) -> Path:
    """Makes it, and one in it for what is secret."""
    folder.mkdir()
    pki = folder / "pki"
    pki.mkdir(mode=0o700)
    return pki


def _etcd_options(client: int, peer: int) -> tuple[str, ...]:
    to_clients, to_peers = (f"http://{LOOPBACK}:{port}" for port in (client, peer))
    return (
        "--data-dir=etcd",
        f"--listen-client-urls={to_clients}",
        f"--advertise-client-urls={to_clients}",
        f"--listen-peer-urls={to_peers}",
        f"--initial-advertise-peer-urls={to_peers}",
        f"--initial-cluster=default={to_peers}",
        "--unsafe-no-fsync",  # a demo outlives no power cut
    )


def _server_options(port: int, store: int) -> tuple[str, ...]:
    return (
        f"--etcd-servers=http://{LOOPBACK}:{store}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={port}",
        "--tls-cert-file=pki/server.crt",
        "--tls-private-key-file=pki/server.key",
        "--token-auth-file=pki/tokens.csv",
        "--authorization-mode=RBAC",
        f"--service-account-issuer={_ISSUER}",
        "--service-account-signing-key-file=pki/server.key",
        "--service-account-key-file=pki/server.crt",
        "--service-cluster-ip-range=10.96.0.0/16",
        # It waits for accounts and tokens that a controller would make.
        "--disable-admission-plugins=ServiceAccount",
        "--endpoint-reconciler-type=none",
        "--shutdown-delay-duration=0",
    )


def _write_kubeconfig(path: Path, url: str, certificate: Path, token: str) -> None:
    """For who shows this token. In JSON, which is YAML too."""
    named = {"name": "demo"}
    authority = base64.b64encode(certificate.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{**named, "cluster": {"server": url, "certificate-authority-data": authority}}],
        "users": [{**named, "user": {"token": token}}],
        "contexts": [{**named, "context": {"cluster": "demo", "user": "demo"}}],
        "current-context": "demo",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=2))
