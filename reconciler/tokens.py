"""Join tokens as the operator handles them: made, listed, revoked in the state directory."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from ca.authority import Authority, open_authority
from ca.callers import Caller
from ca.profile import machine_name
from ca.store import make_directory
from ca.tokens import LIFETIME_MAX, JoinToken, JoinTokens
from mesh.clock import Clock
from mesh.durations import parse_duration, spoken_duration
from mesh.errors import Misconfigured, Refused, Unavailable
from mesh.identity import SpiffeId
from mesh.names import DEFAULT_DOMAIN
from reconciler.render_status import table

FOLDER = Path("ca") / "tokens"
_TRUST_DOMAIN = "trust-domain"
# Kubernetes, "Object Names and IDs": a namespace is a DNS label, a service account's name a DNS subdomain.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SUBDOMAIN_MAX = 253


class Desk:
    """The tokens of one state directory."""

    def __init__(self, state: Path, ca_directory: Path | None, clock: Clock) -> None:
        self._state, self._plugged_in, self._clock = state, ca_directory, clock
        self._tokens = JoinTokens(state / FOLDER)

    def create(self, identity: str | None, name: str | None, ttl: str) -> str:
        """The text of a new token.

        :raises Misconfigured: when something is missing, or there is no CA yet.
        """
        namespace, slash, account = (identity or "").partition("/")
        if not (name and slash):
            raise Misconfigured(
                "a join token needs an identity and a machine's name",
                hint="meshwright ca token --identity NAMESPACE/ACCOUNT --name NAME",
            )
        _check_account(namespace, account)
        lifetime = _lifetime(ttl)
        try:
            machine_name(name)
        except Refused as refused:
            raise Misconfigured(str(refused), hint=refused.hint) from refused
        _be_owner(self._state)
        authority = self._authority()
        caller = Caller(SpiffeId(authority.trust_domain, namespace, account), name)
        return self._tokens.create(caller, lifetime, root_hash=authority.root_hash, now=self._clock.now())

    def revoke(self, token_id: str) -> None:
        _be_owner(self._state)
        self._tokens.revoke(token_id, self._clock.now())

    def listed(self) -> tuple[JoinToken, ...]:
        return self._tokens.listed()

    def _authority(self) -> Authority:
        """The authority in force. None is made here: its trust domain is the mesh's to say."""
        directory = self._plugged_in or self._state / "ca" / "intermediate"
        if not directory.exists():
            raise Misconfigured(
                f"there is no CA in {self._state}",
                hint="start `meshwright serve` with this --state first, or run `meshwright ca init`",
            )
        if self._plugged_in is not None and kept_trust_domain(self._state) is None:
            raise Misconfigured(
                f"whom the CA in {self._plugged_in} signs for is not known in {self._state}",
                hint="start `meshwright serve` with this --state first, or run "
                "`meshwright ca init --trust-domain NAME`",
            )
        return open_authority(
            self._state / "ca",
            self._clock.now(),
            trust_domain=trust_domain(self._state),
            plugged_in=self._plugged_in,
        )


def open_ca(state: Path, plugged_in: Path | None, wanted: str | None, clock: Clock) -> Authority:
    """The authority of this state, made for ``wanted`` when there is none yet.

    :raises Misconfigured: when there is one for another trust domain: all that it signed would be worthless.
    """
    _be_owner(state)
    kept = kept_trust_domain(state)
    if wanted and kept and wanted != kept:
        raise Misconfigured(
            f"the CA in {state} signs for trust domain {kept!r}, not for {wanted!r}",
            hint="leave out --trust-domain, or start with a new state directory",
        )
    domain = wanted or kept or DEFAULT_DOMAIN
    authority = open_authority(state / "ca", clock.now(), trust_domain=domain, plugged_in=plugged_in)
    # A CA that is only looked at leaves no trace: which trust domain is meant, nobody has said.
    if wanted or plugged_in is None:
        make_directory(state)
        keep_trust_domain(state, domain)
    return authority


def _check_account(namespace: str, account: str) -> None:
    if not _LABEL.fullmatch(namespace):
        raise Misconfigured(
            f"not a namespace: {namespace!r}",
            hint="a DNS label: at most 63 lower case letters, digits and '-', "
            "with a letter or digit at both ends",
        )
    if not _SUBDOMAIN.fullmatch(account) or len(account) > _SUBDOMAIN_MAX:
        raise Misconfigured(
            f"not a service account: {account!r}",
            hint="as in Kubernetes: lower case letters, digits, '-' and '.', "
            "with a letter or digit at both ends",
        )


def _lifetime(text: str) -> timedelta:
    try:
        lifetime = parse_duration(text)
    except ValueError:
        raise Misconfigured(f"not a duration: {text!r}", hint="write it as 30m or 1h") from None
    if not timedelta(0) < lifetime <= LIFETIME_MAX:
        raise Misconfigured(
            f"token lifetime {spoken_duration(lifetime)} is not between 0s and "
            f"{spoken_duration(LIFETIME_MAX)}",
            hint="an hour is usual; a machine uses its token once",
        )
    return lifetime


def keep_trust_domain(state: Path, name: str) -> None:
    """Note whom the CA of this state signs for, so that commands know it without the daemon.

    Written once: a control plane that starts again must not need space on the disk.
    """
    if kept_trust_domain(state) == name:
        return
    made = state / (_TRUST_DOMAIN + ".new")
    try:
        made.write_text(name + "\n", encoding="utf-8")
        made.replace(state / _TRUST_DOMAIN)
    except OSError as error:
        raise Unavailable(
            f"could not write {made}: {error.strerror}", hint="check the space and the owner of the directory"
        ) from error


def kept_trust_domain(state: Path) -> str | None:
    """Whom the CA of this state signs for; ``None`` as long as there is none."""
    kept = state / _TRUST_DOMAIN
    return (kept.read_text(encoding="utf-8").strip() or None) if kept.exists() else None


def trust_domain(state: Path) -> str:
    """Whom the CA of this state signs for, or will by default."""
    return kept_trust_domain(state) or DEFAULT_DOMAIN


def _be_owner(state: Path) -> None:
    """What root writes here (with sudo, say), the control plane cannot read."""
    if state.exists() and state.stat().st_uid != os.geteuid():
        owner = state.stat().st_uid
        raise Misconfigured(
            f"{state} belongs to another user (uid {owner})",
            hint=f"run it as its owner: sudo -u '#{owner}' …",
        )


def render(tokens: Sequence[JoinToken], output: str) -> str:
    """The tokens that are remembered; their secrets are not."""
    rows = [
        {
            "id": token.id,
            "identity": str(token.caller.identity),
            "name": token.caller.name,
            "expires": token.expires.isoformat(timespec="seconds"),
            "state": "revoked" if token.is_revoked else "used" if token.used else "open",
        }
        for token in tokens
    ]
    if output == "json":
        return json.dumps({"tokens": rows}, indent=2)
    return "\n".join(
        table([("ID", "IDENTITY", "NAME", "EXPIRES", "STATE"), *(tuple(row.values()) for row in rows)])
    )
