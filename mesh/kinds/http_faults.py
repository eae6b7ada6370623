"""Faults that are injected on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mesh.kinds.http_actions import http_status
from mesh.kinds.kind import Duration, Kind, Number, Percent, Text
from mesh.kinds.rules import deprecated, durations, one_of, said, wrong
from mesh.places import Place
from mesh.problems import Problem

GRPC_STATUSES: Final = frozenset(
    {
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
    }
)


class Delay(Kind):
    """Istio, "HTTPFaultInjection.Delay". ``percent`` is the old spelling of ``percentage``."""

    percent: Number = 0
    fixed_delay: Duration | None = None
    exponential_delay: Duration | None = None
    percentage: Percent | None = None


class Abort(Kind):
    """Istio, "HTTPFaultInjection.Abort"."""

    http_status: Number | None = None
    grpc_status: Text | None = None
    http2_error: Text | None = None
    percentage: Percent | None = None


class HTTPFaultInjection(Kind):
    """Istio, "HTTPFaultInjection"."""

    delay: Delay | None = None
    abort: Abort | None = None


def check_fault(fault: HTTPFaultInjection, where: Place, at: str) -> Iterator[Problem]:
    if fault.delay is None and fault.abort is None:
        yield from wrong(where, at, "expected at least one of delay, abort")
    if fault.delay is not None:
        yield from _delay(fault.delay, where, f"{at}.delay")
    if fault.abort is not None:
        yield from _abort(fault.abort, where, f"{at}.abort")


def _delay(delay: Delay, where: Place, at: str) -> Iterator[Problem]:
    yield from durations(where, at, fixedDelay=delay.fixed_delay)
    if delay.fixed_delay is None and delay.exponential_delay is None:
        yield from wrong(where, f"{at}.fixedDelay", "missing, and required")
    if delay.percent:
        yield from deprecated(where, f"{at}.percent", "percentage")
        if not 0 <= delay.percent <= 100:
            message = f"expected a number from 0 to 100, found {delay.percent}"
            yield from wrong(where, f"{at}.percent", message)


def _abort(abort: Abort, where: Place, at: str) -> Iterator[Problem]:
    kinds = said(httpStatus=abort.http_status, grpcStatus=abort.grpc_status, http2Error=abort.http2_error)
    yield from one_of(where, at, kinds)
    if not kinds:
        yield where.problem("IST0133", at, "an abort without httpStatus or grpcStatus aborts nothing")
    if abort.http_status is not None:
        yield from wrong(where, f"{at}.httpStatus", http_status(abort.http_status))
    if abort.grpc_status is not None and abort.grpc_status not in GRPC_STATUSES:
        message = f"not a gRPC status: {abort.grpc_status!r}"
        yield from wrong(where, f"{at}.grpcStatus", message, "write its name, NOT_FOUND for example")
