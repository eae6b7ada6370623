"""Where credentials for an API server come from: the operator's kubeconfig, or the Pod that we run in.

Everything is read anew each time, off the loop, so that what is rotated takes effect without a restart.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Final

from mesh.clock import Clock
from mesh.errors import Misconfigured, Unavailable
from registries import credentials
from registries.kubernetes import kubeconfig
from registries.kubernetes.access import Credentials, Server
from registries.kubernetes.programs import Granted, run

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Kubeconfig:
    """A ``kubeconfig`` among the operator's credentials, by name."""

    def __init__(self, directory: Path | None, secret_ref: str, clock: Clock, *, context: str = "") -> None:
        """:param directory: the folder of the operator's settings that holds credentials."""
        self._directory, self._secret_ref, self._context = directory, secret_ref, context
        self._clock = clock
        self._granted: tuple[kubeconfig.Login, Granted] | None = None

    async def read(self, *, is_refused: bool = False) -> Credentials:
        """A program is run again only when what it granted is over or refused, or for another login."""
        login = await asyncio.to_thread(self._login)
        if login.program is None:
            return Credentials(server=login.server, token=login.token)
        known = self._granted
        if known is None or is_refused or known[0] != login or known[1].is_over(self._clock.now()):
            known = self._granted = (login, await run(login.program, login.server))
        server = login.server
        if known[1].certificate:
            server = replace(server, certificate=known[1].certificate, key=known[1].key)
        return Credentials(server=server, token=known[1].token)

    def _login(self) -> kubeconfig.Login:
        found = credentials.read(self._directory, self._secret_ref).kubeconfig
        if found is None:
            raise Misconfigured(
                f"the credentials {self._secret_ref!r} hold no kubeconfig",
                hint="put one there; kubectl config view --raw --flatten --minify prints it",
            )
        try:
            content = found.read_bytes()
        except OSError as error:
            raise Unavailable(
                f"the kubeconfig of the credentials {self._secret_ref!r} cannot be read: {error.strerror}"
            ) from None
        login = kubeconfig.read(content, found.parent, self._context)
        if login.token_file is None:
            return login
        try:
            token = login.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable(
                f"the tokenFile of the kubeconfig cannot be read: {type(error).__name__}",
                hint="write the token there, readable to the control plane",
            ) from None
        return replace(login, token=token)


class InCluster:
    """The ServiceAccount of the Pod that we run in."""

    def __init__(self, host: str, port: str, folder: Path = ACCOUNT) -> None:
        """:param host: and ``port``: ``KUBERNETES_SERVICE_HOST`` and ``KUBERNETES_SERVICE_PORT``."""
        self._host, self._port, self._folder = host, port, folder

    async def read(
        self,
        *,
        is_refused: bool = False,  # noqa: ARG002 (nothing is remembered)
    ) -> Credentials:
        """As they are in the files now: the kubelet renews the token there."""
        if not self._host or not self._port:
            raise Misconfigured(
                "inCluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set",
                hint="run the control plane in a Pod, or use secretRef",
            )
        host = f"[{self._host}]" if ":" in self._host else self._host
        ca, token = await asyncio.to_thread(lambda: (self._text("ca.crt"), self._text("token")))
        return Credentials(server=Server(url=f"https://{host}:{self._port}", ca=ca), token=token.strip())

    def _text(self, name: str) -> str:
        try:
            return (self._folder / name).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable(
                f"inCluster: {name} of the ServiceAccount cannot be read: {type(error).__name__}",
                hint="mount the token: automountServiceAccountToken: true",
            ) from None
