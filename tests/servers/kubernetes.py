"""A real kube-apiserver on a real etcd, on loopback, without any controller, scheduler or kubelet.

What those would do, tests do themselves: they write EndpointSlices, the status of Pods, and no
Namespace is ever finished off but by :meth:`KubernetesApi.remove_namespace`. Objects go straight to
the API over plain HTTP; none of our own clients is used.

Two things are worth knowing about watches. The API server answers from a cache of its own, so after
:meth:`KubernetesApi.compact` an old resourceVersion is gone (410) only once the server was restarted
too. With the flag ``--watch-cache=false`` it is gone at once, and so is the continue token of a list.
And it ends every watch after ``--min-request-timeout`` seconds, up to twice as many: 2 makes a watch
that is cut again and again.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from tests.servers.door import Door
from tests.servers.kubernetes_objects import ISSUER, Objects
from tests.servers.private_ca import PrivateCa
from tests.servers.processes import LOOPBACK, Server, free_ports
from tests.servers.programs import find

ADMIN = ("system:masters",)


class KubernetesApi(Objects):
    """One cluster. Used as a context; owned by the block that runs it."""

    def __init__(self, folder: Path, *, name: str = "cluster", flags: Sequence[str] = ()) -> None:
        """Not started yet; ``flags`` are further ones of kube-apiserver, which win over ours."""
        self.name = name
        self.folder = folder
        self.port, self.etcd_port, self._peer_port = free_ports(3)
        self._binaries = find("kube-apiserver"), find("etcd")
        self._flags = flags
        self.ca = PrivateCa(folder / "pki", f"{name} CA")
        self._serving = self.ca.pair(
            "kube-apiserver", hosts=(LOOPBACK, "localhost", "kubernetes.default.svc")
        )
        self._account_key, self._account_public = self._account_keys()
        self.api = Server("kube-apiserver", folder / "kube-apiserver.log")
        self.etcd = Server("etcd", folder / "etcd.log")
        admin = self.ca.context(self.ca.pair("admin", groups=ADMIN))
        super().__init__(Door(port=self.port, context=admin))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"https://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        self._start_etcd()
        self.start_api_server()

    def stop(self) -> None:
        self.api.kill()  # it has nothing to save, and takes its time to end by itself
        self.etcd.kill()

    def kill_api_server(self) -> None:
        """End it at once; etcd keeps everything."""
        self.api.kill()

    def start_api_server(self) -> None:
        """Start it again, on the same port."""
        self.api.start([self._binaries[0], *self._api_flags()], self._is_ready)

    def _is_ready(self) -> bool:
        # It makes the namespace by itself, a moment after it is ready.
        return self._admin.answers("/readyz") and self._admin.answers("/api/v1/namespaces/default")

    def restart_with_empty_etcd(self) -> None:
        """The same cluster at the same port, with the same credentials, and nothing in it."""
        self.stop()
        shutil.rmtree(self.folder / "etcd")
        self.start()

    def suspend(self) -> None:
        """The API server hangs: connections stay open, nothing is answered."""
        self.api.suspend()

    def resume(self) -> None:
        self.api.resume()

    def heal(self) -> None:
        """Up, whatever was done to it."""
        if not self.etcd.is_running:
            self._start_etcd()
        if self.api.is_running:
            self.resume()
        else:
            self.start_api_server()

    def compact(self) -> None:
        """Forget all but the newest revision of etcd, so that older resourceVersions are gone (410)."""
        etcd = Door(port=self.etcd_port)
        revision = etcd.ask("POST", "/v3/kv/range", {"key": _base64(b"\0")})["header"]["revision"]
        etcd.ask("POST", "/v3/kv/compaction", {"revision": revision, "physical": True})

    def _start_etcd(self) -> None:
        client, peer = (f"http://{LOOPBACK}:{port}" for port in (self.etcd_port, self._peer_port))
        self.etcd.start(
            [
                self._binaries[1],
                f"--data-dir={self.folder / 'etcd'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                "--unsafe-no-fsync",  # a test outlives no power cut
            ],
            lambda: Door(port=self.etcd_port).answers("/health"),
        )

    def _api_flags(self) -> list[str]:
        return [
            f"--etcd-servers=http://{LOOPBACK}:{self.etcd_port}",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={self.port}",
            f"--tls-cert-file={self._serving.certificate}",
            f"--tls-private-key-file={self._serving.key}",
            f"--client-ca-file={self.ca.file}",
            "--authorization-mode=RBAC",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-signing-key-file={self._account_key}",
            f"--service-account-key-file={self._account_public}",
            f"--api-audiences={ISSUER}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--allow-privileged=true",
            # It waits for accounts and tokens that a controller would make.
            "--disable-admission-plugins=ServiceAccount",
            # Nobody renews these, and they cost time at every start.
            "--endpoint-reconciler-type=none",
            "--enable-priority-and-fairness=false",
            "--profiling=false",
            "--etcd-compaction-interval=0",
            "--shutdown-delay-duration=0",
            *self._flags,
        ]

    def _account_keys(self) -> tuple[Path, Path]:
        """What signs ServiceAccounts' tokens, and what they are checked with."""
        pair = self.ca.pair("service-accounts")
        key = load_pem_private_key(pair.key.read_bytes(), None)
        public = pair.key.with_suffix(".pub")
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return pair.key, public

    def kubeconfig(
        self,
        path: Path,
        *,
        user: str = "admin",
        groups: Sequence[str] = ADMIN,
        token: str | None = None,
        auth: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write one: by certificate, by token, or by what ``auth`` says (``exec``, ``tokenFile``)."""
        path.write_text(yaml.safe_dump(self._kubeconfig(user, groups, token, auth)))
        path.chmod(0o600)
        return path

    def _kubeconfig(
        self, user: str, groups: Sequence[str], token: str | None, auth: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        if auth is not None:
            shown = dict(auth)
        elif token is not None:
            shown = {"token": token}
        else:
            pair = self.ca.pair(user, groups=groups)
            shown = {
                "client-certificate-data": _base64(pair.certificate.read_bytes()),
                "client-key-data": _base64(pair.key.read_bytes()),
            }
        cluster = {"server": self.url, "certificate-authority-data": _base64(self.ca.file.read_bytes())}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": self.name, "cluster": cluster}],
            "users": [{"name": user, "user": shown}],
            "contexts": [{"name": self.name, "context": {"cluster": self.name, "user": user}}],
            "current-context": self.name,
        }


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
