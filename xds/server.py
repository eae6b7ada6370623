"""gRPC around sessions. Reads, writes, decides nothing.

One stream is three tasks: one reads requests into the session, one follows the proxy's assignment, one
writes what the session has to say. They share nothing but the session and a bell. Messages pass as
bytes. No interceptors, and no cancellation is swallowed: grpc.aio leaks the call otherwise
(grpc#43360).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from google.protobuf import json_format

from mesh.clock import Clock
from mesh.errors import MeshError, Misconfigured, Refused, Unavailable
from mesh.identity import SpiffeId
from mesh.proxies import NodeId
from xds.admission import ByteBudget, NotAdmitted, Reason, Turnstile
from xds.certificates import ServerCertificate, ServerCertificates
from xds.directory import Caller, Directory, Membership
from xds.session import Session, Settings, TypeStatus, parse

log = logging.getLogger(__name__)

_EOF: Any = vars(grpc.aio)["EOF"]  # the type stubs do not know it

# A proxy that goes away cancels the handler, and grpc.aio logs that as an error with its trace.
logging.getLogger("grpc._cython.cygrpc").addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))
)

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """How the port behaves. The numbers are argued in DESIGN D4."""

    write_limit: timedelta = timedelta(seconds=20)
    first_request_limit: timedelta = timedelta(seconds=10)
    connection_age_max: timedelta = timedelta(minutes=30)
    connection_grace: timedelta = timedelta(seconds=10)
    streams_starting_max: int = 64
    bytes_in_flight_max: int = 64 * 1024 * 1024

    def options(self) -> list[tuple[str, int]]:
        """The channel arguments of gRPC."""
        return [
            ("grpc.http2.bdp_probe", 0),  # no ping per burst of data: 89 instead of 150 µs per push
            ("grpc.max_receive_message_length", 32 * 1024 * 1024),  # initial_resource_versions
            ("grpc.server.max_pending_requests", 100_000),  # above 1,000 streams are reset otherwise
            ("grpc.server.max_pending_requests_hard_limit", 200_000),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            # Certificates are looked at when a connection is made; so none lives for ever. gRPC spreads
            # the age by a tenth in both directions.
            ("grpc.max_connection_age_ms", _milliseconds(self.connection_age_max)),
            ("grpc.max_connection_age_grace_ms", _milliseconds(self.connection_grace)),
            ("grpc.so_reuseport", 0),  # a second control plane on this port is a mistake, not a helper
        ]


def _milliseconds(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One connected proxy, for those who ask who is there."""

    membership: Membership
    session: Session
    since: datetime
    certificate_end: datetime | None

    @property
    def types(self) -> tuple[TypeStatus, ...]:
        return self.session.status()


