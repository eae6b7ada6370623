"""Who is enrolled in which WorkloadGroup: as values, and as a file that outlives a restart.

A roster alone makes no workloads: what is in force of it is decided by the config, anew for each.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mesh.config import Config, ConfigObject, Slice
from mesh.errors import Misconfigured
from mesh.kinds.workload import WorkloadGroup
from mesh.names import ObjectKey

DEFAULT_ACCOUNT = "default"
Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Enrolled:
    """One workload that enrolled itself. ``account`` is what its certificate proved, ``address`` a claim."""

    namespace: str
    name: str
    group: str
    account: str
    address: str

    @property
    def key(self) -> Key:
        return self.namespace, self.name

    @property
    def identity(self) -> Key:
        return self.namespace, self.account


Roster = tuple[Enrolled, ...]
"""Everybody who is enrolled, in order; who is unchanged is the same object as before."""


def group_of(config: Config, one: Enrolled) -> ConfigObject[WorkloadGroup] | None:
    """The group that makes it a workload; ``None`` when it is no longer one of it.

    A WorkloadEntry of the same name wins: it says everything anew.
    """
    if config.get(ObjectKey("WorkloadEntry", one.namespace, one.name)) is not None:
        return None
    group = config.get(ObjectKey("WorkloadGroup", one.namespace, one.group))
    return group if group is not None and account_of(group) == one.account else None


def account_of(group: ConfigObject[WorkloadGroup]) -> str:
    return group.spec.template.service_account or DEFAULT_ACCOUNT


def holders(entries: Slice) -> Mapping[str, Mapping[Key, ObjectKey]]:
    """Which identities the WorkloadEntries put at each address."""
    found: defaultdict[str, dict[Key, ObjectKey]] = defaultdict(dict)
    for entry in entries:
        account = entry.spec.service_account or DEFAULT_ACCOUNT
        found[entry.spec.address].setdefault((entry.key.namespace, account), entry.key)
    return dict(found)


def read(file: Path) -> Roster:
    """Who was enrolled when the file was written; nobody when there is none.

    :raises Misconfigured: when it is not what :func:`write` made.
    """
    try:
        return tuple(sorted(_enrolled(row) for row in json.loads(file.read_bytes())))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError) as error:
        raise Misconfigured(
            f"cannot read the enrolled workloads in {file}: {error}",
            hint="remove the file: workloads enrol again when their proxies connect",
        ) from error


def _enrolled(row: dict[str, object]) -> Enrolled:
    wrong = [name for name, value in row.items() if not isinstance(value, str)]
    if wrong:
        raise TypeError(f"{wrong[0]} is not text")
    return Enrolled(**{name: str(value) for name, value in row.items()})


def write(file: Path, roster: Roster) -> None:
    """Replace the file as a whole. Blocks; :raises OSError: and leaves the old one."""
    new = file.with_suffix(".new")
    with new.open("w", encoding="utf-8") as stream:
        json.dump([asdict(one) for one in roster], stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)
