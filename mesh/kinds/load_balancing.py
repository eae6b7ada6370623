"""How one of a destination's endpoints is chosen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from math import isqrt
from typing import Literal

from mesh.kinds.frozen import FrozenMap
from mesh.kinds.header_rules import header_name, lines
from mesh.kinds.kind import Duration, Flag, Kind, Real, Text, Texts, Unsigned, Unsigned64
from mesh.kinds.rules import deprecated, durations, one_of, said, wrong
from mesh.places import Place
from mesh.problems import Problem

# Envoy's own limits, the first as Istio has it.
MAGLEV_TABLE_LIMIT = 5_000_011
RING_SIZE_MAX = 8 * 1024 * 1024

SimpleLB = Literal["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"]


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


def check_load_balancer(settings: LoadBalancerSettings, where: Place, at: str) -> Iterator[Problem]:
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
    if hashing.http_header_name is not None:
        yield from wrong(where, f"{at}.httpHeaderName", header_name(hashing.http_header_name))
    if hashing.http_query_parameter_name == "":
        message = "expected the name of a parameter, found nothing"
        yield from wrong(where, f"{at}.httpQueryParameterName", message)
    if hashing.http_cookie is not None:
        yield from _cookie(hashing.http_cookie, where, f"{at}.httpCookie")
    if hashing.minimum_ring_size:
        yield from deprecated(where, f"{at}.minimumRingSize", "ringHash.minimumRingSize")
        if hashing.ring_hash is not None or hashing.maglev is not None:
            yield from wrong(where, f"{at}.minimumRingSize", "cannot be set beside ringHash or maglev")
        yield from wrong(where, f"{at}.minimumRingSize", _ring_size(hashing.minimum_ring_size))
    if hashing.ring_hash is not None:
        yield from wrong(
            where, f"{at}.ringHash.minimumRingSize", _ring_size(hashing.ring_hash.minimum_ring_size)
        )
    if hashing.maglev is not None and not _is_table_size(hashing.maglev.table_size):
        message = f"expected a prime number below {MAGLEV_TABLE_LIMIT}, found {hashing.maglev.table_size}"
        yield from wrong(where, f"{at}.maglev.tableSize", message)


def _cookie(cookie: HTTPCookie, where: Place, at: str) -> Iterator[Problem]:
    if not cookie.name:
        yield from wrong(where, f"{at}.name", "expected the name of a cookie, found nothing")
    yield from lines(where, at, name=cookie.name, path=cookie.path)
    names = [attribute.name for attribute in cookie.attributes]
    for index, attribute in enumerate(cookie.attributes):
        path = f"{at}.attributes[{index}]"
        if attribute.name in names[:index]:
            yield from wrong(where, f"{path}.name", f"the attribute {attribute.name!r} appears twice")
        if not attribute.name:
            yield from wrong(where, f"{path}.name", "expected the name of an attribute, found nothing")
        yield from lines(where, path, name=attribute.name, value=attribute.value)
    if cookie.ttl is not None and cookie.ttl < timedelta(0):
        yield from wrong(where, f"{at}.ttl", "expected a duration from 0s")


def _ring_size(size: int) -> str:
    return f"expected a size of at most {RING_SIZE_MAX}, found {size}" if size > RING_SIZE_MAX else ""


def _is_table_size(size: int) -> bool:
    return 2 <= size < MAGLEV_TABLE_LIMIT and all(size % factor for factor in range(2, isqrt(size) + 1))
