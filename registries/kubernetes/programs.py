"""Credentials from a program (a kubeconfig's ``exec``): Kubernetes, "client-go credential plugins".

What it prints holds a secret, so neither of its streams is ever quoted or logged.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from mesh.errors import Misconfigured, Unavailable
from registries.kubernetes.access import Server
from registries.kubernetes.kubeconfig import Program

SECONDS_MAX: Final = 30
BYTES_MAX: Final = 1024 * 1024
# So that a request on its way does not arrive with a token that has just expired.
_MARGIN: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What a program has handed out."""

    token: str = field(default="", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    expires: datetime | None = None

    def is_over(self, now: datetime) -> bool:
        return self.expires is not None and now >= self.expires - _MARGIN


async def run(program: Program, server: Server, *, seconds_max: float = SECONDS_MAX) -> Granted:
    """Run the program and read what it grants.

    :raises Misconfigured: when there is no such program.
    :raises Unavailable: when it fails, takes too long, or prints something else.
    """
    environment = {
        **os.environ,
        **dict(program.environment),
        "KUBERNETES_EXEC_INFO": json.dumps(_told(program, server)),
    }
    try:
        process = await asyncio.create_subprocess_exec(
            program.command,
            *program.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
            limit=BYTES_MAX,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "a text that no program can be given"
        raise Misconfigured(
            f"exec of the kubeconfig: {program.command!r} cannot be run: {reason}",
            hint=program.install_hint or "install it on the host of the control plane",
        ) from None
    try:
        async with asyncio.timeout(seconds_max):
            printed = await _printed(process)
            status = await process.wait()
    except TimeoutError:
        raise Unavailable(
            f"exec of the kubeconfig: {program.command!r} did not end within {seconds_max:g} s"
        ) from None
    finally:
        await _end(process)
    if status != 0:
        raise Unavailable(
            f"exec of the kubeconfig: {program.command!r} failed with exit code {status}",
            hint="run it by hand, as the user of the control plane",
        )
    return _granted(printed, program)


async def _printed(process: asyncio.subprocess.Process) -> bytes:
    """All that it prints, and one byte more than the limit if it does not stop."""
    if process.stdout is None:
        return b""
    chunks = bytearray()
    while len(chunks) <= BYTES_MAX and (chunk := await process.stdout.read(65536)):
        chunks += chunk
    return bytes(chunks)


async def _end(process: asyncio.subprocess.Process) -> None:
    """It and all that it has started, if it has not ended by itself."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _told(program: Program, server: Server) -> dict[str, Any]:
    spec: dict[str, Any] = {"interactive": False}
    if program.wants_cluster:
        spec["cluster"] = {"server": server.url, "tls-server-name": server.name}
        if server.ca:
            spec["cluster"]["certificate-authority-data"] = _base64(server.ca)
    return {"apiVersion": program.version, "kind": "ExecCredential", "spec": spec}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _granted(printed: bytes, program: Program) -> Granted:
    wrong = Unavailable(
        f"exec of the kubeconfig: {program.command!r} did not print an ExecCredential",
        hint="run it by hand, as the user of the control plane",
    )
    try:
        said = json.loads(printed) if len(printed) <= BYTES_MAX else None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, Mapping) or not isinstance(said.get("status"), Mapping):
        raise wrong
    status: Mapping[str, Any] = said["status"]
    texts = [status.get(name) or "" for name in _TEXTS]
    if said.get("apiVersion") != program.version or not all(isinstance(one, str) for one in texts):
        raise wrong
    token, certificate, key, expires = texts
    if not token and not (certificate and key):
        raise wrong
    try:
        ends = datetime.fromisoformat(expires) if expires else None
    except ValueError:
        raise wrong from None
    if ends is not None and ends.tzinfo is None:
        raise wrong
    return Granted(token=token, certificate=certificate.encode(), key=key.encode(), expires=ends)


_TEXTS: Final = ("token", "clientCertificateData", "clientKeyData", "expirationTimestamp")
