"""Builds everything and runs it in one task group. The only place that knows all rooms.

The order is that of trust: what was accepted, then the CA of its trust domain, then the first world, then the
ports. Nothing is served before the first world is made, so a restart withdraws nothing. If a task that never
ends does, all end: a half-alive control plane is worse than a restarted one.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import random
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from prometheus_client import CollectorRegistry, disable_created_metrics

from ca.authority import Authority, open_authority
from ca.counters import Counters
from ca.credentials import run_upkeep, server_credentials
from ca.est import application
from ca.issuance import Issuer
from ca.istio import CertificateService
from ca.profile import Profile
from ca.tokens import JoinTokens
from ca.trust import TrustBundle
from mesh.clock import Clock
from mesh.errors import MeshError, Misconfigured, Refused
from mesh.latest import Latest
from mesh.names import is_loopback
from mesh.services import GIT
from mesh.world import Trust
from reconciler import admin, memory, ports, registry_report, status
from reconciler.acceptance import Accepted
from reconciler.counters import expose
from reconciler.cycle import Bell, CycleStatus, run_cycle
from reconciler.fetching import Remote, redacted
from reconciler.gateway_secrets import GatewaySecrets
from reconciler.loop import run_stall_watch
from reconciler.reading import Reader, Reading
from reconciler.registering import common, opener, secrets_opener
from reconciler.schedule import Schedule
from reconciler.settings import Settings, at, read_credentials
from reconciler.steps import Desk, start, steps
from reconciler.token_port import PodClusters, open_token_port
from reconciler.tokens import FOLDER, keep_trust_domain, kept_trust_domain
from reconciler.worlds import Worlds
from registries.drops import Moment
from registries.enrolment import Enrolment
from registries.kept import KeptAnswers
from registries.roster import Roster
from registries.source import SourceStatus
from registries.sources import Configured, Sources
from registries.waits import first
from xds.bodies import Bodies
from xds.fleet import Fleet
from xds.metrics import Metrics
from xds.server import Server
from xds.session import Settings as Sessions

log = logging.getLogger(__name__)

_DRAIN = timedelta(seconds=5)
_CA = "ca"
_ENROLLED = "enrolled.json"
_ANSWERS = "registries.sqlite"


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


class _Daemon:
    """Everything of one control plane. Lives as long as :meth:`run`."""

    def __init__(self, settings: Settings, clock: Clock, doors: AsyncExitStack) -> None:
        self._settings, self._clock, self._doors = settings, clock, doors
        self._registry = CollectorRegistry()
        self._readiness = admin.Readiness("repository", "registries", "certificates", "world", "ports")
        self._bell = Bell()
        roster: Latest[Roster] = Latest(())
        self._configured: Latest[Configured | None] = Latest(None)
        kept = KeptAnswers(settings.state / _ANSWERS)
        doors.callback(kept.close)
        self._sources = Sources(self._configured, opener(settings.registries_directory, clock), kept, clock)
        self._worlds = Worlds(clock, roster, self._sources.answers, self._sources.is_ready)
        self._secrets = GatewaySecrets(
            self._worlds.latest, secrets_opener(settings.registries_directory, clock), clock
        )
        self._enrolment = Enrolment(
            clock,
            self._worlds.latest,
            roster,
            file=settings.state / _ENROLLED,
            is_one_host=is_loopback(settings.listen_address),
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
            publish=self._offer,
            clock=clock,
        )

    async def run(self, stopped: asyncio.Event) -> None:
        expose(self._registry, self._fleet, self._worlds)
        keeper = self._sources.keeper
        self._registry.register(
            registry_report.Metrics(self._statuses, self._clock, keep_failures=lambda: keeper.failures)
        )
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
                    "registries": self._sources.run(),
                    "worlds": self._worlds.run(),
                    "gateway secrets": self._secrets.run(),
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
                status=self._status,
                registries=self._registries,
                release=self._release,
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
        reissue = partial(server_credentials, issuer, ports.names(self._settings))
        credentials = Latest(reissue())
        bundle = Latest(_bundle(authority.value))
        self._secrets.keep(await asyncio.to_thread(read_credentials, self._settings.secrets_directory))
        self._trust(bundle.value)
        self._readiness.done("certificates")
        await self._sources.is_ready.wait()
        self._readiness.done("registries")
        await self._worlds.is_first_made.wait()
        await self._secrets.settled()
        self._trust(bundle.value)
        await self._worlds.caught_up()
        self._readiness.done("world")
        memory.release()
        self._late = (
            group.create_task(self._fleet.run(), name="fleet"),
            group.create_task(
                run_upkeep(reopen, authority, reissue, credentials, self._clock), name="upkeep"
            ),
            group.create_task(self._follow(authority, bundle), name="trust"),
        )
        tokens, counters = JoinTokens(self._settings.state / FOLDER), Counters(self._registry, authority)
        enrolment = application(
            issuer=issuer, tokens=tokens, trust=bundle, counters=counters, clock=self._clock
        )
        presented_there = await ports.open_est(self._settings, enrolment, credentials, self._doors)
        self._late += (group.create_task(ports.present_newest(presented_there, credentials), name="est"),)
        service = CertificateService(
            issuer=issuer,
            tokens=tokens,
            clusters=PodClusters(self._configured, self._settings.registries_directory, self._clock),
            counters=counters,
            clock=self._clock,
        )
        await open_token_port(self._settings, service, credentials, self._doors)
        sessions = Sessions(bodies=Bodies(), metrics=Metrics(self._registry), jitter=random.random)
        self._server = Server(self._fleet, sessions, self._clock)
        self._server.add(service.methods())
        await ports.open_xds(self._settings, self._server, credentials)
        self._readiness.done("ports")

    async def _follow(self, authority: Latest[Authority], bundle: Latest[TrustBundle]) -> NoReturn:
        """A CA that was replaced is told to proxies and machines, which is when they learn its roots.

        A certificate that was replaced is told to the gateways that present it.
        """
        authorities = presented = -1
        while True:
            await first(authority.newer_than(authorities), self._secrets.credentials.newer_than(presented))
            authorities, presented = authority.version, self._secrets.credentials.version
            bundle.publish(_bundle(authority.value))
            self._trust(bundle.value)

    def _trust(self, bundle: TrustBundle) -> None:
        presented = self._secrets.credentials.value
        self._worlds.trust.publish(Trust(bundle.trust_domain, bundle.roots, presented))

    def _offer(self, accepted: Accepted[Reading]) -> None:
        """What was accepted names the registries, and is what the next world is made of."""
        config = accepted.reading.config
        self._configured.publish(Configured(config.mesh.registries, config.mesh.guards, common(config)))
        self._worlds.offer(accepted)

    def _release(self, name: str) -> dict[str, Any]:
        """The operator's word for what is held of a registry, or of the repository.

        :raises Refused: when nothing is.
        """
        if name != GIT:
            return registry_report.released(self._sources.release(name))
        objects = self._desk.release()
        self._bell.ring()
        if not objects:
            raise Refused("no removal of the repository is held")
        return {"registry": GIT, "was_awaited": False, "held": objects}

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

    def _status(self) -> dict[str, Any]:
        return status.status(
            self._cycle.value,
            self._fleet,
            self._worlds,
            self._statuses(),
            Moment.of(self._clock),
        )

    def _statuses(self) -> tuple[SourceStatus, ...]:
        return self._secrets.remarked(self._sources.statuses.value)

    def _registries(self) -> dict[str, Any]:
        return {"registries": registry_report.report(self._statuses(), Moment.of(self._clock))}

    def _proxies(self) -> dict[str, Any]:
        connections = self._server.connections if self._server is not None else ()
        return status.proxies(connections, self._fleet)

    def _resources(self, name: str, type_url: str) -> list[dict[str, Any]] | None:
        found = next((member for member in self._fleet.members if member.proxy.id == name), None)
        return status.resources(found, type_url, self._worlds) if found is not None else None
