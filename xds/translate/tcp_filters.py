"""The few network filters: forwarding bytes, and who may have them forwarded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from mesh.views import AccessLog, Authorization
from xds import envoy
from xds.translate import access_logs, authorization
from xds.translate.authorization import Form


def forward(cluster: str, log: AccessLog | None, *, idle_timeout: timedelta | None = None) -> Any:
    """All bytes to one cluster. The statistics carry its name."""
    proxy = envoy.message("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy")(
        stat_prefix=cluster, cluster=cluster
    )
    if idle_timeout is not None:
        envoy.write_duration(proxy.idle_timeout, idle_timeout)
    proxy.access_log.extend(access_logs.traffic(log))
    return network_filter("envoy.filters.network.tcp_proxy", proxy)


def guards(policies: Authorization, trust_domains: tuple[str, ...]) -> list[Any]:
    """The authorization of a connection: deny before allow, nothing where nobody said anything."""
    return [
        network_filter(
            "envoy.filters.network.rbac",
            envoy.message("envoy.extensions.filters.network.rbac.v3.RBAC")(
                stat_prefix="tcp.", **found.fields()
            ),
        )
        for found in authorization.verdicts(policies, trust_domains, Form.TCP)
    ]


def network_filter(name: str, config: Any) -> Any:
    """A network filter under the name Envoy knows it by."""
    return envoy.message("envoy.config.listener.v3.Filter")(name=name, typed_config=envoy.packed(config))
