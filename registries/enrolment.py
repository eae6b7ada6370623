"""Workloads that enrol themselves through a WorkloadGroup.

A proxy whose node metadata says ``AUTO_REGISTER_GROUP`` becomes a workload of that group of its own
namespace: labels, ports, locality, weight and account are the group's, the address is what the proxy
says (Istio, ``pilot/pkg/autoregistration``). Unlike Istio, which calls it ``<group>-<ip>``, the workload
is called as its certificate proves; and the node's own labels and locality are not read (DESIGN 3.4).
An address cannot be proven, so one that another identity holds is refused.

Nobody is withdrawn because the control plane restarted: who is enrolled is kept in a file.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from mesh.clock import Clock
from mesh.config import Config, Slice
from mesh.errors import Refused
from mesh.identity import SpiffeId
from mesh.latest import Latest
from mesh.names import ObjectKey
from mesh.proxies import NodeId
from mesh.world import World
from registries.roster import Enrolled, Key, Roster, account_of, group_of, holders, read, write

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a workload is kept whose proxy is not connected."""

    after_leaving: timedelta = timedelta(seconds=10)
    """Istio's ``PILOT_WORKLOAD_ENTRY_GRACE_PERIOD``."""
    after_start: timedelta = timedelta(minutes=5)
    """The proxies of a whole fleet come back one after another."""
    gathering: timedelta = timedelta(milliseconds=100)
    """What happens within it becomes one world: 2,000 who come at once must not make 2,000."""


@dataclass(slots=True)
class _Presence:
    """One enrolled workload and its open streams; ``until`` is when it is withdrawn if none comes."""

    enrolled: Enrolled
    streams: int = 0
    until: float = 0.0


