"""The one door to HTTP: questions to one API server, over one pool of connections.

Nothing here is believed: answers and lines are bounded, redirects are not followed (they would take the
credentials along), environment variables do not name proxies, and silence has a limit.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from mesh.errors import Misconfigured, Unavailable
from registries.kubernetes.access import Credentials, Server
from registries.kubernetes.api import Interrupted, refusal
from registries.kubernetes.json_lists import parsed

_JSON: Final = {"Accept": "application/json", "User-Agent": "meshwright"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long is waited, in seconds, and how much is read, in bytes."""

    connect: float = 10
    answer: float = 60
    agreement: float = 20
    """To watch; the first word of an answer."""
    silence: float = 130
    """Of a watch. The server writes a bookmark about each minute, whether something happened or not."""
    answer_bytes: int = 128 * 1024 * 1024
    line_bytes: int = 8 * 1024 * 1024
    """etcd takes objects of 1.5 MiB at most."""


class Client:
    """Asks one API server. Used as a context; :attr:`token` may be replaced while it is open."""

    def __init__(self, credentials: Credentials, limits: Limits = Limits()) -> None:
        """:raises Misconfigured: when certificates or keys cannot be used."""
        self._server, self._limits = credentials.server, limits
        self.token = credentials.token
        self._tls = _context(credentials.server) if credentials.server.url.startswith("https:") else False
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=0, socket_factory=_socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_JSON,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect),
            trust_env=False,
            read_bufsize=1024 * 1024,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        """One answer, as JSON."""
        return await self._answer("GET", path, query=query)

    async def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the server makes of ``body``."""
        return await self._answer("POST", path, body=body)

    @asynccontextmanager
    async def watch(
        self, path: str, query: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[Sequence[bytes]]]:
        """Lines as they come, as many at once as have arrived."""
        # A watch is not compressed: it would come in larger lumps, and later.
        request = self._request("GET", path, query=query, headers={"Accept-Encoding": "identity"})
        try:
            async with asyncio.timeout(self._limits.agreement):
                response = await request
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unavailable(self._server, error) from None
        try:
            if response.status != 200:
                raise await self._refused(response, f"watch of {path}")
            yield self._lines(response)
        finally:
            # Never back into the pool, and without a farewell, which a server that hangs would not answer.
            if response.connection is not None and response.connection.transport is not None:
                response.connection.transport.abort()
            response.close()

    async def _answer(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        try:
            async with (
                asyncio.timeout(self._limits.answer),
                await self._request(method, path, query=query, body=body) as response,
            ):
                if response.status not in {200, 201}:
                    raise await self._refused(response, f"{method} of {path}")
                said = await parsed(await self._bounded(response, self._limits.answer_bytes))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unavailable(self._server, error) from None
        except (ValueError, RecursionError):
            raise Unavailable(f"the API server's answer to {method} of {path} is not JSON") from None
        if not isinstance(said, dict):
            raise Unavailable(f"the API server's answer to {method} of {path} is no object")
        return said

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("the client is not open")
        said = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return await self._session.request(
            method,
            self._server.url + path,
            params=query,
            json=body,
            headers={**said, **(headers or {})},
            allow_redirects=False,
            server_hostname=self._server.name or None,
        )

    async def _refused(self, response: aiohttp.ClientResponse, asked: str) -> Exception:
        try:
            said = json.loads(await self._bounded(response, 65536))
        except (ValueError, RecursionError, aiohttp.ClientError, TimeoutError, OSError, Unavailable):
            said = None
        return refusal(response.status, said, asked, response.headers.get("Retry-After", ""))

    async def _bounded(self, response: aiohttp.ClientResponse, most: int) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > most:
                raise Unavailable(f"the API server's answer has more than {most} bytes")
        return bytes(body)

    async def _lines(self, response: aiohttp.ClientResponse) -> AsyncIterator[Sequence[bytes]]:
        rest = b""
        while True:
            try:
                async with asyncio.timeout(self._limits.silence):
                    chunk = await response.content.readany()
            except TimeoutError:
                raise Interrupted(
                    f"the API server was silent for {self._limits.silence:g} s in a watch"
                ) from None
            except (aiohttp.ClientError, OSError) as error:
                raise Interrupted(f"a watch was cut: {type(error).__name__}") from None
            if not chunk:
                return  # an unfinished line is no event: it comes again
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > self._limits.line_bytes:
                raise Unavailable(f"the API server sent a line of more than {self._limits.line_bytes} bytes")
            if whole := [line for line in lines if line]:
                yield whole


def _socket(found: aiohttp.AddrInfoType) -> socket.socket:
    """A connection to a server that vanished ends within a minute, and not when the kernel gives up."""
    family, kind, protocol = found[:3]
    made = socket.socket(family, kind, protocol)
    for option, value in (
        (socket.TCP_KEEPIDLE, 30),
        (socket.TCP_KEEPINTVL, 10),
        (socket.TCP_KEEPCNT, 3),
        (socket.TCP_USER_TIMEOUT, 60_000),
        (socket.TCP_NODELAY, 1),
    ):
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return made


def _context(server: Server) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=server.ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if server.certificate:
            # Python reads a key from a file only; this one never comes to a disk.
            with os.fdopen(os.memfd_create("client.pem"), "wb") as file:
                file.write(server.key + b"\n" + server.certificate)
                file.flush()
                context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password=_no_password)
    except (ssl.SSLError, ValueError, OSError):
        raise Misconfigured(
            "the certificates of the kubeconfig cannot be used",
            hint="expected PEM: the CA's, and the client's with its key, which has no password",
        ) from None
    return context


def _no_password() -> str:
    """OpenSSL would ask the terminal otherwise."""
    return ""


def _unavailable(server: Server, error: Exception) -> Unavailable:
    """What went wrong on the way, without anything that may be secret."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            reason, hint = (
                "its certificate is not accepted",
                "check certificate-authority-data and the server's name",
            )
        case aiohttp.ClientConnectorError():
            reason, hint = f"no connection: {error.os_error.strerror or 'failed'}", ""
        case TimeoutError():
            reason, hint = "it did not answer in time", ""
        case _:
            reason, hint = f"the connection broke: {type(error).__name__}", ""
    return Unavailable(f"the API server at {server.url} does not answer: {reason}", hint=hint)
