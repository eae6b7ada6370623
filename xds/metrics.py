"""What the xDS server counts, under Istio's names.

Istio, ``pilot/pkg/xds/monitoring.go``. What has a name of Istio's and only grows is a gauge all the same:
prometheus_client appends ``_total`` to the name of every counter, and dashboards made for Istio ask for
names without it. The children of labelled metrics are looked up once, because each push touches them.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from xds import envoy

_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of one server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        self.registry = registry
        self.connected = Gauge("pilot_xds", "Proxies connected to this server.", registry=registry)
        pushes = counter("pilot_xds_pushes", "Responses written, by type.", "type")
        self._pushes = {url: pushes.labels(short) for url, short in envoy.SHORT_NAMES.items()}
        self._other_pushes = pushes.labels("other")
        self._rejects = {
            url: counter(f"pilot_xds_{short}_reject", f"Responses of type {short} that a proxy refused.")
            for url, short in envoy.SHORT_NAMES.items()
        }
        self.rejects = counter("pilot_total_xds_rejects", "Responses that a proxy refused.")
        self.expired_nonces = counter(
            "pilot_xds_expired_nonce", "Answers to a response that was not the last one."
        )
        self.write_timeouts = counter(
            "pilot_xds_write_timeout", "Streams ended because the proxy did not read in time."
        )
        self.bytes_sent = Counter(
            "meshwright_xds_sent_bytes", "Bytes of responses written.", registry=registry
        )
        self.convergence = Histogram(
            "pilot_proxy_convergence_time",
            "Seconds from a new configuration of a proxy until it acknowledged all of it.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._refusals = Counter(
            "meshwright_xds_refused_streams", "Streams refused, by reason.", ["reason"], registry=registry
        )

    def pushed(self, type_url: str, size: int) -> None:
        self._pushes.get(type_url, self._other_pushes).inc()
        self.bytes_sent.inc(size)

    def rejected(self, type_url: str) -> None:
        self.rejects.inc()
        if type_url in self._rejects:
            self._rejects[type_url].inc()

    def refused(self, reason: str) -> None:
        self._refusals.labels(reason).inc()