class Enrolment:
    """Enrols, and withdraws who has gone. Owned by the loop; :meth:`run` publishes the roster.

    ``is_one_host``: every proxy is on this host, so that loopback addresses mean the same to all.

    :raises Misconfigured: when ``file`` is there and cannot be read.
    """

    def __init__(
        self,
        clock: Clock,
        worlds: Latest[World],
        roster: Latest[Roster],
        *,
        file: Path,
        is_one_host: bool,
        patience: Patience = Patience(),
    ) -> None:
        self._clock, self._worlds, self._roster = clock, worlds, roster
        self._file, self._is_one_host, self._patience = file, is_one_host, patience
        self._changed = asyncio.Event()
        self._declared: tuple[Slice, Mapping[str, Mapping[Key, ObjectKey]]] = ((), {})
        until = clock.monotonic() + patience.after_start.total_seconds()
        kept = read(file)
        self._present = {one.key: _Presence(one, until=until) for one in kept}
        roster.publish(kept)

    def arrive(self, node: NodeId, group: str, identity: SpiffeId) -> bool:
        """A proxy has opened a stream and proven its name, which must be this identity's.

        False when a WorkloadEntry declares it: then there is nothing to enrol.

        :raises Refused: when it cannot be a workload of the group.
        """
        config = self._worlds.value.config
        if config.get(ObjectKey("WorkloadEntry", node.namespace, node.name)) is not None:
            return False
        claim = Enrolled(
            namespace=node.namespace,
            name=node.name,
            group=group,
            account=identity.service_account,
            address=node.address,
        )
        self._check_group(config, claim)
        self._check_address(claim)
        self._check_holders(config, claim)
        present = self._present.setdefault(claim.key, _Presence(claim))
        if present.enrolled != claim:
            if present.streams and present.enrolled.account != claim.account:
                raise Refused(
                    f"{claim.name} is enrolled with sa/{present.enrolled.account} and still connected,"
                    f" but connects with sa/{claim.account}: refused"
                )
            present.enrolled = claim
        present.streams += 1
        self._changed.set()
        return True

    def depart(self, namespace: str, name: str) -> None:
        """A stream that arrived has ended."""
        present = self._present[namespace, name]
        present.streams -= 1
        present.until = self._clock.monotonic() + self._patience.after_leaving.total_seconds()
        self._changed.set()

    def _check_group(self, config: Config, claim: Enrolled) -> None:
        group = config.get(ObjectKey("WorkloadGroup", claim.namespace, claim.group))
        if group is None:
            raise Refused(
                f"{claim.name} would enrol in WorkloadGroup {claim.namespace}/{claim.group},"
                " which does not exist: refused",
                hint="declare the group in the repository, or correct AUTO_REGISTER_GROUP in the bootstrap",
            )
        if account_of(group) != claim.account:
            raise Refused(
                f"{claim.name} presented a certificate of sa/{claim.account}, but"
                f" WorkloadGroup {claim.namespace}/{claim.group} is of sa/{account_of(group)}: refused",
                hint="enrol the machine with the account of the group's template",
            )

    def _check_address(self, claim: Enrolled) -> None:
        address = ipaddress.ip_address(claim.address)
        if address.is_loopback and self._is_one_host and str(address) == claim.address:
            return
        is_mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
        # In one spelling only: otherwise the same address could be held twice.
        if (
            str(address) != claim.address
            or is_mapped
            or address.is_loopback
            or address.is_unspecified
            or address.is_multicast
            or address.is_link_local
            or address.is_reserved
        ):
            raise Refused(
                f"{claim.name} would enrol with the address {claim.address},"
                " at which others cannot reach it: refused",
                hint="put an address that the mesh can reach into the node id",
            )

    def _check_holders(self, config: Config, claim: Enrolled) -> None:
        entries, declared = self._declared
        if entries is not config.of("WorkloadEntry"):
            entries = config.of("WorkloadEntry")
            declared = holders(entries)
            self._declared = entries, declared
        at = declared.get(claim.address, {})
        if at and claim.identity not in at:
            raise _taken(claim, str(next(iter(at.values()))))
        for present in self._present.values():
            other = present.enrolled
            if (
                other.address == claim.address
                and other.identity != claim.identity
                and other.key != claim.key
                and group_of(config, other) is not None
            ):
                raise _taken(claim, f"{other.name} of WorkloadGroup/{other.namespace}/{other.group}")

    async def run(self) -> NoReturn:
        """Publish the roster whenever it changed, and keep it."""
        while True:
            await self._until_due()
            await self._clock.sleep(self._patience.gathering)
            self._changed.clear()
            self._withdraw()
            roster = tuple(sorted(present.enrolled for present in self._present.values()))
            if roster != self._roster.value:
                # Kept before it is seen: whoever has traffic survives a restart.
                await asyncio.to_thread(self._keep, roster)
                self._roster.publish(roster)

    async def _until_due(self) -> None:
        """Until somebody came or left, or the time of one who left is over."""
        absent = [present.until for present in self._present.values() if not present.streams]
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._changed.wait())]
        if absent:
            span = timedelta(seconds=max(0.0, min(absent) - self._clock.monotonic()))
            waits.append(asyncio.ensure_future(self._clock.sleep(span)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _withdraw(self) -> None:
        now = self._clock.monotonic()
        for key, present in tuple(self._present.items()):
            if not present.streams and present.until <= now:
                del self._present[key]
                one = present.enrolled
                log.info(
                    "workload withdrawn",
                    extra={"workload": f"{one.name}.{one.namespace}", "group": one.group},
                )

    def _keep(self, roster: Roster) -> None:
        """On a full disk the mesh goes on: what is lost is that a restart remembers."""
        try:
            write(self._file, roster)
        except OSError as error:
            log.error(  # noqa: TRY400 (a line, no trace: it is the disk's fault)
                "enrolled workloads not kept", extra={"file": self._file, "reason": error.strerror}
            )


def _taken(claim: Enrolled, holder: str) -> Refused:
    return Refused(
        f"{claim.name} would enrol with the address {claim.address} of {holder}: refused",
        hint="an address belongs to one identity; correct the one in the node id",
    )
