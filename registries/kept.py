"""What every registry said last, kept in a file that outlives a restart.

One row per service and per workload, so that a change writes what changed. The file is what a restart needs
to serve at once (DESIGN D10): what was served before, against which a first answer that says nothing is
measured. Losing it costs that history and a wait, never the service: every registry must answer (or be
released) before anything is served, and its first answer is believed as it is. So nothing that is wrong
with the file or its disk ends us: what cannot be read is moved aside, and what cannot be opened now is later.

Blocks: called in a thread, by one task.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from mesh.buckets import Buckets
from mesh.errors import Misconfigured, Unavailable
from mesh.services import Provider, Workload
from registries.answers import Answer, Offer, Remark, Said
from registries.coding import Codec

log = logging.getLogger(__name__)
T = TypeVar("T")

VERSION = 1
ASIDE = ".unreadable"
_TABLES = """
BEGIN;
CREATE TABLE served (is_so INTEGER NOT NULL);
CREATE TABLE registries (
    name TEXT PRIMARY KEY, provider INTEGER NOT NULL, heard_at TEXT, remarks TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE offers (
    registry TEXT, namespace TEXT, name TEXT, body TEXT NOT NULL, PRIMARY KEY (registry, namespace, name)
) WITHOUT ROWID;
CREATE TABLE workloads (
    registry TEXT, namespace TEXT, name TEXT, body TEXT NOT NULL, PRIMARY KEY (registry, namespace, name)
) WITHOUT ROWID;
PRAGMA user_version = 1;
COMMIT;
"""
_Row = tuple[str, str, str]
_PUT = "INSERT OR REPLACE INTO {} VALUES (?, ?, ?, ?)"
_DELETE = "DELETE FROM {} WHERE registry = ? AND namespace = ? AND name = ?"


@dataclass(frozen=True, slots=True)
class Kept:
    """What one registry said last, and when it last said that this is all."""

    answer: Answer
    heard_at: datetime | None


class KeptAnswers:
    """The file. Owned by the task that keeps.

    :raises Misconfigured: when there can be no such file: no folder, or no right to write there.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._written: dict[str, Answer] = {}
        self._shared: dict[object, object] = {}
        self._offers: Codec[Offer] = Codec(Offer, self._shared)
        self._workloads: Codec[Workload] = Codec(Workload, self._shared)
        self._remarks: Codec[tuple[Remark, ...]] = Codec(tuple[Remark, ...], self._shared)
        self._db: sqlite3.Connection | None = None
        """``None`` while the disk does not let us have one."""
        try:
            self._db = self._open()
        except OSError as error:
            if error.errno not in _OF_DISKS:
                raise Misconfigured(f"cannot keep answers in {file}: {error}", hint=_HINT) from error
            self._go_without(error)
        except sqlite3.OperationalError as error:
            self._go_without(error)
        except (sqlite3.DatabaseError, ValueError) as error:
            self._set_aside(error)

    def load(self) -> tuple[Mapping[str, Kept], bool]:
        """What was kept, by registry, and whether a world was ever served beside it.

        What cannot be read is moved aside, and nothing was kept.
        """
        kept, has_served = dict[str, Kept](), False
        if self._db is not None:
            try:
                kept, has_served = dict(self._read(self._db)), _has_served(self._db)
            except (sqlite3.DatabaseError, ValueError) as error:
                self._db.close()
                self._set_aside(error)
        self._shared.clear()
        self._written = {name: one.answer for name, one in kept.items()}
        return kept, has_served

    def note_served(self) -> None:
        """A world is served: whoever is not in the file was not part of it.

        :raises Unavailable: when it cannot be written.
        """
        with self._writing("that a world is served") as db:
            if not _has_served(db):
                db.execute("INSERT INTO served VALUES (1)")

    def save(self, answer: Answer, heard_at: datetime | None) -> None:
        """Replace what the registry said before. Writes only what changed, all of it or nothing.

        :raises Unavailable: when it cannot be written, be it that a text in it is none; what was kept before
            stays.
        """
        name = answer.registry
        before = self._written.get(name)
        with self._writing(f"what registry {name!r} says") as db:
            if before is None:
                _delete(db, name)
            db.execute(
                "INSERT OR REPLACE INTO registries VALUES (?, ?, ?, ?)",
                (
                    name,
                    int(answer.provider),
                    heard_at.isoformat() if heard_at is not None else None,
                    self._remarks.write(answer.remarks),
                ),
            )
            for namespace, old, new in _changed(before, answer):
                at = name, namespace
                _replace(db, "offers", at, old.offers, new.offers, self._offers)
                _replace(db, "workloads", at, old.workloads, new.workloads, self._workloads)
        self._written[name] = answer

    def forget(self, name: str) -> None:
        """The registry is no longer configured.

        :raises Unavailable: when that cannot be written.
        """
        with self._writing(f"that registry {name!r} is gone") as db:
            _delete(db, name)
        self._written.pop(name, None)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    def _open(self) -> sqlite3.Connection:
        # SQLite gives the files beside it (-wal, -shm) the mode of this one.
        os.close(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self._file, check_same_thread=False)
        try:
            _prepare(db)
        except (sqlite3.Error, ValueError):
            db.close()
            raise
        return db

    def _set_aside(self, error: Exception) -> None:
        aside = self._file.with_name(self._file.name + ASIDE)
        log.warning(
            "kept answers unreadable; every registry must answer before anything is served",
            extra={"file": self._file, "reason": str(error), "moved_to": aside},
        )
        self._db = None
        try:
            self._file.replace(aside)
            for suffix in ("-wal", "-shm"):
                self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)
            self._db = self._open()
        except (sqlite3.Error, OSError) as trouble:
            self._go_without(trouble)

    def _go_without(self, error: Exception) -> None:
        log.warning(
            "answers cannot be kept now; every registry must answer before anything is served",
            extra={"file": self._file, "reason": str(error)},
        )

    def _read(self, db: sqlite3.Connection) -> Iterator[tuple[str, Kept]]:
        rows = db.execute("SELECT name, provider, heard_at, remarks FROM registries").fetchall()
        for name, provider, heard_at, remarks in rows:
            workloads = _bodies(db, "workloads", name, self._workloads)
            offers = _bodies(db, "offers", name, self._offers)
            namespaces = {
                namespace: Said(
                    Buckets.of(offers.get(namespace, {})), Buckets.of(workloads.get(namespace, {}))
                )
                for namespace in sorted({*offers, *workloads})
            }
            answer = Answer(
                registry=name,
                provider=Provider(provider),
                namespaces=namespaces,
                remarks=self._remarks.read(remarks),
            )
            yield name, Kept(answer, datetime.fromisoformat(heard_at) if heard_at else None)

    @contextlib.contextmanager
    def _writing(self, what: str) -> Iterator[sqlite3.Connection]:
        """One transaction. ``ValueError``: a text that is none, as a lone surrogate."""
        try:
            if self._db is None:
                self._db = self._open()
            with self._db:
                yield self._db
        except (sqlite3.Error, OSError, ValueError) as error:
            raise Unavailable(f"could not keep {what} in {self._file}: {error}", hint=_HINT) from error