class Server:
    """The xDS port. Owned by the daemon."""

    def __init__(
        self, directory: Directory, settings: Settings, clock: Clock, transport: Transport | None = None
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._clock = clock
        self._transport = transport or Transport()
        self._turnstile = Turnstile(self._transport.streams_starting_max)
        self._budget = ByteBudget(self._transport.bytes_in_flight_max)
        self._connections: dict[int, Connection] = {}
        self._closing = asyncio.Event()
        self._grpc = grpc.aio.server(options=self._transport.options())
        self._grpc.add_generic_rpc_handlers((self._methods(),))

    @property
    def connections(self) -> tuple[Connection, ...]:
        return tuple(self._connections.values())

    def _methods(self) -> grpc.GenericRpcHandler[Any, Any]:
        return grpc.method_handlers_generic_handler(
            _SERVICE,
            {
                "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._stream),
                "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(_only_delta),
            },
        )

    def add(self, service: grpc.GenericRpcHandler[Any, Any]) -> None:
        """Serve something else on the same port. Before :meth:`start`."""
        self._grpc.add_generic_rpc_handlers((service,))

    async def start(self, address: str, certificates: ServerCertificates) -> int:
        """Listen with mutual TLS; returns the port. Certificates are taken anew at each handshake.

        :raises Misconfigured: when the address cannot be had.
        """
        try:
            port = self._grpc.add_secure_port(address, _credentials(certificates))
        except RuntimeError as error:
            raise Misconfigured(f"cannot listen on {address!r}", hint="is the port in use?") from error
        await self._grpc.start()
        return port

    async def drain(self, limit: timedelta) -> None:
        """Stop accepting, end every stream between two messages, and after ``limit`` those that are left.

        A proxy keeps what it has and comes back when somebody answers.
        """
        self._closing.set()
        await self._grpc.stop(limit.total_seconds())

    async def _stream(self, _requests: Any, context: Any) -> None:
        try:
            async with AsyncExitStack() as departures:
                session, membership = await self._open(context, departures)
                await self._converse(session, membership, context)
        except asyncio.CancelledError as gone:
            # The trace and the task group's frame hold each other, and with them all of the stream: until
            # the garbage is collected, or for ever when it is frozen first (reconciler/memory.py).
            raise gone.with_traceback(None) from None
        except NotAdmitted as refused:
            await self._refuse(context, grpc.StatusCode.PERMISSION_DENIED, refused, refused.reason)
        except Refused as refused:
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, refused, Reason.MALFORMED)
        except Unavailable as slow:
            log.warning("stream given up", extra={"reason": str(slow), "peer": context.peer()})
            # No status can follow a message that is still being written: the call is dropped.
            raise asyncio.CancelledError from slow

    async def _refuse(self, context: Any, code: grpc.StatusCode, refused: Refused, reason: Reason) -> None:
        self._settings.metrics.refused(reason)
        log.warning("stream refused", extra={"reason": str(refused), "peer": context.peer()})
        await context.abort(code, str(refused))

    async def _open(self, context: Any, departures: AsyncExitStack) -> tuple[Session, Membership]:
        """:raises Refused: when the caller may not be who it says.

        :raises Unavailable: when it does not read.
        """
        caller, certificate_end = _caller(context.auth_context())
        request = await self._first(context)
        node = NodeId.parse(request.node.id)
        metadata: Mapping[str, Any] = json_format.MessageToDict(request.node.metadata)
        async with self._turnstile.place(is_urgent=not request.initial_resource_versions):
            membership = await self._directory.join(node, metadata, caller)
            departures.callback(membership.leave)
            now = self._clock.monotonic()
            session = Session(membership, self._settings, now)
            session.hear(request, now)
            self._enter(session, membership, certificate_end, departures)
            await self._write_all(session, context, now)
        return session, membership

    async def _first(self, context: Any) -> Any:
        try:
            async with asyncio.timeout(self._transport.first_request_limit.total_seconds()):
                first = await context.read()
        except TimeoutError as error:
            raise Refused("no first request in time") from error
        if first is _EOF:
            raise Refused("the stream ended before its first request")
        return parse(first)

    def _enter(
        self,
        session: Session,
        membership: Membership,
        certificate_end: datetime | None,
        departures: AsyncExitStack,
    ) -> None:
        self._connections[id(session)] = Connection(
            membership=membership,
            session=session,
            since=self._clock.now(),
            certificate_end=certificate_end,
        )
        self._settings.metrics.connected.inc()
        log.info("proxy connected", extra={"proxy": membership.proxy.id})

        def depart() -> None:
            del self._connections[id(session)]
            self._settings.metrics.connected.dec()
            log.info("proxy gone", extra={"proxy": membership.proxy.id})

        departures.callback(depart)

    async def _converse(self, session: Session, membership: Membership, context: Any) -> None:
        """Until the proxy ends the stream, or the server is drained.

        :raises MeshError: the first of what its tasks raised.
        """
        bell = asyncio.Event()

        async def listen() -> None:
            while (message := await context.read()) is not _EOF:
                session.hear(parse(message), self._clock.monotonic())
                bell.set()

        async def follow() -> None:
            version, assignment = membership.assignment.version, membership.assignment.value
            while True:
                session.assign(assignment, self._clock.monotonic())
                bell.set()
                version, assignment = await membership.assignment.newer_than(version)

        async def speak() -> None:
            while True:
                bell.clear()
                asked_at = self._clock.monotonic()
                await self._write_all(session, context, asked_at)
                await self._rung(bell, session.due(asked_at))

        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                others = [group.create_task(follow()), group.create_task(speak())]
                ends = [group.create_task(listen()), group.create_task(self._closing.wait())]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for task in (*others, *ends):
                    task.cancel()
        except* MeshError as failures:
            failure = failures.exceptions[0]
        if failure is not None:
            raise failure

    async def _rung(self, bell: asyncio.Event, due: float | None) -> None:
        """Until something happened, or time alone has something to say. Timers may wake us a little early."""
        if due is None:
            await bell.wait()
            return
        try:
            async with asyncio.timeout(max(0.0, due - self._clock.monotonic())):
                await bell.wait()
        except TimeoutError:
            return

    async def _write_all(self, session: Session, context: Any, now: float) -> None:
        """:raises Unavailable: when the proxy does not read."""
        for response in session.responses(now):
            async with self._budget.spend(len(response.message)):
                try:
                    async with asyncio.timeout(self._transport.write_limit.total_seconds()):
                        await context.write(response.message)
                except TimeoutError as error:
                    self._settings.metrics.write_timeouts.inc()
                    raise Unavailable("the proxy does not read") from error


async def _only_delta(_requests: Any, context: Any) -> None:
    await context.abort(
        grpc.StatusCode.UNIMPLEMENTED, "state of the world is not served: set api_type to DELTA_GRPC"
    )


def _caller(peer: Mapping[str, Any]) -> tuple[Caller, datetime | None]:
    """Who is at the other end, by the certificate that TLS has verified.

    :raises Refused: when it names nobody, or more than one.
    """
    identities = [bytes(value).decode() for value in peer.get("peer_spiffe_id", ())]
    names = [bytes(value).decode() for value in peer.get("x509_common_name", ())]
    match identities, names:
        case [identity], [machine]:
            caller = Caller(SpiffeId.parse(identity), machine)
        case _:
            raise NotAdmitted(
                f"a certificate with {len(identities)} workload identities and {len(names)} names: refused",
                reason=Reason.IDENTITY,
            )
    for pem in peer.get("x509_pem_cert", ()):
        return caller, x509.load_pem_x509_certificate(bytes(pem)).not_valid_after_utc.astimezone(UTC)
    return caller, None


def _credentials(certificates: ServerCertificates) -> grpc.ServerCredentials:
    """Credentials that rotate: gRPC asks at each handshake, and takes None for "as before"."""
    handed_out = certificates.current()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal handed_out
        current = certificates.current()
        if current == handed_out:
            return None
        handed_out = current
        return _configuration(current)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(handed_out),
        fetch,  # type: ignore[arg-type] # the stubs do not know that None means "as before"
        require_client_authentication=True,
    )


def _configuration(certificate: ServerCertificate) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(certificate.key, certificate.chain)], root_certificates=certificate.roots
    )
