"""Certificates that gateways take from Kubernetes Secrets, where a registry says ``gatewaySecrets``.

What the operator keeps wins, then the clusters in the order of the Mesh document. A cluster that goes silent,
or is reached otherwise than before, keeps what it had until it says that a Secret is gone.

Private keys stay in memory and are never kept over a restart. So a control plane that starts waits a while
for the clusters before it opens its ports. If one does not answer by then, a gateway that runs still shows
what it has: Envoy takes no secret that it uses for removed. One that starts meanwhile has to wait.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Final, NoReturn, Protocol

from mesh.clock import Clock
from mesh.kinds.registry_kubernetes import Kubernetes
from mesh.latest import Latest
from mesh.world import Credential, Credentials, World
from reconciler.missing import named_credentials
from registries.answers import Remark
from registries.kubernetes.objects import Key
from registries.kubernetes.secrets import subject
from registries.source import SourceStatus
from registries.waits import first

log = logging.getLogger(__name__)

PATIENCE: Final = timedelta(seconds=10)
"""How long a start waits for clusters that do not answer."""
_PAUSE: Final = timedelta(seconds=1)
"""Where gateways are is looked up in all workloads, which is too much for each endpoint that changes."""
# Names become part of a field selector. What else could be written there would ask for other Secrets.
_NAME: Final = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")

Found = Mapping[Key, Credential]


class Follower(Protocol):
    """The Secrets of one cluster: :class:`registries.kubernetes.secrets.Secrets`."""

    found: Latest[Found]
    absent: Latest[frozenset[Key]]
    refused: Latest[frozenset[Key]]
    remarks: Latest[tuple[Remark, ...]]

    async def run(self) -> NoReturn: ...


OpenSecrets = Callable[[str, Kubernetes, Latest[frozenset[Key]]], Follower]
"""Makes one out of the name and the settings of a registry, and what is wanted."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which clusters are asked, in order, and for what."""

    clusters: tuple[tuple[str, Kubernetes], ...]
    keys: frozenset[Key]


@dataclass(slots=True, kw_only=True)
class _Cluster:
    """One cluster, as long as its settings last. Owned by the task of :class:`GatewaySecrets`."""

    settings: Kubernetes
    secrets: Follower
    task: asyncio.Task[NoReturn]
    believed: Found

    def look(self, wanted: frozenset[Key]) -> None:
        """Believe what is said, and of what nothing is said, what was believed."""
        known = {**self.believed, **self.secrets.found.value}
        gone = self.secrets.absent.value
        self.believed = {
            key: credential for key, credential in known.items() if key in wanted and key not in gone
        }

    def has_answered(self, wanted: frozenset[Key]) -> bool:
        secrets = self.secrets
        return wanted <= secrets.found.value.keys() | secrets.absent.value | secrets.refused.value

    def news(self) -> tuple[Awaitable[object], ...]:
        """What to wait for after a look; nothing may happen between the two."""
        said = self.secrets
        return (
            said.found.newer_than(said.found.version),
            said.absent.newer_than(said.absent.version),
            said.refused.newer_than(said.refused.version),
        )


