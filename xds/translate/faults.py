"""How injected faults look: the per-route settings of Envoy's fault filter.

Shares are parts per million. A share nobody named is none: no request is touched (Istio's rule).
"""

from __future__ import annotations

from typing import Any

from mesh.kinds.virtual_service import Abort, Delay, HTTPFaultInjection
from xds import envoy
from xds.translate.http_filters.fault import NAME

_HTTP_FAULT = "envoy.extensions.filters.http.fault.v3.HTTPFault"

GRPC_STATUS = {
    name: number
    for number, name in enumerate(
        (
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        )
    )
}
"""gRPC's names in the order of their numbers. gRPC, "Status codes and their use"."""


def write(said: HTTPFaultInjection | None, route: Any) -> None:
    """Put delay and abort on the Envoy ``Route``, each if asked for."""
    if said is None:
        return
    fault = envoy.message(_HTTP_FAULT)()
    if said.delay is not None and said.delay.fixed_delay is not None:
        envoy.write_duration(fault.delay.fixed_delay, said.delay.fixed_delay)
        write_share(_delay_share(said.delay), fault.delay.percentage)
    if said.abort is not None:
        _write_abort(said.abort, fault)
    if fault.ByteSize() == 0:
        return
    route.typed_per_filter_config[NAME].CopyFrom(envoy.packed(fault))


def write_share(parts_per_million: int, fraction: Any) -> None:
    """Fill an Envoy ``FractionalPercent``."""
    fraction.numerator = parts_per_million
    fraction.denominator = fraction.MILLION


def _delay_share(said: Delay) -> int:
    return said.percentage.value if said.percentage is not None else said.percent * 10_000


def _write_abort(said: Abort, fault: Any) -> None:
    """An abort that does not say with what is none."""
    if said.http_status is not None:
        fault.abort.http_status = said.http_status
    elif said.grpc_status is not None:
        fault.abort.grpc_status = GRPC_STATUS[said.grpc_status]
    else:
        return
    write_share(said.percentage.value if said.percentage is not None else 0, fault.abort.percentage)
