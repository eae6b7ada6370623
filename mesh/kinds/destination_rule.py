"""DestinationRule: what happens to traffic once its destination is known.

The parts of a policy have modules of their own and are found here too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from mesh.kinds.connection_pool import (
    ConnectionKeepalive,
    ConnectionPoolSettings,
    H2UpgradePolicy,
    HTTPSettings,
    TcpKeepalive,
    TCPSettings,
    check_connection_pool,
)
from mesh.kinds.destination import PortSelector
from mesh.kinds.kind import NOTHING, Duration, Kind, Real, StringMap, Text, Texts, Unsigned
from mesh.kinds.load_balancing import (
    ConsistentHashLB,
    CookieAttribute,
    Distribute,
    Failover,
    HTTPCookie,
    LoadBalancerSettings,
    LocalityLoadBalancerSetting,
    MagLev,
    RingHash,
    SimpleLB,
    WarmupConfiguration,
    ZoneAwareLoadBalancerSetting,
    check_load_balancer,
)
from mesh.kinds.outlier_detection import OutlierDetection, check_outlier_detection
from mesh.kinds.rules import dns_label, export_to, label_pairs, port, wildcard_domain, wrong
from mesh.kinds.selectors import PolicySelector
from mesh.kinds.tls import ClientTLSSettings, check_client
from mesh.kinds.verdicts import Verdicts, words
from mesh.names import is_ip
from mesh.places import Place
from mesh.problems import Problem

__all__ = [
    "ConnectionKeepalive",
    "ConnectionPoolSettings",
    "ConsistentHashLB",
    "CookieAttribute",
    "DestinationRule",
    "Distribute",
    "Failover",
    "H2UpgradePolicy",
    "HTTPCookie",
    "HTTPSettings",
    "LoadBalancerSettings",
    "LocalityLoadBalancerSetting",
    "MagLev",
    "OutlierDetection",
    "PortTrafficPolicy",
    "ProxyProtocol",
    "RetryBudget",
    "RingHash",
    "SimpleLB",
    "Subset",
    "TCPSettings",
    "TcpKeepalive",
    "TrafficPolicy",
    "TunnelSettings",
    "WarmupConfiguration",
    "ZoneAwareLoadBalancerSetting",
]


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
        yield from check_load_balancer(policy.load_balancer, where, f"{at}.loadBalancer")
    if policy.connection_pool is not None:
        yield from check_connection_pool(policy.connection_pool, where, f"{at}.connectionPool")
    if policy.outlier_detection is not None:
        yield from check_outlier_detection(policy.outlier_detection, where, f"{at}.outlierDetection")
    if policy.tls is not None:
        yield from check_client(policy.tls, where, f"{at}.tls")
