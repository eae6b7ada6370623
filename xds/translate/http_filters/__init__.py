"""The chain of HTTP filters: one tuple, in order, one reason per line.

Each filter says for itself whether it has anything to do in a place. The order is Istio's
(``pilot/pkg/networking/core``, "Filter order": authorization, then fault, then the router).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from xds.translate.http_filters import fault, rbac, router
from xds.translate.http_filters.place import Place, Side

__all__ = ["HTTP_FILTERS", "Place", "Side", "chain"]

BuildFilter = Callable[[Place], Iterable[Any]]

HTTP_FILTERS: tuple[BuildFilter, ...] = (
    rbac.build,  # before anything that does work for the caller; what denies stands before what allows
    fault.build,  # after authorization: who may not call shall not learn of faults by their delay
    router.build,  # last: Envoy demands it
)


def chain(place: Place) -> list[Any]:
    """The HTTP filters of one place, in order."""
    return [made for build in HTTP_FILTERS for made in build(place)]
