"""Gets the first certificate, or keeps one fresh for ever.

The token is read anew for every attempt: the kubelet replaces it long before it ends. What fails is tried
again, ever slower; a certificate in use stays in use meanwhile.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import NoReturn

from ca import rotation
from mesh.clock import Clock
from mesh.errors import MeshError, Misconfigured, Unavailable
from reconciler.enrolling import asking
from reconciler.enrolling.asking import Issued
from reconciler.enrolling.door import Server
from reconciler.enrolling.files import Files, is_due

log = logging.getLogger(__name__)

_PAUSE, _PAUSE_MAX = timedelta(seconds=1), timedelta(minutes=5)
# How long the first certificate is awaited before the Pod's own back-off takes over.
_PATIENCE = timedelta(minutes=5)
_TOKEN_BYTES_MAX = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """Whose identity is asked for, and where."""

    servers: tuple[Server, ...]
    token_file: Path
    files: Files
    root: str
    """The root that the Pod was given, by which the control plane is known at first."""
    cluster: str = ""


@dataclass(slots=True)
class Pauses:
    """Between failures: doubled each time, and never the same in two Pods. Owned by one loop."""

    random: Random = field(default_factory=Random)
    _next: timedelta = _PAUSE

    def after_failure(self) -> timedelta:
        pause = self._next * self.random.uniform(0.5, 1.0)
        self._next = min(self._next * 2, _PAUSE_MAX)
        return pause

    def after_success(self) -> None:
        self._next = _PAUSE

    def share(self) -> float:
        """Half of a life, give or take one percent, so that Pods do not renew in step."""
        return self.random.uniform(asking.RENEWAL_SHARE_MIN, 0.51)


async def enrol(pod: Pod, clock: Clock, pauses: Pauses | None = None) -> Issued:
    """Get a certificate and put it in use; who does not answer is asked again for some minutes.

    :raises Refused: when the control plane says no.
    :raises Unavailable: when it does not answer.
    """
    pauses = pauses or Pauses()
    until = clock.monotonic() + _PATIENCE.total_seconds()
    while True:
        try:
            return await _issued(pod, clock)
        except Unavailable as error:
            pause = pauses.after_failure()
            if clock.monotonic() + pause.total_seconds() > until:
                raise
            _tell(error, pause)
            await clock.sleep(pause)


async def watch(pod: Pod, clock: Clock, pauses: Pauses | None = None) -> NoReturn:
    """Renew at half of the certificate's life, for ever."""
    pauses = pauses or Pauses()
    share = pauses.share()
    while True:
        try:
            current = pod.files.current()
            if current is None or is_due(current, clock.now(), share):
                current = (await _issued(pod, clock)).certificate
                share = pauses.share()
            pauses.after_success()
            start, end = current.not_valid_before_utc, current.not_valid_after_utc
            wait = rotation.wait_until(start + (end - start) * share, clock.now())
        except MeshError as error:
            wait = pauses.after_failure()
            _tell(error, wait)
        await clock.sleep(max(wait, _PAUSE / 2))


def _tell(error: MeshError, pause: timedelta) -> None:
    log.warning(
        "no certificate yet",
        extra={"reason": str(error), "hint": error.hint, "again_in_s": round(pause.total_seconds(), 1)},
    )


async def _issued(pod: Pod, clock: Clock) -> Issued:
    """From the first server that answers. What is refused by one is not tried at the next."""
    token = _token(pod.token_file)
    roots = pod.files.roots() + pod.root
    folder = pod.files.prepared()
    failure: Unavailable | None = None
    for server in pod.servers:
        try:
            issued = await asking.certificate(
                server, token=token, cluster=pod.cluster, roots=roots, folder=folder, now=clock.now()
            )
        except Unavailable as error:
            failure = error
            continue
        pod.files.publish(key=issued.key, chain=issued.chain, roots=issued.roots)
        log.info("enrolled", extra={"until": issued.certificate.not_valid_after_utc.isoformat()})
        return issued
    raise failure or Misconfigured("no server is named", hint="name one with --server")


def _token(path: Path) -> str:
    try:
        with path.open() as file:
            token = file.read(_TOKEN_BYTES_MAX).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it holds no text"
        raise Misconfigured(
            f"cannot read the token from {path}: {reason}",
            hint="mount a projected ServiceAccount token with audience meshwright-ca",
        ) from None
    if not token or not token.isascii() or any(character.isspace() for character in token):
        raise Misconfigured(f"{path} holds no token", hint="it is one line of text, from the kubelet")
    return token
