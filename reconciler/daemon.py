"""Builds everything and runs it in one task group. The only place that knows all rooms.

The order is that of trust: what was accepted, then the CA of its trust domain, then the first world, then the
ports. Nothing is served before the first world is made, so a restart withdraws nothing. If a task that never
ends does, all end: a half-alive control plane is worse than a restarted one.
"""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import logging
import os
import random
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from prometheus_client import CollectorRegistry, disable_created_metrics

from ca.authority import Authority, open_authority
from ca.counters import Counters
from ca.credentials import ServerCredentials, run_upkeep, server_credentials
from ca.est import application
from ca.issuance import Issuer
from ca.profile import Profile
from ca.tls import present, server_context
from ca.tokens import JoinTokens
from ca.trust import TrustBundle
from mesh.clock import Clock
from mesh.errors import MeshError, Misconfigured
from mesh.latest import Latest
from mesh.names import is_ip
from mesh.world import Credentials, Trust
from reconciler import admin, memory, status
from reconciler.counters import expose
from reconciler.cycle import Bell, CycleStatus, run_cycle
from reconciler.fetching import Remote, redacted
from reconciler.loop import run_stall_watch
from reconciler.reading import Reader, Reading
from reconciler.schedule import Schedule
from reconciler.settings import Settings, at, read_credentials
from reconciler.steps import Desk, start, steps
from reconciler.tokens import FOLDER, keep_trust_domain, kept_trust_domain
from reconciler.worlds import Worlds
from registries.enrolment import Enrolment
from registries.roster import Roster
from xds.bodies import Bodies
from xds.certificates import ServerCertificate
from xds.fleet import Fleet
from xds.metrics import Metrics
from xds.server import Server
from xds.session import Settings as Sessions

log = logging.getLogger(__name__)

_DRAIN = timedelta(seconds=5)
_CA = "ca"
_ENROLLED = "enrolled.json"


async def serve(settings: Settings, clock: Clock) -> None:
    """Run one control plane until SIGTERM or SIGINT.

    :raises Misconfigured: when its settings cannot work.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopped.set)
    memory.hold()
    # A second series per counter, which says nothing that the first does not. (The library has no types.)
    disable_created_metrics()  # type: ignore[no-untyped-call]
    with _locked(settings.state):
        try:
            async with AsyncExitStack() as doors:
                await _Daemon(settings, clock, doors).run(stopped)
        except* MeshError as errors:
            raise _first(errors) from None


def _first(errors: ExceptionGroup[MeshError]) -> MeshError:
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, ExceptionGroup) else found


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    """One daemon per state directory."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Misconfigured(
            f"cannot use the state directory {state}: {error.strerror}", hint="choose another with --state"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Misconfigured(
                f"another control plane runs with the state directory {state}",
                hint="stop it, or choose another directory with --state",
            ) from error
        yield
    finally:
        os.close(handle)


def _bundle(authority: Authority) -> TrustBundle:
    return TrustBundle.of(authority.trust_domain, authority.roots)


def _is_loopback(address: str) -> bool:
    """Whether only programs of this host can connect."""
    return is_ip(address) and ipaddress.ip_address(address).is_loopback


async def _present(context: ssl.SSLContext, credentials: Latest[ServerCredentials]) -> NoReturn:
    """The enrolment port presents the newest certificate."""
    version = 0
    while True:
        version, newest = await credentials.newer_than(version)
        present(context, newest)


class _Certificates:
    """The CA's credentials in the words of the xDS port."""

    def __init__(self, credentials: Latest[ServerCredentials]) -> None:
        self._credentials = credentials

    def current(self) -> ServerCertificate:
        held = self._credentials.value
        return ServerCertificate(key=held.key_pem, chain=held.chain_pem, roots=held.roots_pem)


