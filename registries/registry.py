"""What a registry is to the rest of us: its newest answer, how fresh that is, and a task that keeps it so.

``consul.py`` and ``kubernetes/`` are registries. Git is one too, but its answer is a function of the config
(``entries.py``) and needs no task.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NoReturn, Protocol

from mesh.latest import Latest
from mesh.services import Provider
from registries.answers import Answer


class State(StrEnum):
    """How well a registry is heard."""

    WAITING = "waiting"
    """It has not answered yet."""
    LIVE = "live"
    """What is known of it is complete and kept up to date."""
    STALE = "stale"
    """It does not answer (any more): what is known of it is kept."""
    STALLED = "stalled"
    """Its settings cannot work: a person has to change something."""
    REMOVED = "removed"
    """It is no longer configured: what is held of it stays until that is believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How fresh the answer of one registry is."""

    state: State = State.WAITING
    heard_at: datetime | None = None
    """When it last said that its answer is complete and current, be it by saying that nothing is new."""
    heard: float | None = None
    """The same moment of the clock that never jumps; ``None`` when that was before a restart."""
    since: datetime | None = None
    """Since when it has been in this state."""
    error: str = ""
    """What went wrong last, without any secret; empty when all is well."""
    hint: str = ""


class Registry(Protocol):
    """A source of services that is listened to.

    The first answer is published when everything was read once, never before: a registry that is
    half read looks like one that has lost half (DESIGN D10).
    """

    @property
    def name(self) -> str: ...

    @property
    def provider(self) -> Provider: ...

    @property
    def answer(self) -> Latest[Answer | None]:
        """``None`` until everything was read once."""

    @property
    def freshness(self) -> Latest[Freshness]: ...

    async def run(self) -> NoReturn:
        """Listen for ever. The source's failures are told by :attr:`freshness`, and tried again."""
