"""Certificates of gateways that a cluster keeps as Secrets: those that are asked for by name, and no others.

Each is watched by itself, with a field selector that names it. So the cluster has to grant no more than these
(RBAC, ``resourceNames``), and nobody else's secret ever comes into this process.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NoReturn

from mesh.clock import Clock
from mesh.errors import MeshError, Misconfigured
from mesh.latest import Latest
from mesh.world import Credential
from registries.answers import Remark
from registries.kubernetes.access import Access
from registries.kubernetes.api import Api
from registries.kubernetes.client import Client
from registries.kubernetes.connection import Connect, Connection, Line
from registries.kubernetes.fields import Unreadable
from registries.kubernetes.hearing import Hearing
from registries.kubernetes.objects import Key, key_of
from registries.kubernetes.reflector import PACE, Heard, Pace, Reflector
from registries.kubernetes.resources import Resource
from registries.kubernetes.table import Table
from registries.registry import Freshness, State

# Istio reads both: those of a generic Secret, and those of type ``kubernetes.io/tls``.
_NAMES: Final = (("cert", "key"), ("tls.crt", "tls.key"))


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret that holds a certificate and its key."""

    key: Key
    credential: Credential


class Secrets:
    """The Secrets that ``wanted`` names, of one cluster. Owned by the task that runs it."""

    def __init__(
        self,
        name: str,
        access: Access,
        wanted: Latest[frozenset[Key]],
        clock: Clock,
        *,
        connect: Connect = Client,
        pace: Pace = PACE,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """:param name: of the registry."""
        self.found: Latest[Mapping[Key, Credential]] = Latest(MappingProxyType({}))
        self.absent: Latest[frozenset[Key]] = Latest(frozenset())
        """Those that the cluster says it does not have."""
        self.refused: Latest[frozenset[Key]] = Latest(frozenset())
        """Those that a person has to grant, or give credentials for."""
        self.remarks: Latest[tuple[Remark, ...]] = Latest(())
        self._wanted = wanted
        self._connection = Connection(name, access, clock, connect=connect, pace=pace, chance=chance)
        self._tables: dict[Key, Table[Secret]] = {}
        self._hearings: dict[Key, Hearing] = {}
        self._freshness: dict[Key, Latest[Freshness]] = {}
        self._trouble: MeshError | None = None

    async def run(self) -> NoReturn:
        """Follow them for ever. One that cannot be read keeps what was known of it."""
        await self._connection.run(self._listen, self._told)

    def _told(self, trouble: MeshError | None) -> None:
        self._trouble = trouble
        self._publish()

    async def _listen(self, api: Line) -> NoReturn:
        watched: dict[Key, asyncio.Task[NoReturn]] = {}
        version = -1
        async with asyncio.TaskGroup() as tasks:
            while True:
                version, wanted = await self._wanted.newer_than(version)
                for key in watched.keys() - wanted:
                    watched.pop(key).cancel()
                for key in self._tables.keys() - wanted:
                    del self._tables[key]
                for key in sorted(wanted - watched.keys()):
                    watched[key] = tasks.create_task(self._follow(key, api))
                self._publish()

    async def _follow(self, key: Key, api: Api) -> NoReturn:
        """One Secret, and how well it is heard."""
        reflector, version = self._reflector(key, api), 0
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(reflector.run())
            while True:
                version, _ = await self._freshness[key].newer_than(version)
                self._publish()

    def _reflector(self, key: Key, api: Api) -> Reflector[Secret]:
        namespace, name = key
        resource = Resource(
            kind="Secret",
            path=f"/api/v1/namespaces/{namespace}/secrets",
            parse=secret,
            fields=f"metadata.name={name}",
        )
        self._freshness[key] = Latest(Freshness())
        self._hearings[key] = Hearing([resource.kind], self._connection.clock, self._freshness[key])
        return Reflector(
            resource,
            api,
            self._tables.setdefault(key, Table(resource.kind, lambda _before, _after: None)),
            self._hearings[key],
            self._connection.clock,
            heard=Heard(),
            chance=self._connection.chance,
            stirred=self._publish,
            refused=self._connection.refused.set,
            pace=self._connection.pace,
        )

    def _publish(self) -> None:
        known = {key: table.get(key) for key, table in self._tables.items()}
        self.found.publish(
            MappingProxyType({key: one.credential for key, one in known.items() if one is not None})
        )
        self.absent.publish(
            frozenset(key for key, one in known.items() if one is None and self._is_absent(key))
        )
        self.refused.publish(self._refused(known))
        remarks = [self._remark(key) for key in sorted(known)]
        if self._trouble is not None:
            remarks.append(Remark(about="Secrets", message=str(self._trouble), hint=self._trouble.hint))
        self.remarks.publish(tuple(remark for remark in remarks if remark is not None))

    def _is_absent(self, key: Key) -> bool:
        return self._hearings[key].is_complete and key not in self._tables[key].unreadable

    def _refused(self, known: Iterable[Key]) -> frozenset[Key]:
        if isinstance(self._trouble, Misconfigured):
            return self._wanted.value
        return frozenset(key for key in known if self._freshness[key].value.state is State.STALLED)

    def _remark(self, key: Key) -> Remark | None:
        table, heard = self._tables[key], self._freshness[key].value
        about = subject(key)
        if heard.error:
            return Remark(about=about, message=heard.error, hint=heard.hint)
        if (wrong := table.unreadable.get(key)) is not None:
            hint = "make it with: kubectl create secret tls; what was known of it before is kept"
            return Remark(about=about, message=wrong, hint=hint)
        if table.get(key) is None and self._hearings[key].is_complete:
            hint = "create it, or correct credentialName"
            return Remark(about=about, message="a Gateway names it, and there is no such Secret", hint=hint)
        return None


def subject(key: Key) -> str:
    """What remarks call a Secret."""
    return f"Secret {'/'.join(key)}"


def secret(data: Any) -> Secret:
    """The certificate and key of a Secret.

    :raises Unreadable: when it holds none; nothing of it is quoted.
    """
    key = key_of(data)
    held = data.get("data")
    for chain, private in _NAMES:
        if isinstance(held, Mapping) and held.get(chain) and held.get(private):
            return Secret(key, Credential(_pem(held, chain), _pem(held, private)))
    raise Unreadable("it holds no tls.crt and tls.key")


def _pem(held: Mapping[str, Any], name: str) -> bytes:
    try:
        content = base64.b64decode(held[name], validate=True)
    except (binascii.Error, TypeError, ValueError):
        content = b""
    if b"-----BEGIN " not in content:
        raise Unreadable(f"{name} is not PEM")
    return content
