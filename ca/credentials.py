"""The control plane's own certificate, and when it is renewed.

Its key lives in memory only: a restarted control plane makes a new one, and proxies pin the
identity, not the key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric import ec

from ca import minting, rotation
from ca.authority import Authority
from ca.issuance import Issuer
from ca.requests import Request
from mesh.clock import Clock
from mesh.latest import Latest

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCredentials:
    """What a server needs to prove itself and to verify its callers. Equal when the chain is."""

    key_pem: bytes = field(repr=False, compare=False)
    chain_pem: bytes
    roots_pem: bytes
    not_after: datetime
    renew_at: datetime


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

    Wakes at least hourly and looks at the wall clock, which may have jumped meanwhile.
    """
    while True:
        await clock.sleep(rotation.wait_until(credentials.value.renew_at, clock.now()))
        authority.publish(await asyncio.to_thread(reopen))
        if clock.now() >= credentials.value.renew_at:
            credentials.publish(reissue())
            log.info("server certificate renewed", extra={"until": credentials.value.not_after.isoformat()})
