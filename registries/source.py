"""One configured registry: opened, listened to, guarded.

It is opened anew when its settings change, and slowly again when they cannot work; what was believed stays
meanwhile, and what the new one says first passes the guard like any other answer. One that is no longer
configured says "nothing" from then on, and the guard judges that as if the registry had said it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NoReturn

from mesh.clock import Clock
from mesh.errors import Misconfigured
from mesh.kinds.guards import Guards
from mesh.kinds.registry import Registry as Settings
from mesh.kinds.selectors import LabelSelector
from mesh.latest import Latest
from mesh.names import ROOT_NAMESPACE
from mesh.services import Provider
from registries.absences import Counts
from registries.answers import Answer, Remark
from registries.drops import Moment
from registries.guard import Guard
from registries.holds import Held
from registries.kept import Kept
from registries.registry import Freshness, Registry, State
from registries.waits import first

log = logging.getLogger(__name__)

RETRY_EVERY = timedelta(minutes=1)
"""Settings that cannot work are tried again: credentials change without a commit."""
_LEAST = timedelta(milliseconds=10)
"""Two clocks never agree to the last digit: the guard is not asked again and again on the way to its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What the mesh says for all its registries; the defaults are Istio's."""

    root_namespace: str = ROOT_NAMESPACE
    export_to: tuple[str, ...] = ("*",)
    """For services that say nothing."""
    discovery_selectors: tuple[LabelSelector, ...] = ()


