"""A kubeconfig: which server, which credentials. Read as ``kubectl`` reads it, and no more trusting.

What would weaken the connection or cannot be carried out is refused by name. Nothing of a kubeconfig is
ever quoted in an error but the names of its fields, clusters, users and contexts.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from mesh.documents import parse_file
from mesh.errors import Misconfigured
from registries.kubernetes.access import Server

_LOOPBACK: Final = {"127.0.0.1", "::1", "localhost"}
_REFUSED: Final = {
    "cluster": {
        "insecure-skip-tls-verify": "give certificate-authority-data instead",
        "proxy-url": "give the control plane a route to the server",
    },
    "user": {
        "auth-provider": "use exec, which replaces it",
        "username": "use a client certificate, a token or exec",
        "password": "use a client certificate, a token or exec",
        "as": "use credentials of the account itself",
        "as-uid": "use credentials of the account itself",
        "as-groups": "use credentials of the account itself",
        "as-user-extra": "use credentials of the account itself",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that hands out credentials (``exec``)."""

    command: str
    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = field(repr=False)
    version: str
    wants_cluster: bool
    install_hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """One context of a kubeconfig. At most one of ``token``, ``token_file`` and ``program`` is there."""

    server: Server
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    program: Program | None = None


def read(content: bytes, folder: Path, context: str = "") -> Login:
    """The login of a context, the current one by default; paths are relative to ``folder``.

    :raises Misconfigured: when it cannot be read or used.
    """
    documents, problems = parse_file("kubeconfig", content)
    if problems or len(documents) != 1:
        line = f" (line {problems[0].where.line})" if problems else ""
        raise Misconfigured(
            f"the kubeconfig is not one YAML document{line}", hint="check it with: kubectl config view"
        )
    config = documents[0].data
    chosen = context or _text(config, "current-context", "the kubeconfig")
    if not chosen:
        raise Misconfigured("the kubeconfig has no current-context", hint="name one in 'context'")
    said = _named(config, "contexts", "context", chosen)
    cluster_name = _text(said, "cluster", f"context {chosen!r}")
    user_name = _text(said, "user", f"context {chosen!r}")
    cluster = _named(config, "clusters", "cluster", cluster_name)
    user = _named(config, "users", "user", user_name) if user_name else {}
    return _login(
        _Part(cluster, f"cluster {cluster_name!r}", folder), _Part(user, f"user {user_name!r}", folder)
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """A cluster or a user of the kubeconfig, and how to speak of it."""

    said: Mapping[str, Any] = field(repr=False)
    about: str
    folder: Path

    def text(self, name: str) -> str:
        return _text(self.said, name, self.about)

    def path(self, name: str) -> Path | None:
        return self.folder / text if (text := self.text(name)) else None

    def content(self, name: str) -> bytes:
        """What ``<name>-data`` holds, else the file that ``<name>`` names."""
        if encoded := self.text(f"{name}-data"):
            try:
                return base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                raise Misconfigured(
                    f"{self.about} of the kubeconfig: {name}-data is not base64",
                    hint="kubectl config view --raw --flatten writes it so",
                ) from None
        if (path := self.path(name)) is None:
            return b""
        try:
            return path.read_bytes()
        except OSError as error:
            raise Misconfigured(
                f"{self.about} of the kubeconfig: the file of {name} cannot be read: {type(error).__name__}",
                hint=f"use {name}-data, or make the file readable to the control plane",
            ) from None

    def arguments(self) -> tuple[str, ...]:
        """``args``."""
        said = self.said.get("args")
        texts = said if isinstance(said, list) else () if said is None else (said,)
        if not isinstance(said, list | None) or not all(_is_text(one) for one in texts):
            raise Misconfigured(f"{self.about}: args is not a list of text", hint="quote what is no text")
        return tuple(texts)

    def environment(self) -> tuple[tuple[str, str], ...]:
        """``env``."""
        said = self.said.get("env")
        entries = said if isinstance(said, list) else ()
        if not isinstance(said, list | None) or not all(map(_is_variable, entries)):
            raise Misconfigured(
                f"{self.about}: env is not a list of names and values",
                hint="expected - {name: <name>, value: <text>}",
            )
        return tuple((one["name"], one.get("value") or "") for one in entries)

    def refuse(self, fields: Mapping[str, str]) -> None:
        for name, instead in fields.items():
            if self.said.get(name):
                raise Misconfigured(f"{self.about} of the kubeconfig: {name} is not supported", hint=instead)


def _login(cluster: _Part, user: _Part) -> Login:
    cluster.refuse(_REFUSED["cluster"])
    user.refuse(_REFUSED["user"])
    certificate, key = user.content("client-certificate"), user.content("client-key")
    if bool(certificate) != bool(key):
        raise Misconfigured(
            f"{user.about} of the kubeconfig: a client certificate and its key come together",
            hint="give both client-certificate-data and client-key-data",
        )
    try:
        ca = cluster.content("certificate-authority").decode("ascii")
    except UnicodeDecodeError:
        raise Misconfigured(f"{cluster.about} of the kubeconfig: certificate-authority is not PEM") from None
    server = Server(
        url=_url(cluster), ca=ca, name=cluster.text("tls-server-name"), certificate=certificate, key=key
    )
    program = _program(user)
    token, token_file = user.text("token"), user.path("tokenFile")
    login = Login(
        server=server,
        # As in client-go, a file wins over a token beside it, and either over a program.
        token="" if token_file else token,
        token_file=token_file,
        program=None if token or token_file else program,
    )
    if server.url.startswith("http:") and urlsplit(server.url).hostname not in _LOOPBACK:
        raise Misconfigured(f"{cluster.about} of the kubeconfig: the server is not https", hint="use https")
    return login


def _url(cluster: _Part) -> str:
    text = cluster.text("server").rstrip("/")
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in {"http", "https"} and parts.hostname and parts.username is None
        is_good = is_good and (parts.port is None or parts.port > 0) and not any(one <= " " for one in text)
    except ValueError:
        is_good = False
    if not is_good:
        raise Misconfigured(
            f"{cluster.about} of the kubeconfig: server is no URL", hint="expected https://<host>:<port>"
        )
    return text


def _program(user: _Part) -> Program | None:
    said = user.said.get("exec")
    if not said:
        return None
    if not isinstance(said, Mapping):
        raise Misconfigured(f"{user.about} of the kubeconfig: exec is not an object")
    part = _Part(said, f"exec of {user.about}", user.folder)
    command, version = part.text("command"), part.text("apiVersion")
    if version not in {f"client.authentication.k8s.io/{one}" for one in ("v1", "v1beta1")}:
        raise Misconfigured(
            f"{part.about} of the kubeconfig: apiVersion is not supported",
            hint="expected client.authentication.k8s.io/v1 or v1beta1",
        )
    if part.text("interactiveMode") == "Always":
        raise Misconfigured(
            f"{part.about} of the kubeconfig: interactiveMode Always needs a person",
            hint="use a program that can do without",
        )
    if not command:
        raise Misconfigured(f"{part.about} of the kubeconfig: it has no command")
    return Program(
        # As in client-go: a path is relative to the kubeconfig, a bare name is looked up in PATH.
        command=str(user.folder / command) if "/" in command else command,
        arguments=part.arguments(),
        environment=part.environment(),
        version=version,
        wants_cluster=said.get("provideClusterInfo") is True,
        install_hint=part.text("installHint"),
    )


def _text(said: Mapping[str, Any], name: str, about: str) -> str:
    value = said.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Misconfigured(
            f"{about}: {name}: expected text, found {type(value).__name__}", hint="quote what is no text"
        )
    if not _is_text(value):
        raise Misconfigured(f"{about}: {name}: a NUL character or half a character", hint="write it anew")
    return value


def _is_text(value: object) -> bool:
    """Whether it is text that a program, a file's name or a header can have."""
    return (
        isinstance(value, str) and "\0" not in value and not any("\ud800" <= one <= "\udfff" for one in value)
    )


def _is_variable(said: object) -> bool:
    if (
        not isinstance(said, Mapping)
        or not _is_text(said.get("name"))
        or not _is_text(said.get("value") or "")
    ):
        return False
    return bool(said["name"]) and "=" not in said["name"]


def _named(config: Mapping[str, Any], table: str, inside: str, name: str) -> Mapping[str, Any]:
    """The entry of that name: the first one, as in kubectl."""
    entries = config.get(table)
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and entry.get("name") == name:
            found = entry.get(inside)
            return found if isinstance(found, Mapping) else {}
    known = sorted(
        str(entry.get("name"))
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, Mapping)
    )
    raise Misconfigured(
        f"the kubeconfig has no {inside} {name!r}", hint=f"known are {', '.join(known) or 'none'}"
    )
