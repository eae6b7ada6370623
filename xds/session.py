"""One connected proxy: its facets, subscriptions and what it last said.

Bytes and values in, bytes out; the time is handed in. The session says of itself when it wants to be
asked again (:meth:`Session.due`). It speaks to its membership, and to nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from google.protobuf.message import DecodeError

from mesh.errors import Refused
from xds import envoy
from xds.bodies import Bodies, Response
from xds.delta import Delta, Heard, Parts
from xds.directory import Membership, Refusal
from xds.metrics import Metrics
from xds.phases import SETTLED, Pace, Phase, may_gain, may_lose, phase
from xds.resources import Assignment
from xds.suspects import Limits

log = logging.getLogger(__name__)

# Types we do not serve are answered with "does not exist"; a stream may name only so many.
_TYPES_MAX = 16

_MESSAGE_MAX = 500

# These are asked for by name, as clusters and listeners point at them.
_ON_DEMAND = frozenset({envoy.ENDPOINTS, envoy.ROUTES, envoy.SECRET})


class Sync(StrEnum):
    """How far one type of one proxy has got. The words are those of ``istioctl proxy-status``."""

    SYNCED = "SYNCED"
    STALE = "STALE"
    NOT_SENT = "NOT SENT"
    NACK = "NACK"


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeStatus:
    """One type of one proxy. ``message`` says what it refused, for people."""

    type_url: str
    sync: Sync
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What all sessions of a server share."""

    bodies: Bodies
    metrics: Metrics
    limits: Limits = field(default_factory=Limits)
    phase_limit: timedelta = timedelta(seconds=10)
    jitter: Callable[[], float] = lambda: 0.0


def parse(data: bytes) -> Any:
    """:raises Refused: when this is no delta request."""
    try:
        return envoy.message("envoy.service.discovery.v3.DeltaDiscoveryRequest").FromString(data)
    except DecodeError as error:
        raise Refused("not a DeltaDiscoveryRequest") from error


def one_line(text: str) -> str:
    """Envoy's words, for people: they may hold dumps of many lines and thousands of characters."""
    line = " ".join(text.split())
    return line if len(line) <= _MESSAGE_MAX else line[: _MESSAGE_MAX - 1] + "…"


