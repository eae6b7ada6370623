"""What can be seen of a sidecar from outside: what its Envoy has, since when, and whom it lets in."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import aiohttp

from mesh.clock import Clock
from mesh.errors import Unavailable
from reconciler.demo.hybrid import patience
from reconciler.demo.workloads import Workload

ASK_TIMEOUT_S = 10.0
KNOCK_TIMEOUT_S = 5.0
_BEAT = timedelta(milliseconds=3)
_LAST_UPDATED = re.compile(r'"last_updated": "([^"]+)"')


@dataclass(slots=True)
class Admin:
    """The admin ports of the demo's Envoys. Owns its connections; used by one task."""

    clock: Clock
    session: aiohttp.ClientSession = field(repr=False)

    async def endpoints(self, of: Workload, host: str) -> frozenset[str]:
        """Where the proxy of a workload knows a service: ``address:port``."""
        return endpoints(await self._ask(of, "/clusters"), host)

    async def taken_at_ms(self, of: Workload) -> int:
        """When its proxy took the newest of what it has, by its own clock."""
        stamps = _LAST_UPDATED.findall(await self._ask(of, "/config_dump"))
        newest = max(datetime.fromisoformat(stamp) for stamp in stamps)
        return round(newest.timestamp() * 1000)

    async def until(
        self, of: Workload, host: str, holds: Callable[[frozenset[str]], bool], limit: timedelta
    ) -> int:
        """Wait until the endpoints are as they shall be: when that was seen (UNIX milliseconds)."""

        async def look() -> int | None:
            known = await self.endpoints(of, host)
            return round(self.clock.now().timestamp() * 1000) if holds(known) else None

        awaited = f"other endpoints of {host} at {of.name}"
        return await patience.until(awaited, look, self.clock, limit=limit, beat=_BEAT)

    async def _ask(self, of: Workload, path: str) -> str:
        url = f"http://{of.own_address or of.address}:{of.proxy_ports.admin}{path}"
        try:
            async with self.session.get(url, timeout=aiohttp.ClientTimeout(total=ASK_TIMEOUT_S)) as response:
                response.raise_for_status()
                return await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"the Envoy of {of.name} did not answer {path}: {error!r}") from error


def endpoints(clusters: str, host: str) -> frozenset[str]:
    """Of a service, in what Envoy says of its clusters: lines ``<cluster>::<address>:<port>::<what>``."""
    found = (line.split("::") for line in clusters.splitlines())
    return frozenset(
        parts[1]
        for parts in found
        # Lines of the cluster itself have a word where an endpoint would be.
        if len(parts) > 3 and parts[0].endswith(f"|{host}") and ":" in parts[1]
    )


async def answers_without_tls(of: Workload) -> bool:
    """Whether the sidecar of a workload lets in a caller who speaks plain HTTP."""
    try:
        async with asyncio.timeout(KNOCK_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(of.address, of.port)
            try:
                writer.write(b"GET / HTTP/1.1\r\nHost: anybody\r\n\r\n")
                return bool(await reader.read(1))
            finally:
                writer.close()
    except ConnectionResetError:
        return False
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"nobody listens before {of.name}: {error!r}") from error
