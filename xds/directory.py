"""What the server needs of the mesh, in the server's own words.

The reconciler hands in the objects. A :class:`Membership` is one connected proxy's share of the
world: what it shall have, as a value that is replaced, and an ear for what it says of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mesh.identity import SpiffeId
from mesh.latest import Latest
from mesh.proxies import NodeId, Proxy
from xds.resources import Assignment, Part


@dataclass(frozen=True, slots=True)
class Caller:
    """Who opened the connection, proven by the certificate: its identity and its subject's common name."""

    identity: SpiffeId
    machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One resource that one proxy would not take. ``message`` is Envoy's, for people, on one line.

    ``name`` is empty when each of the response's resources was taken alone and refused together.
    """

    type_url: str
    name: str
    version: str
    message: str


class Membership(Protocol):
    """One connected proxy."""

    @property
    def proxy(self) -> Proxy: ...

    @property
    def assignment(self) -> Latest[Assignment]:
        """What the proxy shall have now."""
        ...

    @property
    def held(self) -> Mapping[str, tuple[Part, ...]]:
        """By type, what :meth:`acknowledged` told last; nothing when that is to be told again."""
        ...

    def acknowledged(self, type_url: str, parts: tuple[Part, ...]) -> None:
        """The proxy holds exactly these."""
        ...

    def refused(self, refusal: Refusal) -> None:
        """A culprit was found."""
        ...

    def leave(self) -> None:
        """The stream has ended."""
        ...


class Directory(Protocol):
    """Everybody who may connect. Joining may wait until what the proxy shall have is made."""

    async def join(self, node: NodeId, metadata: Mapping[str, Any], caller: Caller) -> Membership:
        """:raises Refused: when this caller may not be this node, or what it shall have cannot be made."""
        ...
