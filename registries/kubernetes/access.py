"""How an API server is reached, and by what credentials: values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from mesh.errors import Misconfigured


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where the API server is, and what is said in the TLS handshake."""

    url: str
    """``scheme://host:port``, and a path if a proxy wants one; without a slash at the end."""
    ca: str = field(default="", repr=False)
    """PEM; empty means the host's own roots."""
    name: str = ""
    """Expected in the server's certificate, when that is not the host of the URL."""
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The server, and what is said in each request. A change of the first needs a new connection.

    :raises Misconfigured: when the token can stand in no request.
    """

    server: Server
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not all("!" <= char <= "~" for char in self.token):
            raise Misconfigured(
                "the token for the API server is not one line of ASCII without spaces",
                hint="write the token alone, as kubectl create token prints it",
            )


class Access(Protocol):
    """Where credentials are read from, anew each time, so that they can be rotated."""

    async def read(self, *, is_refused: bool = False) -> Credentials:
        """The credentials in force.

        :param is_refused: the last ones were; nothing remembered is good enough.
        :raises Misconfigured: when a person has to mend something.
        :raises Unavailable: when it may work the next time.
        """