OpenRegistry = Callable[[Settings, Common], Registry]
"""Makes a registry out of its settings and those of the mesh.

:raises Misconfigured: when they cannot work.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """What a person may want to know of one registry."""

    name: str
    provider: Provider
    freshness: Freshness = field(default_factory=Freshness)
    counts: Counts = field(default_factory=Counts)
    """How much is believed."""
    holds: tuple[Held, ...] = ()
    """What it no longer names and the mesh keeps."""
    remarks: tuple[Remark, ...] = ()
    is_awaited: bool = False
    """Whether nothing is served before it answers."""

    def age(self, moment: Moment) -> timedelta | None:
        """How long it has not been heard; ``None`` when it never was."""
        if self.freshness.heard is not None:
            return timedelta(seconds=moment.monotonic - self.freshness.heard)
        heard_at = self.freshness.heard_at
        # By the wall clock, which may have been set back since.
        return max(moment.wall - heard_at, timedelta(0)) if heard_at is not None else None


class Source:
    """Owned by the task of :meth:`run`, which rings ``told`` when something is new.

    ``settings`` are ``None`` when the registry is no longer configured.
    """

    def __init__(
        self,
        name: str,
        provider: Provider,
        settings: Settings | None,
        guards: Guards,
        kept: Kept | None,
        *,
        common: Common = Common(),
        open_registry: OpenRegistry,
        told: asyncio.Event,
        clock: Clock,
    ) -> None:
        self._settings, self._guards, self._common = settings, guards, common
        self._open, self._told, self._clock = open_registry, told, clock
        self._guard = Guard(guards, kept.answer if kept is not None else None)
        self._poked = asyncio.Event()
        self._is_released = False
        state = State.WAITING if kept is None else State.STALE
        heard_at = kept.heard_at if kept is not None else None
        self.believed = kept.answer if kept is not None else None
        self.status = SourceStatus(
            name=name,
            provider=provider,
            freshness=Freshness(state=state, heard_at=heard_at, since=clock.now()),
            counts=self._guard.counts,
            remarks=kept.answer.remarks if kept is not None else (),
        )

    @property
    def name(self) -> str:
        return self.status.name

    @property
    def is_removed(self) -> bool:
        return self._settings is None

    @property
    def is_gone(self) -> bool:
        """Whether it is removed, and nothing is held of it."""
        is_told = self.status.freshness.state is State.REMOVED
        return self.is_removed and is_told and not (self.believed and self.believed.namespaces)

    @property
    def heard_at(self) -> datetime | None:
        return self.status.freshness.heard_at

    def configure(self, settings: Settings, guards: Guards, common: Common = Common()) -> None:
        """From now on these settings are used."""
        if (settings, guards, common) != (self._settings, self._guards, self._common):
            self._settings, self._guards, self._common = settings, guards, common
            self._poked.set()

    def remove(self) -> None:
        """The registry is no longer configured; its guards are those that it had."""
        self._settings = None
        self._poked.set()

    def release(self) -> None:
        """Everything that is held is believed, and soon."""
        self._is_released = True
        self._poked.set()

    async def run(self) -> NoReturn:
        while True:
            settings, common, stalled = self._settings, self._common, None
            if settings is None:
                nothing = Answer(registry=self.name, provider=self.status.provider)
                removed = Freshness(state=State.REMOVED, since=self._clock.now())
                await self._follow((settings, common), Latest(nothing), Latest(removed))
                continue
            try:
                async with asyncio.TaskGroup() as group:
                    registry = self._open(settings, common)
                    listening = group.create_task(registry.run(), name=f"registry {self.name}")
                    await self._follow((settings, common), registry.answer, registry.freshness)
                    listening.cancel()
            except* Misconfigured as errors:
                error = _first(errors)
                stalled = Freshness(state=State.STALLED, error=str(error), hint=error.hint)
            if stalled is not None:
                await self._follow((settings, common), Latest(None), Latest(stalled), retry_after=RETRY_EVERY)

    async def _follow(
        self,
        opened_with: tuple[Settings | None, Common],
        answer: Latest[Answer | None],
        freshness: Latest[Freshness],
        *,
        retry_after: timedelta | None = None,
    ) -> None:
        """Believe what is said until other settings need another registry, or it is time to try again."""
        retry_at = self._clock.monotonic() + retry_after.total_seconds() if retry_after else None
        settings, common = opened_with
        while common == self._common and not needs_another(settings, self._settings):
            now = self._clock.monotonic()
            if retry_at is not None and retry_at <= now:
                return
            answers, freshnesses = answer.version, freshness.version
            self._poked.clear()
            deadline = await self._turn(answer.value, freshness.value)
            dues = [due for due in (deadline, retry_at) if due is not None]
            waits = [answer.newer_than(answers), freshness.newer_than(freshnesses), self._poked.wait()]
            if dues:
                span = timedelta(seconds=min(dues) - self._clock.monotonic())
                waits.append(self._clock.sleep(max(span, _LEAST)))
            await first(*waits)

    async def _turn(self, answer: Answer | None, freshness: Freshness) -> float | None:
        """Take what is new. Returns when to look again if nothing is."""
        moment = Moment.of(self._clock)
        is_released, self._is_released = self._is_released, False
        # That a registry is removed is said by the config, which is always heard.
        is_live = freshness.state in (State.LIVE, State.REMOVED)
        # A registry that has lost everything is looked at for longer than the loop may be kept.
        believed, status = await asyncio.to_thread(
            self._judge, answer, self._guards, moment, is_released=is_released, is_live=is_live
        )
        self._tell(believed, replace(status, freshness=self._seen(freshness)))
        return self._guard.deadline(self._clock.monotonic())

    def _judge(
        self, answer: Answer | None, guards: Guards, moment: Moment, *, is_released: bool, is_live: bool
    ) -> tuple[Answer | None, SourceStatus]:
        guard = self._guard
        guard.configure(guards)
        if is_released:
            guard.release()
        believed = guard.take(answer, moment) if answer is not None else guard.look(moment)
        guard.hear(moment.monotonic, is_live=is_live)
        return believed, replace(
            self.status,
            counts=guard.counts,
            holds=guard.holds(moment),
            remarks=believed.remarks if believed is not None else (),
        )

    def _seen(self, freshness: Freshness) -> Freshness:
        """Whoever has been heard before is not waited for, but stale."""
        before = self.status.freshness
        if freshness.state is State.WAITING and self.believed is not None:
            freshness = replace(freshness, state=State.STALE)
        is_same = (freshness.state, freshness.error) == (before.state, before.error)
        return replace(
            freshness,
            heard_at=freshness.heard_at or before.heard_at,
            heard=freshness.heard if freshness.heard_at else before.heard,
            since=before.since if is_same else freshness.since or self._clock.now(),
        )

    def _tell(self, believed: Answer | None, status: SourceStatus) -> None:
        before, self.status = self.status, status
        if believed is self.believed and status == before:
            return
        self.believed = believed
        self._told.set()
        if status.freshness.state is not before.freshness.state:
            is_well = status.freshness.state in (State.LIVE, State.REMOVED)
            level = logging.INFO if is_well else logging.WARNING
            said = {"registry": self.name, "state": status.freshness.state, "reason": status.freshness.error}
            log.log(level, "registry changed", extra=said)
        if bool(status.holds) != bool(before.holds):
            _log_holds(status)


def needs_another(before: Settings | None, after: Settings | None) -> bool:
    """Whether a registry of the new settings says something else than one of the old."""
    if before is None or after is None:
        return before is not after
    indifferent = {"guards": None, "share_hosts": ()}
    return before.model_copy(update=indifferent) != after.model_copy(update=indifferent)


def provider_of(settings: Settings) -> Provider:
    return Provider.KUBERNETES if settings.kubernetes is not None else Provider.CONSUL


def _first(errors: BaseExceptionGroup[Misconfigured]) -> Misconfigured:
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _log_holds(status: SourceStatus) -> None:
    if not status.holds:
        log.info("removals no longer held", extra={"registry": status.name})
        return
    held = status.holds[0]
    log.warning(
        "removals held",
        extra={
            "registry": status.name,
            "service": str(held.service or "all"),
            "missing": held.missing,
            "of": held.of,
            "measure": held.measure,
        },
    )
