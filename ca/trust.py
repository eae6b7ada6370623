"""Trust bundles and trust-domain aliases.

A bundle is a set: its order and the line endings it was written with are not part of it, so a
root that is merely spelled differently is no news for any proxy, and a new one always is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustBundle:
    """Which roots vouch for which trust domain. Equality is that of ``generation`` alone."""

    trust_domain: str = field(compare=False)
    roots: tuple[str, ...] = field(compare=False)
    aliases: tuple[str, ...] = field(compare=False)
    generation: bytes

    @classmethod
    def of(cls, trust_domain: str, roots: Iterable[x509.Certificate], aliases: Iterable[str] = ()) -> Self:
        pems = tuple(sorted({root.public_bytes(Encoding.PEM).decode() for root in roots}))
        others = tuple(sorted(set(aliases) - {trust_domain}))
        digest = hashlib.blake2b(digest_size=8)
        for part in (trust_domain, *others, "", *pems):
            digest.update(part.encode() + b"\0")
        return cls(trust_domain=trust_domain, roots=pems, aliases=others, generation=digest.digest())

    @property
    def pem(self) -> str:
        """All roots, as one file of PEM blocks."""
        return "".join(self.roots)
