"""DestinationRule: what happens to traffic once its destination is known."""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt
from typing import Literal

from mesh.kinds.destination import PortSelector
from mesh.kinds.frozen import FrozenMap
from mesh.kinds.kind import (
    NOTHING,
    Duration,
    Flag,
    Kind,
    Number,
    Real,
    StringMap,
    Text,
    Texts,
    Unsigned,
    Unsigned64,
)
from mesh.kinds.rules import (
    deprecated,
    dns_label,
    durations,
    export_to,
    label_pairs,
    one_of,
    port,
    said,
    wildcard_domain,
    wrong,
)
from mesh.kinds.selectors import PolicySelector
from mesh.kinds.tls import ClientTLSSettings, check_client
from mesh.kinds.verdicts import Verdicts, words
from mesh.names import is_ip
from mesh.places import Place
from mesh.problems import Problem

# Envoy's own limit, as Istio has it.
MAGLEV_TABLE_LIMIT = 5_000_011

SimpleLB = Literal["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"]
H2UpgradePolicy = Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]


class RingHash(Kind):
    """Istio, "ConsistentHashLB.RingHash"."""

    minimum_ring_size: Unsigned64 = 0


class MagLev(Kind):
    """Istio, "ConsistentHashLB.MagLev"."""

    table_size: Unsigned64 = 0


class CookieAttribute(Kind):
    """Istio, "HTTPCookie.Attribute"."""

    name: Text
    value: Text = ""


class HTTPCookie(Kind):
    """Istio, "ConsistentHashLB.HTTPCookie"."""

    name: Text
    path: Text = ""
    ttl: Duration | None = None
    attributes: tuple[CookieAttribute, ...] = ()


class ConsistentHashLB(Kind):
    """One hash key and at most one algorithm. Istio, "ConsistentHashLB"."""

    http_header_name: Text | None = None
    http_cookie: HTTPCookie | None = None
    use_source_ip: Flag | None = None
    http_query_parameter_name: Text | None = None
    ring_hash: RingHash | None = None
    maglev: MagLev | None = None
    minimum_ring_size: Unsigned64 = 0


class Distribute(Kind):
    """Istio, "LocalityLoadBalancerSetting.Distribute"."""

    from_: Text = ""
    to: FrozenMap[Text, Unsigned] = FrozenMap()


class Failover(Kind):
    """Istio, "LocalityLoadBalancerSetting.Failover"."""

    from_: Text = ""
    to: Text = ""


class LocalityLoadBalancerSetting(Kind):
    """Istio, "LocalityLoadBalancerSetting"."""

    distribute: tuple[Distribute, ...] = ()
    failover: tuple[Failover, ...] = ()
    failover_priority: Texts = ()
    enabled: Flag | None = None


class ZoneAwareLoadBalancerSetting(Kind):
    """Istio, "ZoneAwareLoadBalancerSetting"."""

    enabled: Flag | None = None
    failover: tuple[Failover, ...] = ()
    failover_priority: Texts = ()
    min_cluster_size: Unsigned64 | None = None


class WarmupConfiguration(Kind):
    """Istio, "WarmupConfiguration"."""

    duration: Duration
    minimum_percent: Real | None = None
    aggression: Real | None = None


class LoadBalancerSettings(Kind):
    """Istio, "LoadBalancerSettings"."""

    simple: SimpleLB | None = None
    consistent_hash: ConsistentHashLB | None = None
    locality_lb_setting: LocalityLoadBalancerSetting | None = None
    zone_aware_lb_setting: ZoneAwareLoadBalancerSetting | None = None
    warmup_duration_secs: Duration | None = None
    warmup: WarmupConfiguration | None = None


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


class PortTrafficPolicy(Kind):
    """Replaces the whole policy for one port. Istio, "TrafficPolicy.PortTrafficPolicy"."""

    port: PortSelector | None = None
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None


class TunnelSettings(Kind):
    """Istio, "TrafficPolicy.TunnelSettings"."""

    protocol: Text = ""
    target_host: Text
    target_port: Unsigned