_HINT = "make room on the disk and check who may write there"
_OF_DISKS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}
"""What passes without a change of the settings."""


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 0:
        db.executescript(_TABLES)
    elif version != VERSION:
        raise ValueError(f"it is of version {version}, expected {VERSION}")


def _has_served(db: sqlite3.Connection) -> bool:
    """Then proxies know of no registry but those of this file."""
    return db.execute("SELECT 1 FROM served").fetchone() is not None


def _bodies(db: sqlite3.Connection, table: str, registry: str, codec: Codec[T]) -> dict[str, dict[str, T]]:
    found: dict[str, dict[str, T]] = {}
    query = f"SELECT namespace, name, body FROM {table} WHERE registry = ?"  # noqa: S608 (our own word)
    for namespace, name, body in db.execute(query, (registry,)):
        found.setdefault(namespace, {})[name] = codec.read(body)
    return found


def _replace(
    db: sqlite3.Connection,
    table: str,
    at: tuple[str, str],
    old: Mapping[str, T],
    new: Mapping[str, T],
    codec: Codec[T],
) -> None:
    names = list(Buckets.of(new).changed_since(old))
    gone = ((*at, name) for name in names if name not in new)
    changed = (
        (*at, name, codec.write(new[name]))
        for name in names
        if name in new and not _is_equal(old.get(name), new[name])
    )
    db.executemany(_DELETE.format(table), gone)
    db.executemany(_PUT.format(table), changed)


def _delete(db: sqlite3.Connection, name: str) -> None:
    db.execute("DELETE FROM registries WHERE name = ?", (name,))
    db.execute("DELETE FROM offers WHERE registry = ?", (name,))
    db.execute("DELETE FROM workloads WHERE registry = ?", (name,))


def _changed(before: Answer | None, after: Answer) -> Iterator[tuple[str, Said, Said]]:
    known = before if before is not None else Answer(registry=after.registry, provider=after.provider)
    for namespace in known.namespaces.keys() | after.namespaces.keys():
        old, new = known.said(namespace), after.said(namespace)
        if old is not new:
            yield namespace, old, new


def _is_equal(old: object, new: object) -> bool:
    """After a restart everything is another object, and most of it the same."""
    if isinstance(old, Offer) and isinstance(new, Offer):
        return (old.service, old.instances, old.unready) == (new.service, new.instances, new.unready)
    return old == new
