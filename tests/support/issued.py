"""Certificates that the CA of a running control plane would have issued, and channels that show them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
from cryptography.hazmat.primitives.asymmetric import ec

from ca import minting
from ca.authority import open_authority
from ca.callers import Caller
from ca.issuance import Issuer
from ca.profile import Profile
from ca.requests import Request
from mesh.clock import SystemClock
from mesh.identity import SpiffeId
from mesh.latest import Latest

TRUST_DOMAIN = "cluster.local"


class Issued:
    """Signs with the CA in a state directory, as the control plane does; makes it where there is none."""

    def __init__(self, state: Path, lifetime: timedelta = timedelta(hours=1)) -> None:
        clock = SystemClock()
        authority = open_authority(state / "ca", clock.now(), trust_domain=TRUST_DOMAIN)
        self._issuer = Issuer(Latest(authority), Profile(lifetime=lifetime), clock)
        self.roots = minting.pem(*authority.roots)

    def pair(self, account: str, name: str) -> tuple[bytes, bytes]:
        """Key and chain for ``<namespace>/<service account>`` on a machine of that name."""
        namespace, _, service_account = account.partition("/")
        key = ec.generate_private_key(ec.SECP256R1())
        caller = Caller(SpiffeId(TRUST_DOMAIN, namespace, service_account), name)
        return minting.key_pem(key), self._issuer.issue(Request(key.public_key()), caller).pem

    def channel(self, port: int, account: str, name: str) -> grpc.aio.Channel:
        return channel(port, self.roots, self.pair(account, name))


def channel(port: int, roots: bytes, pair: tuple[bytes, bytes] | None) -> grpc.aio.Channel:
    """To a control plane on this machine; without a pair it shows no certificate."""
    credentials = grpc.ssl_channel_credentials(roots, *(pair or (None, None)))
    return grpc.aio.secure_channel(
        f"localhost:{port}", credentials, options=[("grpc.use_local_subchannel_pool", 1)]
    )
