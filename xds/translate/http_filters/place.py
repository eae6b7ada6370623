"""Where a chain of HTTP filters stands: what a filter may look at to decide whether it is needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from mesh.views import Authorization, Settings


class Side(Enum):
    """Whose requests pass."""

    OUTBOUND = auto()
    """Those of the applications beside a sidecar."""
    INBOUND = auto()
    """Those to the application beside a sidecar."""
    EDGE = auto()
    """Those of the outside world, at a gateway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One kind of place. ``authorization`` says who may pass it."""

    side: Side
    settings: Settings
    authorization: Authorization = field(default_factory=Authorization)