class ProxyProtocol(Kind):
    """Istio, "TrafficPolicy.ProxyProtocol"."""

    version: Literal["V1", "V2"] = "V1"


class RetryBudget(Kind):
    """Istio, "TrafficPolicy.RetryBudget"."""

    percent: Real | None = None
    min_retry_concurrency: Unsigned = 0
    budget_interval: Duration | None = None


class TrafficPolicy(Kind):
    """Istio, "TrafficPolicy"."""

    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None
    port_level_settings: tuple[PortTrafficPolicy, ...] = ()
    tunnel: TunnelSettings | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None


class Subset(Kind):
    """Some endpoints of a host, by their labels. Istio, "Subset"."""

    name: Text
    labels: StringMap = NOTHING
    traffic_policy: TrafficPolicy | None = None


class DestinationRule(Kind):
    """Istio, "DestinationRule"."""

    host: Text
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: Texts = ()
    workload_selector: PolicySelector | None = None


_LATER_LOAD_BALANCING = {
    "localityLbSetting": "leave it out; all endpoints of a subset are equals until then",
    "zoneAwareLbSetting": "leave it out; all endpoints of a subset are equals until then",
    "warmupDurationSecs": "leave it out; new endpoints take their full share at once",
    "warmup": "leave it out; new endpoints take their full share at once",
}
_LATER_TLS = {
    "credentialName": "name files on the proxy: clientCertificate, privateKey, caCertificates",
    "caCrl": "leave it out",
}
_LATER_POLICY = {
    "tunnel": "leave it out",
    "proxyProtocol": "leave it out",
    "retryBudget": "limit retries with connectionPool.http.maxRetries",
}
_POLICIES = ("trafficPolicy", "subsets.trafficPolicy")
_PORT_POLICIES = tuple(f"{policy}.portLevelSettings" for policy in _POLICIES)

VERDICTS = Verdicts(
    carried_out=(
        *words("host exportTo subsets.{ name labels }"),
        *(f"{port_policy}.port" for port_policy in _PORT_POLICIES),
        *(
            f"{policy}.{name}"
            for policy in (*_POLICIES, *_PORT_POLICIES)
            for name in words("""
                loadBalancer.{ simple consistentHash } connectionPool outlierDetection
                tls.{
                    mode clientCertificate privateKey caCertificates subjectAltNames sni insecureSkipVerify
                }
            """)
        ),
    ),
    refused={
        "workloadSelector": "leave it out; the rule then holds for every client it is exported to",
        **{f"{policy}.{name}": hint for policy in _POLICIES for name, hint in _LATER_POLICY.items()},
        **{
            f"{policy}.{above}.{name}": hint
            for policy in (*_POLICIES, *_PORT_POLICIES)
            for above, names in (("loadBalancer", _LATER_LOAD_BALANCING), ("tls", _LATER_TLS))
            for name, hint in names.items()
        },
    },
)


def check(rule: DestinationRule, where: Place) -> Iterator[Problem]:
    """Istio, ``ValidateDestinationRule``."""
    if not is_ip(rule.host):
        yield from wrong(where, "spec.host", wildcard_domain(rule.host))
    if rule.traffic_policy is not None:
        yield from _policy(rule.traffic_policy, where, "spec.trafficPolicy")
    names: set[str] = set()
    for index, subset in enumerate(rule.subsets):
        at = f"spec.subsets[{index}]"
        if subset.name in names:
            yield from wrong(where, f"{at}.name", f"the subset {subset.name!r} appears twice")
        names.add(subset.name)
        yield from wrong(where, f"{at}.name", dns_label(subset.name))
        yield from label_pairs(where, f"{at}.labels", subset.labels)
        if subset.traffic_policy is not None:
            yield from _policy(subset.traffic_policy, where, f"{at}.trafficPolicy")
    namespace = where.object.namespace if where.object else ""
    yield from export_to(where, namespace, rule.export_to)


