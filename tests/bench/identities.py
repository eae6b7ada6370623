"""Certificates for a fleet, issued by the CA that the control plane will use.

The fleet is enrolled by the library instead of over EST: what enrolment costs is another measurement.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from ca import minting
from ca.authority import open_authority
from ca.callers import Caller
from ca.issuance import Issuer
from ca.profile import Profile
from ca.requests import Request
from mesh.clock import Clock
from mesh.identity import SpiffeId
from mesh.latest import Latest
from mesh.proxies import NodeId


class Fleet:
    """Issues certificates below ``state`` and writes what the load client reads into ``folder``."""

    def __init__(
        self, state: Path, folder: Path, clock: Clock, *, trust_domain: str = "cluster.local"
    ) -> None:
        authority = open_authority(state / "ca", clock.now(), trust_domain=trust_domain)
        self.issuer = Issuer(Latest(authority), Profile(), clock)
        self.roots = folder / "roots.pem"
        self.streams = folder / "streams.txt"
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.roots.write_bytes(minting.pem(*authority.roots))

    def enrol(self, proxies: Iterable[tuple[NodeId, str]]) -> None:
        """A key and a certificate for each node and its service account, and the list of streams."""
        lines = []
        for node, account in proxies:
            identity = SpiffeId(self.issuer.authority.trust_domain, node.namespace, account)
            key = ec.generate_private_key(ec.SECP256R1())
            chain = self.issuer.issue(Request(key.public_key()), Caller(identity, node.name))
            files = [self._folder / f"{node.name}.{node.namespace}.{kind}" for kind in ("pem", "key")]
            files[0].write_bytes(chain.pem)
            files[1].touch(mode=0o600)
            files[1].write_bytes(minting.key_pem(key))
            lines.append(f"{node} {files[0]} {files[1]}\n")
        self.streams.write_text("".join(lines))
