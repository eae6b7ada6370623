"""What is held back from being removed, as a person is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mesh.services import ServiceKey


class Measure(StrEnum):
    """What is counted; in the order of :class:`~registries.absences.Counts`."""

    INSTANCES = "instances"
    SERVICES = "services"
    WORKLOADS = "workloads"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """So many are held, of one service or (``service`` is ``None``) of the whole registry."""

    service: ServiceKey | None
    measure: Measure
    missing: int
    """How many the registry no longer names."""
    of: int
    """How many there are with them."""
    since: datetime
    believed_at: datetime | None
    """When the last of them is believed to be gone if nothing changes; ``None`` while the registry is not
    heard: that time does not count."""
