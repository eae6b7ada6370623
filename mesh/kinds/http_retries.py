"""When and how often a failed request is tried again; VirtualService and MeshConfig share it."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

from mesh.kinds.kind import Duration, Flag, Kind, Number, Text
from mesh.kinds.rules import durations, wrong
from mesh.places import Place
from mesh.problems import Problem

RETRY_ON: Final = frozenset(
    {
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "envoy-ratelimited",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    }
)


class HTTPRetry(Kind):
    """Istio, "HTTPRetry". ``attempts`` of 0 switches retries off."""

    attempts: Number = 0
    per_try_timeout: Duration | None = None
    retry_on: Text = ""
    retry_remote_localities: Flag | None = None
    retry_ignore_previous_hosts: Flag | None = None
    backoff: Duration | None = None


def check_retries(retries: HTTPRetry, where: Place, at: str) -> Iterator[Problem]:
    if retries.attempts < 0:
        yield from wrong(where, f"{at}.attempts", f"expected a number from 0, found {retries.attempts}")
    if retries.attempts == 0 and (
        retries.per_try_timeout is not None or retries.retry_on or retries.retry_remote_localities is not None
    ):
        yield from wrong(where, f"{at}.attempts", "retries are switched off (attempts is 0) and configured")
    yield from durations(where, at, perTryTimeout=retries.per_try_timeout, backoff=retries.backoff)
    for condition in retries.retry_on.split(",") if retries.retry_on else ():
        if condition not in RETRY_ON and not _is_status(condition):
            yield from wrong(where, f"{at}.retryOn", f"not a condition to retry on: {condition!r}")


def _is_status(text: str) -> bool:
    return text.isascii() and text.isdigit() and text in {str(int(status)) for status in HTTPStatus}
