"""Delays and aborts. The filter itself is idle: what it does is said by the route."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from xds import envoy
from xds.translate.http_filters.place import Place, Side

NAME = "envoy.filters.http.fault"


def build(place: Place) -> Iterator[Any]:
    """Wherever VirtualServices act, also when none has a fault yet.

    A listener that gains a filter is replaced and its connections are drained: too much for a
    fault that comes and goes with a commit.
    """
    if place.side is not Side.INBOUND:
        yield _filter()


@functools.cache
def _filter() -> Any:
    config = envoy.message("envoy.extensions.filters.http.fault.v3.HTTPFault")()
    return envoy.message("envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter")(
        name=NAME, typed_config=envoy.packed(config)
    )
