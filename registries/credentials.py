"""Credentials by name: a folder of the operator's, read anew for each connection.

A document of the repository names the folder and never a path, and it cannot have what is in it sent where
it likes: a token or a key goes to the address that lies beside it and to no other. Who may write the
repository may thus use a credential as the operator meant it, and cannot take it.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from mesh.errors import Misconfigured

_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_LOOSE = 0o077
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What one folder holds. Files are named, not read, where the library that needs them takes a path."""

    name: str = ""
    address: str = ""
    token: str = field(default="", repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    kubeconfig: Path | None = None

    def meant_for(self, asked: str) -> str:
        """Where to connect with them, when a document asks for this address (empty: for none).

        :raises Misconfigured: when there is none, or when a secret would go where the operator did not say.
        """
        if self.address and asked and _server(self.address) != _server(asked):
            raise Misconfigured(
                f"the credentials {self.name!r} are for another address than the Mesh document's {asked!r}",
                hint="leave the address out of the document, or have the operator change the credentials'",
            )
        if (self.token or self.key is not None) and not self.address:
            raise Misconfigured(
                f"the credentials {self.name!r} hold a secret and do not say for which server",
                hint="put the URL of the server into the file 'address' beside it",
            )
        if not (self.address or asked):
            raise Misconfigured(
                "no address to connect to",
                hint="say address in the Mesh document, or put it into the file 'address' of the credentials",
            )
        return self.address or asked


def read(directory: Path | None, name: str) -> Credentials:
    """What the folder ``name`` holds now. Blocks.

    :raises Misconfigured: when it cannot be used: no such folder, a loose mode, a link that leads out of it.
    """
    if not _NAME.fullmatch(name):
        raise Misconfigured(
            f"not the name of credentials: {name!r}",
            hint="use lower-case letters, digits and hyphens, at most 63",
        )
    if directory is None:
        raise Misconfigured(
            f"the credentials {name!r} are asked for and no directory of credentials is set",
            hint="name one in the operator's settings",
        )
    try:
        folder = directory.resolve() / name
        if not folder.is_dir():
            raise Misconfigured(
                f"there are no credentials {name!r}", hint=f"the operator keeps them in {directory / name}"
            )
        return Credentials(
            name=name,
            address=_text(folder, "address"),
            token=_text(folder, "token", is_secret=True),
            ca=_file(folder, "ca.crt"),
            certificate=_file(folder, "tls.crt"),
            key=_file(folder, "tls.key", is_secret=True),
            kubeconfig=_file(folder, "kubeconfig", is_secret=True),
        )
    except OSError as error:
        raise Misconfigured(
            f"the credentials {name!r} cannot be read: {error.strerror}",
            hint="they must be readable for the user that the control plane runs as",
        ) from error


def _file(folder: Path, name: str, *, is_secret: bool = False) -> Path | None:
    """The file, if it is there. Links within the folder are fine: Kubernetes mounts Secrets so."""
    path = folder / name
    if not path.exists():
        return None
    real = path.resolve()
    if not real.is_relative_to(folder):
        raise Misconfigured(
            f"{name} of the credentials {folder.name!r} is a link out of their folder",
            hint="put the file itself there",
        )
    if is_secret and stat.S_IMODE(real.stat().st_mode) & _LOOSE:
        raise Misconfigured(
            f"{name} of the credentials {folder.name!r} is open to others than its owner",
            hint=f"chmod 600 {path}",
        )
    return path


def _text(folder: Path, name: str, *, is_secret: bool = False) -> str:
    path = _file(folder, name, is_secret=is_secret)
    if path is None:
        return ""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        text = ""
    if not text.isascii() or not text.isprintable() or not text:
        raise Misconfigured(
            f"{name} of the credentials {folder.name!r} is not one line of text",
            hint="write it anew, without anything around it",
        )
    return text


def _server(address: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: what must agree for two addresses to be one server."""
    try:
        parts = urlsplit(address)
        return parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return address, "", None
