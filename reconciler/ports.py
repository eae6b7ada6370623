"""Opens the ports that proxies and machines connect to, and keeps what they present fresh."""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
from contextlib import AsyncExitStack
from typing import NoReturn

from aiohttp import web

from ca.credentials import ServerCredentials
from ca.tls import present, server_context
from mesh.latest import Latest
from mesh.names import is_ip
from reconciler import admin
from reconciler.settings import Settings, at
from xds.certificates import ServerCertificate
from xds.server import Server

log = logging.getLogger(__name__)

Names = tuple[str | ipaddress.IPv4Address | ipaddress.IPv6Address, ...]


def names(settings: Settings) -> Names:
    """What this host is called by those who connect: its certificate says so."""
    own = settings.listen_address
    anywhere = own in ("0.0.0.0", "::")  # noqa: S104 (compared, not bound)
    host = socket.gethostname().lower()
    found = dict.fromkeys(
        (
            "localhost",
            "127.0.0.1",
            *(() if anywhere else (own,)),
            *settings.est_hosts,
            *((host,) if host.isascii() else ()),
        )
    )
    return tuple(ipaddress.ip_address(name) if is_ip(name) else name for name in found)


async def open_est(
    settings: Settings,
    app: web.Application,
    credentials: Latest[ServerCredentials],
    doors: AsyncExitStack,
) -> ssl.SSLContext:
    """Serve enrolment. Returns what the port presents, for :func:`present_newest`."""
    context = server_context(credentials.value)
    runner, port = await admin.serve_port(
        app, settings.listen_address, settings.est_port, ssl_context=context
    )
    doors.push_async_callback(runner.cleanup)
    log.info("est listening", extra={"address": at(settings.listen_address, port)})
    return context


async def present_newest(context: ssl.SSLContext, credentials: Latest[ServerCredentials]) -> NoReturn:
    """The port presents the newest certificate, from the next handshake on."""
    version = 0
    while True:
        version, newest = await credentials.newer_than(version)
        present(context, newest)


async def open_xds(settings: Settings, server: Server, credentials: Latest[ServerCredentials]) -> None:
    """Serve proxies."""
    port = await server.start(at(settings.listen_address, settings.xds_port), _Certificates(credentials))
    log.info("xds listening", extra={"address": at(settings.listen_address, port)})


class _Certificates:
    """The CA's credentials in the words of the xDS port."""

    def __init__(self, credentials: Latest[ServerCredentials]) -> None:
        self._credentials = credentials

    def current(self) -> ServerCertificate:
        held = self._credentials.value
        return ServerCertificate(key=held.key_pem, chain=held.chain_pem, roots=held.roots_pem)
