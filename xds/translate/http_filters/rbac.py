"""Who may send which requests: one filter that denies, one that allows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xds import envoy
from xds.translate import authorization
from xds.translate.authorization import Form
from xds.translate.downstream_tls import trust_domains
from xds.translate.http_filters.place import Place


def build(place: Place) -> Iterator[Any]:
    """Nothing where no policy selects the workload: everybody may."""
    for verdict in authorization.verdicts(place.authorization, trust_domains(place.settings), Form.HTTP):
        config = envoy.message("envoy.extensions.filters.http.rbac.v3.RBAC")(**verdict.fields())
        yield envoy.message("envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter")(
            name="envoy.filters.http.rbac", typed_config=envoy.packed(config)
        )
