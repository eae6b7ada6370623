"""When an endpoint that fails is left out for a while; shared."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.kinds.kind import Duration, Flag, Kind, Number, Unsigned
from mesh.kinds.rules import deprecated, durations, wrong
from mesh.places import Place
from mesh.problems import Problem


class OutlierDetection(Kind):
    """Istio, "OutlierDetection". ``consecutiveErrors`` is gone from Istio's own behaviour."""

    consecutive_errors: Number = 0
    split_external_local_origin_errors: Flag = False
    consecutive_local_origin_failures: Unsigned | None = None
    consecutive_gateway_errors: Unsigned | None = None
    consecutive_5xx_errors: Unsigned | None = None
    interval: Duration | None = None
    base_ejection_time: Duration | None = None
    max_ejection_percent: Number = 0
    min_health_percent: Number = 0
    outlier_detection_http_error_codes: tuple[Unsigned, ...] = ()


def check_outlier_detection(outlier: OutlierDetection, where: Place, at: str) -> Iterator[Problem]:
    """Istio, ``validateOutlierDetection``."""
    if outlier.consecutive_errors:
        yield from deprecated(
            where, f"{at}.consecutiveErrors", "consecutive5xxErrors or consecutiveGatewayErrors"
        )
    if outlier.consecutive_local_origin_failures and not outlier.split_external_local_origin_errors:
        message = "needs splitExternalLocalOriginErrors to be true"
        yield from wrong(where, f"{at}.consecutiveLocalOriginFailures", message)
    yield from durations(where, at, interval=outlier.interval, baseEjectionTime=outlier.base_ejection_time)
    for name, percent in (
        ("maxEjectionPercent", outlier.max_ejection_percent),
        ("minHealthPercent", outlier.min_health_percent),
    ):
        if not 0 <= percent <= 100:
            yield from wrong(where, f"{at}.{name}", f"expected a number from 0 to 100, found {percent}")