class Session:
    """Owned by the stream it speaks for."""

    def __init__(self, membership: Membership, settings: Settings, now: float) -> None:
        self._membership = membership
        self._settings = settings
        self._pace = Pace(settings.phase_limit, now)
        self._types: dict[str, Delta] = {}
        self._assignment = membership.assignment.value
        self._aimed_at: float | None = now
        for type_url in envoy.TYPES:
            self._delta(type_url)

    def _delta(self, type_url: str) -> Delta:
        delta = self._types.get(type_url)
        if delta is None:
            if len(self._types) >= _TYPES_MAX:
                raise Refused(f"more than {_TYPES_MAX} resource types on one stream")
            delta = self._types[type_url] = Delta(type_url, self._settings.bodies, self._settings.limits)
            delta.aim(self._assignment.parts.get(type_url, ()))
        return delta

    def hear(self, request: Any, now: float) -> None:
        """One request, as :func:`parse` gave it."""
        delta = self._delta(request.type_url)
        if request.response_nonce:
            self._hear_answer(delta, request, now)
        subscribe, unsubscribe = request.resource_names_subscribe, request.resource_names_unsubscribe
        if subscribe or unsubscribe or delta.interest is None:
            delta.hear_names(subscribe, unsubscribe, request.initial_resource_versions)
        self._pace.enter(self._phase(), now)
        self._tell_held(now)

    def _hear_answer(self, delta: Delta, request: Any, now: float) -> None:
        error = ""
        if request.HasField("error_detail"):
            error = one_line(request.error_detail.message) or "refused without a message"
        match delta.hear_nonce(request.response_nonce, error, now, self._settings.jitter()):
            case Heard.STALE:
                self._settings.metrics.expired_nonces.inc()
            case Heard.NACK:
                self._settings.metrics.rejected(request.type_url)
                self._tell_refusals(delta)
            case Heard.ACK:
                pass

    def assign(self, assignment: Assignment, now: float) -> None:
        """A newer target. Whatever is on its way to an older one goes straight to this."""
        self._assignment = assignment
        for type_url, delta in self._types.items():
            delta.aim(assignment.parts.get(type_url, ()))
        if self._aimed_at is None:
            self._aimed_at = now
        self._tell_held(now)

    def responses(self, now: float) -> Iterator[Response]:
        """What may be written now, in order. Ask again after each request, assignment or :meth:`due`."""
        # A tuple: while one response is being written, a request may bring another type.
        for type_url, delta in tuple(self._types.items()):
            if delta.is_resting:
                continue
            self._pace.enter(self._phase(), now)
            granted = self._pace.granted(now)
            response = delta.next(
                gains=may_gain(type_url, granted), losses=may_lose(type_url, granted), now=now
            )
            if response is None:
                if delta.is_resting:
                    self._tell_held(now)
                continue
            if type_url == envoy.CLUSTER:
                # Envoy warms a changed cluster and wants its endpoints again, without asking
                # (reference/performance.md, 6). They follow in the same breath.
                self._types[envoy.ENDPOINTS].repeat(response.names)
            self._settings.metrics.pushed(type_url, len(response.message))
            yield response

    def _phase(self) -> Phase:
        return phase(
            self._types[envoy.CLUSTER].lack,
            self._types[envoy.ENDPOINTS].lack,
            self._types[envoy.LISTENER].lack,
            self._types[envoy.ROUTES].lack,
        )

    def due(self, now: float) -> float | None:
        """When to ask for responses again although nothing happened.

        ``now`` is when they were last asked for: a moment that passes in between must not be lost.
        """
        if all(delta.is_resting for delta in self._types.values()):
            return None
        self._pace.enter(self._phase(), now)
        moments = (self._pace.due(now), *(delta.due(now) for delta in self._types.values()))
        return min((moment for moment in moments if moment is not None), default=None)

    def _tell_refusals(self, delta: Delta) -> None:
        for found in delta.take_found():
            name, culprit = found.name, found.culprit
            log.warning(
                "resource refused",
                extra={
                    "proxy": self._membership.proxy.id,
                    "type": envoy.SHORT_NAMES.get(delta.type_url, delta.type_url),
                    "resource": name,
                    "version": culprit.version,
                    "reason": culprit.message,
                },
            )
            self._membership.refused(
                Refusal(type_url=delta.type_url, name=name, version=culprit.version, message=culprit.message)
            )

    def _tell_held(self, now: float) -> None:
        """Each set of parts is told once, when the proxy holds exactly these.

        What was told is the membership's to remember: it alone knows of targets that were skipped here.
        """
        settled = True
        for type_url, delta in self._types.items():
            held = self._held(type_url, delta)
            if held is None:
                settled = False
                continue
            settled = settled and held == self._assignment.parts.get(type_url, ())
            if self._membership.held.get(type_url) != held:
                self._membership.acknowledged(type_url, held)
        if settled and self._aimed_at is not None:
            self._settings.metrics.convergence.observe(now - self._aimed_at)
            self._aimed_at = None

    def _held(self, type_url: str, delta: Delta) -> Parts | None:
        if delta.interest is None and type_url in _ON_DEMAND:
            # Nobody pointed at it: once clusters and listeners are there, nothing is missing.
            pointing = (self._types[envoy.CLUSTER], self._types[envoy.LISTENER])
            if any(other.held is None for other in pointing):
                return None
            return self._assignment.parts.get(type_url, ())
        return delta.held

    @property
    def is_idle(self) -> bool:
        """Whether nothing more is to come unless something happens, or a refused resource is tried again."""
        return all(delta.lack is SETTLED for delta in self._types.values())

    def status(self) -> tuple[TypeStatus, ...]:
        return tuple(self._status(type_url) for type_url in envoy.TYPES)

    def _status(self, type_url: str) -> TypeStatus:
        delta = self._types[type_url]
        if delta.interest is None:
            return TypeStatus(type_url=type_url, sync=Sync.NOT_SENT)
        if delta.last_refusal:
            names = ", ".join(sorted(delta.culprits))
            message = f"{names}: {delta.last_refusal}" if names else delta.last_refusal
            return TypeStatus(type_url=type_url, sync=Sync.NACK, message=message)
        is_held = delta.held == self._assignment.parts.get(type_url, ())
        return TypeStatus(type_url=type_url, sync=Sync.SYNCED if is_held else Sync.STALE)
