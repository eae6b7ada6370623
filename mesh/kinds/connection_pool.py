"""How many connections and requests a destination may get, and how long they last; shared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from mesh.kinds.kind import Duration, Flag, Kind, Number, Unsigned
from mesh.kinds.rules import durations, wrong
from mesh.places import Place
from mesh.problems import Problem

H2UpgradePolicy = Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]


class TcpKeepalive(Kind):
    """Istio, "ConnectionPoolSettings.TCPSettings.TcpKeepalive"."""

    probes: Unsigned = 0
    time: Duration | None = None
    interval: Duration | None = None


class TCPSettings(Kind):
    """Istio, "ConnectionPoolSettings.TCPSettings"."""

    max_connections: Number = 0
    connect_timeout: Duration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: Duration | None = None
    idle_timeout: Duration | None = None


class ConnectionKeepalive(Kind):
    """Istio, "ConnectionPoolSettings.HTTPSettings.ConnectionKeepalive"."""

    interval: Duration | None = None
    timeout: Duration | None = None


class HTTPSettings(Kind):
    """Istio, "ConnectionPoolSettings.HTTPSettings"."""

    http1_max_pending_requests: Number = 0
    http2_max_requests: Number = 0
    max_requests_per_connection: Number = 0
    max_retries: Number = 0
    idle_timeout: Duration | None = None
    h2_upgrade_policy: H2UpgradePolicy = "DEFAULT"
    use_client_protocol: Flag = False
    max_concurrent_streams: Number = 0
    http2_keep_alive: ConnectionKeepalive | None = None


class ConnectionPoolSettings(Kind):
    """Istio, "ConnectionPoolSettings"."""

    tcp: TCPSettings | None = None
    http: HTTPSettings | None = None


def check_connection_pool(pool: ConnectionPoolSettings, where: Place, at: str) -> Iterator[Problem]:
    """Istio, ``validateConnectionPool``."""
    if pool.tcp is None and pool.http is None:
        yield from wrong(where, at, "expected at least one of tcp, http")
    if pool.tcp is not None:
        yield from _tcp(pool.tcp, where, f"{at}.tcp")
    if pool.http is not None:
        yield from _http(pool.http, where, f"{at}.http")


def _tcp(tcp: TCPSettings, where: Place, at: str) -> Iterator[Problem]:
    yield from _not_negative(where, at, maxConnections=tcp.max_connections)
    yield from durations(
        where,
        at,
        connectTimeout=tcp.connect_timeout,
        maxConnectionDuration=tcp.max_connection_duration,
        # 0 switches it off.
        idleTimeout=tcp.idle_timeout or None,
    )
    if (keepalive := tcp.tcp_keepalive) is not None:
        yield from durations(where, f"{at}.tcpKeepalive", time=keepalive.time, interval=keepalive.interval)


def _http(http: HTTPSettings, where: Place, at: str) -> Iterator[Problem]:
    yield from _not_negative(
        where,
        at,
        http1MaxPendingRequests=http.http1_max_pending_requests,
        http2MaxRequests=http.http2_max_requests,
        maxRequestsPerConnection=http.max_requests_per_connection,
        maxRetries=http.max_retries,
        maxConcurrentStreams=http.max_concurrent_streams,
    )
    yield from durations(where, at, idleTimeout=http.idle_timeout)
    if http.h2_upgrade_policy == "UPGRADE" and http.use_client_protocol:
        yield from wrong(where, f"{at}.useClientProtocol", "cannot be true with h2UpgradePolicy UPGRADE")
    if (pings := http.http2_keep_alive) is not None:
        times = {"interval": pings.interval, "timeout": pings.timeout}
        for name, time in times.items():
            if time is None:
                yield from wrong(where, f"{at}.http2KeepAlive.{name}", "missing, and required")
        yield from durations(where, f"{at}.http2KeepAlive", **times)


def _not_negative(where: Place, at: str, **counts: int) -> Iterator[Problem]:
    for name, count in counts.items():
        if count < 0:
            yield from wrong(where, f"{at}.{name}", f"expected a number from 0, found {count}")
