"""The operator's own settings: file, then environment, then flags; checked once.

The command line gathers them (``cli/serve.py``); from here on they are a value. Secrets are names that are
looked up in a directory of the operator's: whoever can write the mesh's repository cannot point a
reference at a file of their choice (DESIGN 3.1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from mesh.errors import Misconfigured
from mesh.world import Credential, Credentials

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_LOOSE = 0o077


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one control plane is run. Ports of 0 are chosen by the system."""

    repo: str = field(repr=False)
    """The URL of the mesh's repository; not shown, as it may hold a password."""
    branch: str = "main"
    state: Path
    listen_address: str = "0.0.0.0"  # noqa: S104 (proxies come from elsewhere)
    metrics_address: str = "127.0.0.1"
    token_port: int = 15011
    xds_port: int = 15012
    est_port: int = 15013
    metrics_port: int = 15014
    poll: timedelta = timedelta(seconds=30)
    ca_directory: Path | None = None
    """A CA to plug in, under Istio's file names; ``None``: our own in the state directory."""
    secrets_directory: Path | None = None
    """``<namespace>/<name>/tls.crt`` and ``tls.key``: what ``credentialName`` means."""
    registries_directory: Path | None = None
    """``<name>/`` with ``address``, ``token``, ``kubeconfig`` and their kin: what ``secretRef`` means."""
    est_hosts: tuple[str, ...] = ()
    """Names and addresses that EST clients check, beside ``localhost``."""

    @property
    def admin_socket(self) -> Path:
        return self.state / "admin.sock"


def at(address: str, port: int) -> str:
    """``address:port``, as gRPC reads it: an IPv6 address stands in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def read_credentials(directory: Path | None) -> Credentials:
    """The gateways' certificates of the operator's directory.

    :raises Misconfigured: when a key is readable by others, or a pair is not complete.
    """
    found: dict[str, dict[str, Credential]] = {}
    if directory is None:
        return found
    if not directory.is_dir():
        raise Misconfigured(
            f"the secrets directory {directory} does not exist", hint="create it, or leave the setting out"
        )
    for namespace in _folders(directory):
        for folder in _folders(namespace):
            found.setdefault(namespace.name, {})[folder.name] = _pair(folder)
    return found


def _folders(directory: Path) -> list[Path]:
    """Those that an object could name. Not by ``glob``, which passes over what it may not read."""
    try:
        return sorted(path for path in directory.iterdir() if path.is_dir() and _NAME.fullmatch(path.name))
    except OSError as error:
        raise Misconfigured(
            f"the secrets in {directory} cannot be read: {error.strerror}",
            hint="they must be readable for the user that the control plane runs as",
        ) from error


def _pair(folder: Path) -> Credential:
    key = folder / "tls.key"
    try:
        if key.stat().st_mode & _LOOSE:
            raise Misconfigured(f"{key} is readable by others than its owner", hint=f"chmod 600 {key}")
        return Credential((folder / "tls.crt").read_bytes(), key.read_bytes())
    except OSError as error:
        raise Misconfigured(
            f"the secret {folder.parent.name}/{folder.name} cannot be read: {error}",
            hint="it needs tls.crt and tls.key",
        ) from error
