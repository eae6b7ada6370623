"""What the CA counts, under Istio's names (``security/pkg/server/ca/monitoring.go``).

They are gauges that only grow: prometheus_client appends ``_total`` to the name of every counter,
and dashboards made for Istio ask for names without it.
"""

from __future__ import annotations

from cryptography import x509
from prometheus_client import CollectorRegistry, Gauge

from ca.authority import Authority
from mesh.latest import Latest


class Counters:
    """Owned by whoever serves signing requests; read by the metrics page."""

    def __init__(self, registry: CollectorRegistry, authority: Latest[Authority]) -> None:
        def counter(name: str, text: str) -> Gauge:
            return Gauge(f"citadel_server_{name}", text, registry=registry)

        self.requests = counter("csr_count", "Signing requests received.")
        self.issued = counter("success_cert_issuance_count", "Certificates issued.")
        self.malformed = counter("csr_parsing_err_count", "Signing requests that could not be read.")
        self.refused = counter("csr_sign_err_count", "Signing requests of proven callers that were refused.")
        self.unproven = counter("authentication_failure_count", "Callers whose proof did not hold.")
        root_end = counter("root_cert_expiry_timestamp", "When the first root ends, in Unix seconds.")
        root_end.set_function(lambda: _first_end(authority.value.roots))
        chain_end = counter(
            "cert_chain_expiry_timestamp", "When the first of the signing chain ends, in Unix seconds."
        )
        chain_end.set_function(lambda: _first_end(authority.value.certificates))


def _first_end(certificates: tuple[x509.Certificate, ...]) -> float:
    return min(certificate.not_valid_after_utc for certificate in certificates).timestamp()
