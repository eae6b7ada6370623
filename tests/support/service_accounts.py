"""ServiceAccount tokens, and clusters that say what a test wants of them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from ca.accounts import AUDIENCE
from mesh.errors import MeshError


def a_token(**claims: Any) -> str:
    """As a cluster would write it; nobody here looks at the signature."""
    said = {
        "aud": [AUDIENCE],
        "iss": "https://one.example",
        "sub": "system:serviceaccount:shop:orders",
        **claims,
    }
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, said, "")
    )


@dataclass(frozen=True, slots=True)
class APod:
    namespace: str = "shop"
    account: str = "orders"
    pod: str = "orders-1"


@dataclass(slots=True)
class AnApiServer:
    """A cluster that says of every token the same, and remembers which it was shown."""

    known_issuer: str = "https://one.example"
    answer: APod | MeshError = field(default_factory=APod)
    shown: list[str] = field(default_factory=list)

    async def issuer(self) -> str:
        return self.known_issuer

    async def review(self, token: str, audience: str) -> APod:
        assert audience == AUDIENCE
        self.shown.append(token)
        if isinstance(self.answer, MeshError):
            raise self.answer
        return self.answer