def _policy(policy: TrafficPolicy, where: Place, at: str) -> Iterator[Problem]:
    if not policy.model_fields_set:
        yield from wrong(where, at, "expected at least one field, found none")
    if policy.tunnel is not None and policy.proxy_protocol is not None:
        yield from wrong(where, at, "expected only one of tunnel, proxyProtocol")
    yield from _parts(policy, where, at)
    for index, settings in enumerate(policy.port_level_settings):
        path = f"{at}.portLevelSettings[{index}]"
        if settings.port is None:
            yield from wrong(where, f"{path}.port", "missing, and required")
        else:
            yield from wrong(where, f"{path}.port.number", port(settings.port.number))
        if not settings.model_fields_set - {"port"}:
            yield from wrong(where, path, "expected at least one field beside port, found none")
        yield from _parts(settings, where, path)


def _parts(policy: TrafficPolicy | PortTrafficPolicy, where: Place, at: str) -> Iterator[Problem]:
    if policy.load_balancer is not None:
        yield from _load_balancer(policy.load_balancer, where, f"{at}.loadBalancer")
    if policy.connection_pool is not None:
        yield from check_connection_pool(policy.connection_pool, where, f"{at}.connectionPool")
    if policy.outlier_detection is not None:
        yield from check_outlier_detection(policy.outlier_detection, where, f"{at}.outlierDetection")
    if policy.tls is not None:
        yield from check_client(policy.tls, where, f"{at}.tls")


def _load_balancer(settings: LoadBalancerSettings, where: Place, at: str) -> Iterator[Problem]:
    yield from one_of(where, at, said(simple=settings.simple, consistentHash=settings.consistent_hash))
    if settings.simple == "LEAST_CONN":
        yield from deprecated(where, f"{at}.simple", "LEAST_REQUEST")
    if settings.consistent_hash is not None:
        yield from _consistent_hash(settings.consistent_hash, where, f"{at}.consistentHash")
    if settings.warmup is not None:
        warmup = settings.warmup
        yield from durations(where, f"{at}.warmup", duration=warmup.duration)
        if warmup.minimum_percent is not None and not 0 <= warmup.minimum_percent <= 100:
            message = f"expected a number from 0 to 100, found {warmup.minimum_percent}"
            yield from wrong(where, f"{at}.warmup.minimumPercent", message)
        if warmup.aggression is not None and warmup.aggression <= 0:
            message = f"expected a number above 0, found {warmup.aggression}"
            yield from wrong(where, f"{at}.warmup.aggression", message)


def _consistent_hash(hashing: ConsistentHashLB, where: Place, at: str) -> Iterator[Problem]:
    keys = said(
        httpHeaderName=hashing.http_header_name,
        httpCookie=hashing.http_cookie,
        useSourceIp=hashing.use_source_ip,
        httpQueryParameterName=hashing.http_query_parameter_name,
    )
    yield from one_of(where, at, keys)
    if not keys:
        message = "expected one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName"
        yield from wrong(where, at, message)
    yield from one_of(where, at, said(ringHash=hashing.ring_hash, maglev=hashing.maglev))
    if hashing.http_cookie is not None:
        names = [attribute.name for attribute in hashing.http_cookie.attributes]
        for index, name in enumerate(names):
            if name in names[:index]:
                path = f"{at}.httpCookie.attributes[{index}].name"
                yield from wrong(where, path, f"the attribute {name!r} appears twice")
    if hashing.minimum_ring_size:
        yield from deprecated(where, f"{at}.minimumRingSize", "ringHash.minimumRingSize")
        if hashing.ring_hash is not None or hashing.maglev is not None:
            yield from wrong(where, f"{at}.minimumRingSize", "cannot be set beside ringHash or maglev")
    if hashing.maglev is not None and not _is_table_size(hashing.maglev.table_size):
        message = f"expected a prime number below {MAGLEV_TABLE_LIMIT}, found {hashing.maglev.table_size}"
        yield from wrong(where, f"{at}.maglev.tableSize", message)


def _is_table_size(size: int) -> bool:
    return 2 <= size < MAGLEV_TABLE_LIMIT and all(size % factor for factor in range(2, isqrt(size) + 1))


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
