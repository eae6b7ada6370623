"""The few network filters: forwarding bytes, and who may have them forwarded."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any

from mesh.views import AccessLog, Authorization, Forwarding
from xds import envoy
from xds.translate import access_logs, authorization
from xds.translate.authorization import Form

_TCP_PROXY = "envoy.filters.network.tcp_proxy"


def outbound(to: Forwarding, log: AccessLog | None) -> list[Any]:
    """All bytes to one service of the mesh, as its traffic policy says."""
    proxy = _proxy(to.cluster, log, to.idle_timeout)
    if to.max_duration is not None:
        envoy.write_duration(proxy.max_downstream_connection_duration, to.max_duration)
    if to.by_source:
        proxy.hash_policy.add().source_ip.SetInParent()
    filters = [network_filter(_TCP_PROXY, proxy)]
    return [_says_bytes(), *filters] if to.says_bytes else filters


def forward(cluster: str, log: AccessLog | None, *, idle_timeout: timedelta | None = None) -> Any:
    """All bytes to one cluster."""
    return network_filter(_TCP_PROXY, _proxy(cluster, log, idle_timeout))


def _proxy(cluster: str, log: AccessLog | None, idle_timeout: timedelta | None) -> Any:
    """The statistics carry the cluster's name."""
    proxy = envoy.message("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy")(
        stat_prefix=cluster, cluster=cluster
    )
    if idle_timeout is not None:
        envoy.write_duration(proxy.idle_timeout, idle_timeout)
    proxy.access_log.extend(access_logs.traffic(log))
    return proxy


@functools.cache
def _says_bytes() -> Any:
    """In mutual TLS the server learns from the names a client offers that these are no requests.

    What the cluster would offer is replaced for this connection: its first name is that of HTTP, and a
    server that reads either would choose the wrong chain. Istio does it in ``istio.metadata_exchange``.
    """
    value = envoy.parsed(
        "envoy.extensions.filters.network.set_filter_state.v3.Config",
        {
            "on_new_connection": [
                {
                    "object_key": "envoy.network.application_protocols",
                    "format_string": {"text_format_source": {"inline_string": "istio"}},
                    "shared_with_upstream": "ONCE",
                }
            ]
        },
    )
    return network_filter("envoy.filters.network.set_filter_state", value)


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
