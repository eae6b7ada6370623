"""Port 15011: where Pods prove themselves by their ServiceAccount's token (DESIGN 3.3).

Which clusters there are is asked anew for each token, so that a registry that was added is known at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from ca.accounts import Cluster
from ca.credentials import ServerCredentials
from ca.istio import CertificateService, TokenPort
from mesh.clock import Clock
from mesh.errors import Misconfigured, Refused, Unavailable
from mesh.kinds.registry_kubernetes import Kubernetes
from mesh.latest import Latest
from reconciler.registering import kubernetes_access
from reconciler.settings import Settings, at
from registries.kubernetes.access import Access
from registries.kubernetes.client import Client, Limits
from registries.kubernetes.review import Reviewed, TokenReviews
from registries.sources import Configured

log = logging.getLogger(__name__)

_DISCOVERY: Final = "/.well-known/openid-configuration"
_LIMITS: Final = Limits(connect=5, answer=5, answer_bytes=64 * 1024)
# An issuer changes when a cluster is made anew; one that could not be learnt is asked for again soon.
_KNOWN_SECONDS, _UNKNOWN_SECONDS = 3600.0, 60.0
# Whoever reaches the port can have a cluster asked; it is asked by a few at a time, the others wait.
REVIEWS_MAX = 4


class PodClusters:
    """The judges of the clusters that are registries now. Owned by the daemon."""

    def __init__(self, configured: Latest[Configured | None], directory: Path | None, clock: Clock) -> None:
        """:param directory: where the operator keeps the credentials that ``secretRef`` names."""
        self._configured, self._directory, self._clock = configured, directory, clock
        self._judges: dict[str, tuple[Kubernetes, ApiServer]] = {}

    def __call__(self) -> Sequence[Cluster]:
        """One for each. What was learnt of a cluster stays as long as its settings do."""
        kept, self._judges = self._judges, {}
        configured = self._configured.value
        for registry in configured.registries if configured is not None else ():
            if (settings := registry.kubernetes) is None:
                continue
            known, judge = kept.get(registry.name, (None, None))
            if judge is None or known != settings:
                access = kubernetes_access(settings, self._directory, self._clock)
                judge = ApiServer(access, self._clock)
            self._judges[registry.name] = settings, judge
        return tuple(
            Cluster(name=name, judge=judge, trust_domain=settings.trust_domain)
            for name, (settings, judge) in self._judges.items()
        )


class ApiServer:
    """The judge of one cluster's tokens: :class:`ca.accounts.Judge`."""

    def __init__(self, access: Access, clock: Clock) -> None:
        self._access, self._clock = access, clock
        self._reviews = TokenReviews(access)
        self._issuer, self._until = "", 0.0
        self._reviewing = asyncio.Semaphore(REVIEWS_MAX)
        self._learning = asyncio.Semaphore(1)

    async def review(self, token: str, audience: str) -> Reviewed:
        async with self._reviewing:
            return await self._reviews.review(token, audience)

    async def issuer(self) -> str:
        """From its OpenID discovery, which every ServiceAccount may read in a usual cluster."""
        # Many may ask at once, and each of them waits for the first one's answer.
        async with self._learning:
            if self._clock.monotonic() >= self._until:
                self._issuer = await self._discovered() or self._issuer
                seconds = _KNOWN_SECONDS if self._issuer else _UNKNOWN_SECONDS
                self._until = self._clock.monotonic() + seconds
            return self._issuer

    async def _discovered(self) -> str:
        try:
            credentials = await self._access.read()
            async with await asyncio.to_thread(Client, credentials, _LIMITS) as client:
                said = (await client.get(_DISCOVERY, {})).get("issuer")
        except (Unavailable, Refused, Misconfigured) as error:
            log.warning("issuer of a cluster's tokens not learnt", extra={"reason": str(error)})
            return ""
        return said if isinstance(said, str) else ""


async def open_token_port(
    settings: Settings,
    service: CertificateService,
    credentials: Latest[ServerCredentials],
    doors: AsyncExitStack,
) -> None:
    """Serve who has a token, until the doors are closed.

    :raises Misconfigured: when the address cannot be had.
    """
    port = TokenPort(service)
    number = await port.start(at(settings.listen_address, settings.token_port), credentials)
    doors.push_async_callback(port.stop)
    log.info("tokens listening", extra={"address": at(settings.listen_address, number)})
