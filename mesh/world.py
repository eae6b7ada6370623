"""Config × services × trust. Immutable.

Each part has a generation of its own and is replaced only when something in it changed, so two worlds
are compared by their parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.config import Config
from mesh.services import EMPTY, Catalogue


@dataclass(frozen=True, slots=True)
class Credential:
    """A gateway's certificate chain and key in PEM, as the operator keeps them under a name."""

    chain: bytes
    key: bytes = field(repr=False)


Credentials = Mapping[str, Mapping[str, Credential]]
"""By namespace and name: a gateway is given those of its own namespace only."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What callers are believed by (the roots of this trust domain, as PEM), and what gateways present."""

    trust_domain: str = "cluster.local"
    roots: tuple[str, ...] = ()
    credentials: Credentials = field(default_factory=dict, repr=False, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """All that translation may depend on. ``revision`` is the commit that the config came from."""

    revision: str = ""
    config: Config = field(default_factory=Config)
    services: Catalogue = EMPTY
    trust: Trust = field(default_factory=Trust)

    def __eq__(self, other: object) -> bool:
        """Cheap on purpose: :class:`~mesh.latest.Latest` compares at every publication."""
        return (
            isinstance(other, World)
            and self.revision == other.revision
            and self.config is other.config
            and self.services is other.services
            and self.trust == other.trust
        )

    def __hash__(self) -> int:
        return hash((self.revision, id(self.config), id(self.services), self.trust))
