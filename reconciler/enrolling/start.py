"""From what the Pod was told to the program that runs in it."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mesh.clock import Clock
from mesh.errors import Misconfigured, Unavailable
from mesh.proxies import Interception
from reconciler import installing
from reconciler.enrolling.door import Server
from reconciler.enrolling.files import Files
from reconciler.enrolling.run import Pod, enrol, watch
from reconciler.installing import TOKEN_PORT, Ports, control_plane_id, socket
from xds.probes import Means, Probe

log = logging.getLogger(__name__)

_DRAIN_SECONDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the Pod was told by its manifest and by the kubelet."""

    name: str
    address: str
    servers: tuple[str, ...]
    control_plane: tuple[str, ...]
    token_file: Path
    directory: Path
    ca_root: str
    """PEM, or a file of it."""
    trust_domain: str
    cluster: str = ""
    interception: Interception = Interception.REDIRECT
    http_proxy_port: int = 0
    admin_port: int = 15000
    probes: str = ""
    """JSON, as ``meshwright inject`` writes it."""


async def run(told: Told, clock: Clock, *, is_watching: bool) -> None:
    """Enrol once, or keep the certificate fresh until SIGTERM.

    The bootstrap comes first, so that a mistake in it ends the program before anybody is asked.

    :raises MeshError: when there is no certificate to be had.
    """
    files = Files(told.directory)
    files.prepared()
    files.write_bootstrap(_bootstrap(told))
    pod = Pod(
        servers=_servers(told),
        token_file=told.token_file,
        files=files,
        root=_root(told.ca_root),
        cluster=told.cluster,
    )
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    # The first process of a container ends by no signal that it does not handle.
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopped.set)
    work = asyncio.ensure_future(watch(pod, clock) if is_watching else enrol(pod, clock))
    stop = asyncio.ensure_future(stopped.wait())
    await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if work.done():
        work.result()
        return
    work.cancel()
    if not is_watching:
        raise Unavailable("stopped before there was a certificate", hint="start it again")
    await _drain(told.admin_port)


async def _drain(admin_port: int) -> None:
    """Have Envoy tell its callers to go elsewhere, while the application still answers."""
    url = f"http://127.0.0.1:{admin_port}/drain_listeners?inboundonly&graceful&skip_exit"
    limit = aiohttp.ClientTimeout(total=_DRAIN_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=limit) as session, session.post(url) as answer:
            log.info("draining", extra={"status": answer.status})
    except (aiohttp.ClientError, TimeoutError) as error:
        log.info("no proxy to drain", extra={"reason": str(error)})


def _bootstrap(told: Told) -> str:
    return installing.bootstrap(
        told.name,
        told.address,
        told.control_plane,
        trust_domain=told.trust_domain,
        interception=told.interception,
        http_proxy_port=told.http_proxy_port,
        ports=Ports(admin=told.admin_port),
        windows=told.address,
        probes=_probes(told.probes),
    )


def _servers(told: Told) -> tuple[Server, ...]:
    identity = str(control_plane_id(told.trust_domain))
    places = [socket(place, TOKEN_PORT) for place in told.servers]
    return tuple(Server(host=place.address, port=place.port, identity=identity) for place in places)


def _probes(text: str) -> tuple[Probe, ...]:
    try:
        return tuple(Probe(**{**said, "means": Means(said["means"])}) for said in json.loads(text or "[]"))
    except (ValueError, TypeError, KeyError) as error:
        raise Misconfigured(
            f"the probes cannot be read: {error}", hint="leave them as meshwright inject wrote them"
        ) from error


def _root(said: str) -> str:
    """Certificates alone, so that nothing else of a file is taken for one."""
    try:
        text = said if said.lstrip().startswith("-----BEGIN") else Path(said).read_text()
        found = x509.load_pem_x509_certificates(text.encode())
    except (OSError, ValueError) as error:
        raise Misconfigured(
            "the root of the mesh's CA cannot be read", hint="give root-cert.pem, or its text"
        ) from error
    return "".join(root.public_bytes(Encoding.PEM).decode() for root in found)