class GatewaySecrets:
    """What all gateways present. Owned by the task of :meth:`run`."""

    def __init__(self, worlds: Latest[World], open_secrets: OpenSecrets, clock: Clock) -> None:
        self._worlds, self._open, self._clock = worlds, open_secrets, clock
        self._own: Credentials = MappingProxyType({})
        self._asked: Latest[_Asked | None] = Latest(None)
        self._wanted: Latest[frozenset[Key]] = Latest(frozenset())
        self._clusters: dict[str, _Cluster] = {}
        """In the order of the Mesh document."""
        self._have_answered = asyncio.Event()
        self.credentials: Latest[Credentials] = Latest(self._own)
        """By namespace and name: of the operator and of clusters."""

    def keep(self, own: Credentials) -> None:
        """What the operator keeps. To be said before there is a world."""
        self._own = own
        self.credentials.publish(own)

    async def settled(self) -> None:
        """Return when every cluster has answered once, or was waited for long enough."""
        await first(self._have_answered.wait(), self._clock.sleep(PATIENCE))
        if not self._have_answered.is_set():
            silent = [
                name for name, one in self._clusters.items() if not one.has_answered(self._wanted.value)
            ]
            log.warning("secrets of gateways awaited no longer", extra={"registries": " ".join(silent)})

    async def run(self) -> NoReturn:
        """Follow what accepted Gateways name, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look(), name="credentials that gateways name")
            while True:
                version, asked = self._asked.version, self._asked.value
                if asked is not None:
                    self._configure(asked, group)
                    self._publish()
                news = (wait for cluster in self._clusters.values() for wait in cluster.news())
                await first(self._asked.newer_than(version), *news)

    def remarked(self, statuses: Iterable[SourceStatus]) -> tuple[SourceStatus, ...]:
        """With what should be mended in the Secrets of each registry."""
        return tuple(replace(one, remarks=(*one.remarks, *self._remarks(one.name))) for one in statuses)

    async def _look(self) -> NoReturn:
        """Ask for what the newest world needs."""
        version = 0
        while True:
            version, world = await self._worlds.newer_than(version)
            clusters = tuple(
                (one.name, one.kubernetes)
                for one in world.config.mesh.registries
                if one.kubernetes is not None and one.kubernetes.gateway_secrets
            )
            keys = await asyncio.to_thread(wanted, world, self._own) if clusters else frozenset[Key]()
            self._asked.publish(_Asked(clusters, keys))
            if clusters:
                await self._clock.sleep(_PAUSE)

    def _configure(self, asked: _Asked, group: asyncio.TaskGroup) -> None:
        self._wanted.publish(asked.keys)
        before, self._clusters = self._clusters, {}
        for name, settings in asked.clusters:
            known = before.pop(name, None)
            if known is None or known.settings != settings:
                believed: Found = {}
                if known is not None:
                    known.task.cancel()
                    believed = known.believed
                secrets = self._open(name, settings, self._wanted)
                task = group.create_task(secrets.run(), name=f"secrets {name}")
                known = _Cluster(settings=settings, secrets=secrets, task=task, believed=believed)
            self._clusters[name] = known
        for left in before.values():
            left.task.cancel()

    def _publish(self) -> None:
        keys = self._wanted.value
        found: dict[Key, Credential] = {}
        for cluster in self._clusters.values():
            cluster.look(keys)
            found = {**cluster.believed, **found}
        self.credentials.publish(_overlaid(self._own, found, self.credentials.value))
        if all(cluster.has_answered(keys) for cluster in self._clusters.values()):
            self._have_answered.set()

    def _remarks(self, name: str) -> Iterable[Remark]:
        """What the registry says of its own; nothing of what it lacks and another has."""
        if (cluster := self._clusters.get(name)) is None:
            return
        elsewhere: dict[str, str] = {}
        for other, its in self._clusters.items():
            if other != name:
                elsewhere |= {subject(key): other for key in its.believed.keys() - cluster.believed.keys()}
        yield from (one for one in cluster.secrets.remarks.value if one.about not in elsewhere)
        for key, credential in sorted(cluster.believed.items()):
            owner, used = next(
                (other, its.believed[key]) for other, its in self._clusters.items() if key in its.believed
            )
            if used != credential:
                yield Remark(
                    about=subject(key),
                    message=f"registry {owner!r} keeps another certificate of that name, and comes first",
                    hint="delete one of the two Secrets",
                )


def wanted(world: World, own: Credentials) -> frozenset[Key]:
    """The Secrets that Gateways name and the operator does not keep."""
    return frozenset(
        (one.namespace, one.name)
        for one in named_credentials(world.config, world.services)
        if one.name not in own.get(one.namespace, {})
        and _NAME.fullmatch(one.namespace)
        and _NAME.fullmatch(one.name)
    )


def _overlaid(own: Credentials, found: Found, before: Credentials) -> Credentials:
    """Both by namespace. One that is as before is the same object, so that its gateways are left alone."""
    merged: dict[str, dict[str, Credential]] = {}
    for (namespace, name), credential in found.items():
        merged.setdefault(namespace, {})[name] = credential
    for namespace, kept in own.items():
        merged.setdefault(namespace, {}).update(kept)
    return MappingProxyType(
        {
            namespace: known if (known := before.get(namespace)) == kept else MappingProxyType(kept)
            for namespace, kept in merged.items()
        }
    )
