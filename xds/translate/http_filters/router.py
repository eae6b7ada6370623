"""The filter that sends requests on."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from xds import envoy
from xds.translate.http_filters.place import Place


def build(place: Place) -> Iterator[Any]:  # noqa: ARG001  every filter is built from its place
    yield _filter()


@functools.cache
def _filter() -> Any:
    config = envoy.message("envoy.extensions.filters.http.router.v3.Router")()
    return envoy.message("envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter")(
        name="envoy.filters.http.router", typed_config=envoy.packed(config)
    )
