"""A delta xDS server that does the least it can: everything asked for is answered at once.

A stream that returns with everything it should have is sent nothing, not even an empty response.

For tests of clients. It knows nothing of phases, refusals or who is asking; it keeps what it heard, so
that a test can say what a client did.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Any

import grpc

from ca.credentials import ServerCredentials
from xds import envoy

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_EOF: Any = vars(grpc.aio)["EOF"]  # the type stubs do not know it
_Request = envoy.message("envoy.service.discovery.v3.DeltaDiscoveryRequest")
_Response = envoy.message("envoy.service.discovery.v3.DeltaDiscoveryResponse")


def version_of(resource: Any) -> str:
    return blake2b(envoy.serialised(resource), digest_size=8).hexdigest()


class _Stream:
    """One client: what it subscribed to, what it has, and the types it asked for on this connection."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.wanted: dict[str, set[str]] = {}
        self.has: dict[str, dict[str, str]] = {}
        self.nonce = 0
        self.writing = asyncio.Lock()


class DeltaServer:
    """``world`` is by type URL and name; change it, then call :meth:`push`."""

    def __init__(self, world: dict[str, dict[str, Any]]) -> None:
        self.world = world
        self.port = 0
        self.requests: list[Any] = []
        self._streams: set[_Stream] = set()

    async def push(self) -> None:
        """Send to every stream what it wants and does not have."""
        for stream in self._streams:
            for type_url in stream.wanted:
                await self._answer(stream, type_url, set(), must=False)

    async def converse(self, _requests: object, context: Any) -> None:
        stream = _Stream(context)
        self._streams.add(stream)
        try:
            while (request := await context.read()) is not _EOF:
                self.requests.append(request)
                await self._hear(stream, request)
        finally:
            self._streams.discard(stream)

    async def _hear(self, stream: _Stream, request: Any) -> None:
        is_first = request.type_url not in stream.wanted
        wanted = stream.wanted.setdefault(request.type_url, set())
        if is_first:
            stream.has[request.type_url] = dict(request.initial_resource_versions)
        wanted |= set(request.resource_names_subscribe)
        wanted -= set(request.resource_names_unsubscribe)
        asked = set(request.resource_names_subscribe) - request.initial_resource_versions.keys()
        if is_first or asked:
            is_fresh = is_first and not request.initial_resource_versions
            await self._answer(stream, request.type_url, asked, must=is_fresh)

    async def _answer(self, stream: _Stream, type_url: str, asked: set[str], *, must: bool) -> None:
        there: Mapping[str, Any] = self.world.get(type_url, {})
        wanted, has = stream.wanted[type_url] or set(there), stream.has[type_url]
        send = {
            name: there[name]
            for name in wanted & there.keys()
            if name in asked or has.get(name) != version_of(there[name])
        }
        removed = sorted((has.keys() | asked) - there.keys())
        if not send and not removed and not must:
            return
        stream.nonce += 1
        response = _Response(type_url=type_url, nonce=f"n{stream.nonce}", removed_resources=removed)
        for name, resource in sorted(send.items()):
            has[name] = version_of(resource)
            response.resources.add(name=name, version=has[name]).resource.CopyFrom(envoy.packed(resource))
        for name in removed:
            has.pop(name, None)
        async with stream.writing:  # a push and an answer may meet; gRPC takes one message at a time
            await stream.context.write(response)


@asynccontextmanager
async def delta_server(
    world: dict[str, dict[str, Any]], credentials: ServerCredentials
) -> AsyncIterator[DeltaServer]:
    """The server on a free loopback port, for callers with a certificate of the same CA."""
    server, fake = grpc.aio.server(), DeltaServer(world)
    handler = grpc.stream_stream_rpc_method_handler(
        fake.converse,
        request_deserializer=_Request.FromString,
        response_serializer=_Response.SerializeToString,
    )
    service, method = _METHOD.strip("/").split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    proof = grpc.ssl_server_credentials(
        [(credentials.key_pem, credentials.chain_pem)],
        root_certificates=credentials.roots_pem,
        require_client_auth=True,
    )
    fake.port = server.add_secure_port("127.0.0.1:0", proof)
    await server.start()
    try:
        yield fake
    finally:
        await server.stop(grace=1)
