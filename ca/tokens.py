"""One-time join tokens: made for one machine, kept as a hash, used up exactly once.

A token reads ``mw1.<id>.<secret>.<hash of the CA's root>.<trust domain>``. The last two let a
machine verify the server before it says anything to it; the secret has 256 random bits, so a
plain SHA-256 of it is enough to keep.

Each token is one file that never changes, ``<id>.json``. Using it up creates ``<id>.used``, which
only one of many can do, between processes as well, and which is on the disk before a certificate
is signed. Revoking creates the same file, so using and revoking cannot both win.

Why a token may be shown twice: the network can fail between using up and answering, and the
machine would be locked out. So for ten minutes the same token is good for the *same public key*
again. Whoever steals the token in between has another key and is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ca import store
from ca.callers import Caller, Unproven
from ca.profile import machine_name
from mesh.durations import spoken_duration
from mesh.errors import Refused
from mesh.identity import SpiffeId

LIFETIME_MAX = timedelta(days=7)
REPEAT_WITHIN = timedelta(minutes=10)
# How long a token that is over can still be told apart from one that never was.
_REMEMBERED = timedelta(days=7)

_VERSION = "mw1"
_ID = re.compile(r"[0-9a-f]{16}")
_REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class _Mark:
    """When a token was used up, and by which public key; or that it was revoked."""

    at: datetime
    key: str

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """What is known of a token. The secret is not."""

    id: str
    caller: Caller
    expires: datetime
    used: datetime | None
    is_revoked: bool


class JoinTokens:
    """The tokens of one state directory. Holds nothing in memory, so any process may ask."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def create(self, caller: Caller, ttl: timedelta, *, root_hash: str, now: datetime) -> str:
        """The text of a new token. It is shown once and cannot be had again."""
        if not timedelta(0) < ttl <= LIFETIME_MAX:
            raise Refused(
                f"token lifetime {spoken_duration(ttl)} is not between 0s and "
                f"{spoken_duration(LIFETIME_MAX)}",
                hint="an hour is usual; a machine uses its token once",
            )
        machine_name(caller.name)
        store.make_directory(self._directory)
        self._forget(now)
        token_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        record = {
            "identity": str(caller.identity),
            "name": caller.name,
            "expires": (now + ttl).isoformat(),
            "secret_sha256": _hash(secret),
        }
        store.create_file(self._record(token_id), _json(record))
        return f"{_VERSION}.{token_id}.{secret}.{root_hash}.{caller.identity.trust_domain}"

    def check(self, text: str, now: datetime) -> JoinToken:
        """The token behind its text, if it is one of ours and its time is not over."""
        version, _, rest = text.strip().partition(".")
        token_id, _, rest = rest.partition(".")
        secret = rest.partition(".")[0]
        record = self._read(self._record(token_id)) if _ID.fullmatch(token_id) else None
        known = record["secret_sha256"] if record else ""
        if version != _VERSION or not hmac.compare_digest(known, _hash(secret)) or record is None:
            raise Unproven(
                "join token is not one of this mesh", hint="ask the operator for one: meshwright ca token"
            )
        token = self._token(token_id, record)
        if now >= token.expires:
            raise Unproven(
                f"join token {token_id} expired at {token.expires:%Y-%m-%d %H:%M:%S} UTC",
                hint="ask the operator for a new one: meshwright ca token",
            )
        return token

    def use(self, token: JoinToken, key_hash: str, now: datetime) -> None:
        """Use the token up for this public key. Returning is the permission to sign."""
        mark = {"at": now.isoformat(), "key": key_hash}
        try:
            store.create_file(self._mark(token.id), _json(mark))
        except FileExistsError:
            self._allow_repeat(token.id, key_hash, now)

    def revoke(self, token_id: str, now: datetime) -> None:
        """Make an unused token worthless."""
        if not _ID.fullmatch(token_id) or not self._record(token_id).exists():
            raise Refused(f"no join token {token_id!r}", hint="list them: meshwright ca token --list")
        try:
            store.create_file(self._mark(token_id), _json({"at": now.isoformat(), "key": _REVOKED}))
        except FileExistsError:
            mark = self._read_mark(token_id)
            if mark is not None and mark.key != _REVOKED:
                raise Refused(
                    f"join token {token_id} was already used at {mark}",
                    hint="if that was not its machine, revoke the certificate",
                ) from None

    def listed(self) -> tuple[JoinToken, ...]:
        """Every token that is remembered, the next to expire first."""
        return tuple(sorted(self._tokens(), key=lambda token: (token.expires, token.id)))

    def _allow_repeat(self, token_id: str, key_hash: str, now: datetime) -> None:
        mark = self._read_mark(token_id)
        if mark is None or mark.key == _REVOKED:
            raise Unproven(
                f"join token {token_id} was revoked at {mark or 'an unknown time'}",
                hint="ask the operator for a new one: meshwright ca token",
            )
        if mark.key != key_hash or abs(now - mark.at) > REPEAT_WITHIN:
            raise Unproven(
                f"join token {token_id} was already used at {mark}",
                hint="if that was not this machine, tell the operator; a new token: meshwright ca token",
            )

    def _tokens(self) -> Iterator[JoinToken]:
        for path in self._directory.glob("*.json"):
            record = self._read(path)
            if record is not None:
                yield self._token(path.stem, record)

    def _token(self, token_id: str, record: dict[str, Any]) -> JoinToken:
        mark = self._read_mark(token_id)
        return JoinToken(
            id=token_id,
            caller=Caller(SpiffeId.parse(record["identity"]), record["name"]),
            expires=datetime.fromisoformat(record["expires"]),
            used=mark.at if mark else None,
            is_revoked=mark is not None and mark.key == _REVOKED,
        )

    def _forget(self, now: datetime) -> None:
        """The record first: a mark without a record is harmless, the reverse would revive a token."""
        for token in self._tokens():
            if now > token.expires + _REMEMBERED:
                self._record(token.id).unlink(missing_ok=True)
                self._mark(token.id).unlink(missing_ok=True)

    def _record(self, token_id: str) -> Path:
        return self._directory / f"{token_id}.json"

    def _mark(self, token_id: str) -> Path:
        return self._directory / f"{token_id}.used"

    def _read_mark(self, token_id: str) -> _Mark | None:
        mark = self._read(self._mark(token_id))
        return _Mark(datetime.fromisoformat(mark["at"]), mark["key"]) if mark else None

    def _read(self, path: Path) -> dict[str, Any] | None:
        if not path.exists():
            return None
        content: dict[str, Any] = json.loads(store.read(path))
        return content


def _hash(secret: str) -> str:
    # Whatever bytes a caller sends, as text that came out of a header.
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _json(value: dict[str, str]) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"
