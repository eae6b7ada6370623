"""A delta ADS client that speaks bytes: what a stream sees, and nothing that Envoy would decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import grpc
import grpc.aio

from xds import envoy

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


def a_request(
    type_url: str,
    *,
    node: str = "",
    subscribe: Sequence[str] = (),
    unsubscribe: Sequence[str] = (),
    versions: Mapping[str, str] | None = None,
    nonce: str = "",
    error: str = "",
) -> Any:
    """A DeltaDiscoveryRequest."""
    request = envoy.message("envoy.service.discovery.v3.DeltaDiscoveryRequest")(
        type_url=type_url,
        resource_names_subscribe=subscribe,
        resource_names_unsubscribe=unsubscribe,
        initial_resource_versions=versions or {},
        response_nonce=nonce,
    )
    if node:
        request.node.id = node
    if error:
        request.error_detail.message = error
    return request


def read_response(message: bytes) -> Any:
    """A DeltaDiscoveryResponse, parsed."""
    return envoy.message("envoy.service.discovery.v3.DeltaDiscoveryResponse").FromString(message)


class AdsClient:
    """One stream. ``async with AdsClient(channel) as client``."""

    def __init__(self, channel: grpc.aio.Channel, node: str) -> None:
        self._call: Any = channel.stream_stream(METHOD)()
        self._node = node

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()

    async def ask(self, type_url: str, **words: Any) -> None:
        """Send one request; the node goes with the first."""
        request = a_request(type_url, node=self._node, **words)
        self._node = ""
        await self._call.write(request.SerializeToString())

    async def hear(self) -> Any:
        """The next response. Raises ``grpc.aio.AioRpcError`` when the stream was ended."""
        message = await self._call.read()
        if message is grpc.aio.EOF:
            raise EOFError(await self._call.details())
        return read_response(message)

    async def acknowledge(self, response: Any) -> None:
        await self.ask(response.type_url, nonce=response.nonce)

    async def refuse(self, response: Any, error: str = "no") -> None:
        await self.ask(response.type_url, nonce=response.nonce, error=error)

    async def take(self) -> Any:
        """The next response, acknowledged."""
        response = await self.hear()
        await self.acknowledge(response)
        return response

    async def end(self) -> tuple[grpc.StatusCode, str]:
        """Wait for the server to end the stream; its status and its words."""
        return await self._call.code(), await self._call.details()
