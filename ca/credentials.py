"""The control plane's own certificate, and when it is renewed.

Its key lives in memory only: a restarted control plane makes a new one, and proxies pin the
identity, not the key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric import ec

from ca import minting, rotation
from ca.authority import Authority
from ca.issuance import Issuer
from ca.requests import Request
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.latest import Latest

log = logging.getLogger(__name__)

# Between two attempts, when one fails or the CA itself is about to end.
_PAUSE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCredentials:
    """What a server needs to prove itself and to verify its callers. Equal when the chain is."""

    key_pem: bytes = field(repr=False, compare=False)
    chain_pem: bytes
    roots_pem: bytes
    not_before: datetime
    not_after: datetime
    renew_at: datetime

    def is_due(self, now: datetime) -> bool:
        """Also when it is not valid yet: it was made before the clock was set back."""
        return now >= self.renew_at or now < self.not_before


def server_credentials(
    issuer: Issuer, hosts: Iterable[str | IPv4Address | IPv6Address] = ()
) -> ServerCredentials:
    """A new key and a certificate for the control plane's identity.

    :param hosts: names and addresses for EST clients that check those; our own program and Envoy
        pin the identity and need none.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    chain = issuer.sign(issuer.vet_control_plane(Request(key.public_key()), hosts))
    return ServerCredentials(
        key_pem=minting.key_pem(key),
        chain_pem=chain.pem,
        roots_pem=minting.pem(*issuer.authority.roots),
        not_before=chain.leaf.not_valid_before_utc,
        not_after=chain.leaf.not_valid_after_utc,
        renew_at=rotation.half_life(chain.leaf.not_valid_before_utc, chain.leaf.not_valid_after_utc),
    )


async def run_upkeep(
    reopen: Callable[[], Authority],
    authority: Latest[Authority],
    reissue: Callable[[], ServerCredentials],
    credentials: Latest[ServerCredentials],
    clock: Clock,
) -> NoReturn:
    """Keeps the signing chain and the control plane's own certificate younger than half their life.

    Wakes at least hourly and looks at the wall clock, which may have jumped meanwhile, and at the
    CA's files, which may have been replaced. What fails (a full disk, a directory that is just being
    replaced) is tried again, and what is in force stays: it has half of its life left.
    """
    while True:
        wait = rotation.wait_until(credentials.value.renew_at, clock.now())
        await clock.sleep(max(wait, _PAUSE))
        before = authority.version
        try:
            authority.publish(await asyncio.to_thread(reopen))
            if authority.version != before or credentials.value.is_due(clock.now()):
                credentials.publish(reissue())
                log.info(
                    "server certificate renewed", extra={"until": credentials.value.not_after.isoformat()}
                )
        except MeshError as error:
            log.warning("certificates not renewed", extra={"reason": str(error), "hint": error.hint})