class _Daemon:
    """Everything of one control plane. Lives as long as :meth:`run`."""

    def __init__(self, settings: Settings, clock: Clock, doors: AsyncExitStack) -> None:
        self._settings, self._clock, self._doors = settings, clock, doors
        self._registry = CollectorRegistry()
        self._readiness = admin.Readiness("repository", "certificates", "world", "ports")
        self._bell = Bell()
        roster: Latest[Roster] = Latest(())
        self._worlds = Worlds(clock, roster)
        self._enrolment = Enrolment(
            clock,
            self._worlds.latest,
            roster,
            file=settings.state / _ENROLLED,
            is_one_host=_is_loopback(settings.listen_address),
        )
        self._fleet = Fleet(clock, self._worlds.latest, self._enrolment)
        self._server: Server | None = None
        self._late: tuple[asyncio.Task[Any], ...] = ()
        # A CA that is there already speaks for its trust domain before anything was accepted.
        self._trust_domain = kept_trust_domain(settings.state) or ""
        remote = Remote.parse(settings.repo, settings.branch)
        self._cycle: Latest[CycleStatus] = Latest(CycleStatus(branch=remote.branch, url=redacted(remote.url)))
        self._desk: Desk[Reading] = Desk(
            folder=settings.state / "repo.git",
            remote=remote,
            reader=Reader(),
            check=self._check,
            publish=self._worlds.offer,
            clock=clock,
        )

    async def run(self, stopped: asyncio.Event) -> None:
        expose(self._registry, self._fleet, self._worlds)
        await self._open_admin()
        schedule = Schedule()
        schedule.every(self._settings.poll, self._bell.regular, name="poll")
        schedule.start()
        self._doors.callback(schedule.stop)
        async with asyncio.TaskGroup() as group:
            enrolment = group.create_task(self._enrolment.run(), name="enrolment")
            tasks = [
                group.create_task(work, name=name)
                for name, work in {
                    "cycle": run_cycle(
                        start=start(self._desk),
                        steps=steps(self._desk),
                        status=self._cycle,
                        bell=self._bell,
                        clock=self._clock,
                    ),
                    "worlds": self._worlds.run(),
                    "memory": memory.run_freezer(self._clock),
                    "stalls": run_stall_watch(self._clock, self._registry),
                    "serving": self._serve(group),
                }.items()
            ]
            await stopped.wait()
            log.info("stopping")
            # First: those who are cut off by the drain have not gone.
            enrolment.cancel()
            if self._server is not None:
                await self._server.drain(_DRAIN)
            for task in (*tasks, *self._late):
                task.cancel()

    async def _open_admin(self) -> None:
        runner = await admin.serve_socket(
            admin.private(
                status=lambda: status.status(self._cycle.value, self._fleet, self._worlds),
                proxies=self._proxies,
                resources=self._resources,
                poll=self._bell.ring,
            ),
            self._settings.admin_socket,
        )
        # After the cleanup, which leaves the file behind.
        self._doors.callback(self._settings.admin_socket.unlink, missing_ok=True)
        self._doors.push_async_callback(runner.cleanup)
        runner, port = await admin.serve_port(
            admin.public(self._registry, self._readiness),
            self._settings.metrics_address,
            self._settings.metrics_port,
        )
        self._doors.push_async_callback(runner.cleanup)
        log.info(
            "admin listening",
            extra={
                "socket": self._settings.admin_socket,
                "metrics": at(self._settings.metrics_address, port),
            },
        )

    async def _serve(self, group: asyncio.TaskGroup) -> None:
        """Open the ports once there is something to serve, then keep what they present fresh."""
        _, accepted = await self._worlds.accepted.newer_than(0)
        self._readiness.done("repository")
        if accepted is None:
            raise TypeError("nothing was accepted")
        reopen = partial(self._authority, accepted.reading.config.trust_domain)
        authority = Latest(reopen())
        keep_trust_domain(self._settings.state, authority.value.trust_domain)
        self._trust_domain = authority.value.trust_domain
        issuer = Issuer(authority, Profile(), self._clock)
        reissue = partial(server_credentials, issuer, self._hosts())
        credentials = Latest(reissue())
        bundle = Latest(_bundle(authority.value))
        presented = await asyncio.to_thread(read_credentials, self._settings.secrets_directory)
        self._trust(bundle.value, presented)
        self._readiness.done("certificates")
        await self._worlds.is_first_made.wait()
        self._readiness.done("world")
        memory.release()
        self._late = (
            group.create_task(self._fleet.run(), name="fleet"),
            group.create_task(
                run_upkeep(reopen, authority, reissue, credentials, self._clock), name="upkeep"
            ),
            group.create_task(self._follow(authority, bundle, presented), name="trust"),
        )
        context = await self._open_est(issuer, authority, credentials, bundle)
        self._late += (group.create_task(_present(context, credentials), name="est"),)
        await self._open_xds(credentials)
        self._readiness.done("ports")

    async def _follow(
        self, authority: Latest[Authority], bundle: Latest[TrustBundle], presented: Credentials
    ) -> NoReturn:
        """A CA that was replaced is told to proxies and machines, which is when they learn its roots."""
        version = 0
        while True:
            version, newest = await authority.newer_than(version)
            bundle.publish(_bundle(newest))
            self._trust(bundle.value, presented)

    def _trust(self, bundle: TrustBundle, presented: Credentials) -> None:
        self._worlds.trust.publish(Trust(bundle.trust_domain, bundle.roots, presented))

    def _check(self, reading: Reading) -> None:
        """A mesh is not moved to another trust domain by a commit: every certificate would be worthless.

        Called beside the loop, before anything is written.
        """
        wanted, ours = reading.config.trust_domain, self._trust_domain
        if ours and wanted != ours:
            raise Misconfigured(
                f"the mesh asks for trust domain {wanted!r}, the CA signs for {ours!r}",
                hint="change meshConfig.trustDomain back, or start with a new state directory",
            )

    def _authority(self, trust_domain: str) -> Authority:
        return open_authority(
            self._settings.state / _CA,
            self._clock.now(),
            trust_domain=trust_domain,
            plugged_in=self._settings.ca_directory,
        )

    def _hosts(self) -> tuple[str | ipaddress.IPv4Address | ipaddress.IPv6Address, ...]:
        own = self._settings.listen_address
        anywhere = own in ("0.0.0.0", "::")  # noqa: S104 (compared, not bound)
        names = ("localhost", "127.0.0.1", *(() if anywhere else (own,)), *self._settings.est_hosts)
        host = socket.gethostname().lower()
        everything = dict.fromkeys((*names, *((host,) if host.isascii() else ())))
        return tuple(ipaddress.ip_address(name) if is_ip(name) else name for name in everything)

    async def _open_xds(self, credentials: Latest[ServerCredentials]) -> None:
        sessions = Sessions(bodies=Bodies(), metrics=Metrics(self._registry), jitter=random.random)
        self._server = Server(self._fleet, sessions, self._clock)
        port = await self._server.start(
            at(self._settings.listen_address, self._settings.xds_port), _Certificates(credentials)
        )
        log.info("xds listening", extra={"address": at(self._settings.listen_address, port)})

    async def _open_est(
        self,
        issuer: Issuer,
        authority: Latest[Authority],
        credentials: Latest[ServerCredentials],
        bundle: Latest[TrustBundle],
    ) -> ssl.SSLContext:
        """Serve enrolment. Returns what the port presents, to be kept fresh."""
        context = server_context(credentials.value)
        app = application(
            issuer=issuer,
            tokens=JoinTokens(self._settings.state / FOLDER),
            trust=bundle,
            counters=Counters(self._registry, authority),
            clock=self._clock,
        )
        runner, port = await admin.serve_port(
            app, self._settings.listen_address, self._settings.est_port, ssl_context=context
        )
        self._doors.push_async_callback(runner.cleanup)
        log.info("est listening", extra={"address": at(self._settings.listen_address, port)})
        return context

    def _proxies(self) -> dict[str, Any]:
        connections = self._server.connections if self._server is not None else ()
        return status.proxies(connections, self._fleet)

    def _resources(self, name: str, type_url: str) -> list[dict[str, Any]] | None:
        found = next((member for member in self._fleet.members if member.proxy.id == name), None)
        return status.resources(found, type_url, self._worlds) if found is not None else None
