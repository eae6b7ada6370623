"""A connection to the control plane over which nothing is said before it has proven itself.

gRPC compares a server's certificate with a host name and with nothing else. The control plane is known by
its SPIFFE identity, which no workload's certificate has, so the TLS connection is made here and verified,
and gRPC speaks through it by a socket that only this process can reach.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.errors import Refused, Unavailable

_CONNECT_SECONDS = 10
_CHUNK = 64 * 1024
# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED: most often a clock.
_CLOCK_ERRORS = (9, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where a control plane is, and what it must prove."""

    host: str
    port: int
    identity: str
    """The SPIFFE URI of its certificate."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@asynccontextmanager
async def opened(server: Server, roots: str, folder: Path) -> AsyncIterator[str]:
    """A gRPC target that leads to the server, which has proven who it is.

    :param folder: where a socket can be made that nobody else reaches.
    :raises Refused: when it is somebody else.
    :raises Unavailable: when it cannot be reached.
    """
    async with AsyncExitStack() as doors:
        reader, writer = await _verified(server, roots)
        doors.callback(writer.close)
        pumps: list[asyncio.Task[None]] = []

        def join(near_reader: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
            """One connection through the one that is open; gRPC makes no second while it lives."""
            if pumps:
                near_writer.close()
                return
            pumps.append(asyncio.ensure_future(_pump(near_reader, writer)))
            pumps.append(asyncio.ensure_future(_pump(reader, near_writer)))

        inside = doors.enter_context(tempfile.TemporaryDirectory(prefix=".door-", dir=folder))
        # A path of a socket holds 108 characters; this one is short, wherever the folder is.
        descriptor = os.open(inside, os.O_RDONLY | os.O_DIRECTORY)
        doors.callback(os.close, descriptor)
        path = f"/proc/self/fd/{descriptor}/door"
        listener = await asyncio.start_unix_server(join, path)
        doors.callback(listener.close)
        try:
            yield f"unix:{path}"
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes from one side to the other, until one of them ends; gRPC notices that by itself."""
    with suppress(OSError), closing(writer):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()


async def _verified(server: Server, roots: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Instead of a host name its identity is compared, below.
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(cadata=roots)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(server.host, server.port, ssl=context)
    except ssl.SSLCertVerificationError as error:
        hint = "its certificate does not come from the CA that this Pod was given the root of"
        if error.verify_code in _CLOCK_ERRORS:
            hint = "compare the clock of this node with that of the control plane"
        raise Refused(f"{server} could not prove itself: {error.verify_message}", hint=hint) from None
    except TimeoutError:
        raise Unavailable(
            f"{server} did not answer within {_CONNECT_SECONDS} s", hint="is it running?"
        ) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Unavailable(f"{server} cannot be reached: {reason}", hint="is it running?") from error
    found = _identities(writer.get_extra_info("peercert"))
    if found != [server.identity]:
        writer.close()
        raise Refused(
            f"{server} shows the identity {', '.join(found) or 'none'}, expected {server.identity}",
            hint="this is not the control plane; nothing was sent to it",
        )
    return reader, writer


def _identities(certificate: dict[str, Any] | None) -> list[str]:
    names = (certificate or {}).get("subjectAltName", ())
    return [str(value) for kind, value in names if kind == "URI"]
