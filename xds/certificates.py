"""What SDS needs from a CA, in SDS's own words.

Also what the server's own port needs. The reconciler hands in objects of the CA's room that fit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCertificate:
    """The server's key and chain, and the roots that callers' certificates must lead to. PEM.

    Compared by value, so that handing in an equal one again changes nothing.
    """

    key: bytes = field(repr=False)
    chain: bytes
    roots: bytes


class ServerCertificates(Protocol):
    """The certificate in force. Asked at every handshake, so it answers from memory."""

    def current(self) -> ServerCertificate: ...
