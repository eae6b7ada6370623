"""How a TLS socket looks downstream: the mesh's own mutual TLS, and TLS at the edge.

The mesh's socket refers to the workload's certificate and to the trust bundle in the very words of
``transport.py``, so that one Envoy has one subscription for each.
"""

from __future__ import annotations

import functools
from typing import Any

from mesh.kinds.tls import ServerTLSSettings
from mesh.views import Settings
from xds import envoy
from xds.translate.templates import fresh
from xds.translate.transport import TLS_PARAMETERS, trust_bundle, workload_certificate

_CONTEXT = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
# What a handshake may agree on. Istio's own names (``istio``, ``istio-http/1.1``) are matched by filter
# chains and never agreed on: a peer that negotiates ``istio-peer-exchange`` writes bytes of its own into
# the stream, which a stock Envoy would hand to the application. (Istio, ``metadata_exchange.cc``.)
_ALPN = ("h2", "http/1.1")
# Istio, ``SupportedCiphers``, for TLS 1.2; those of 1.3 cannot be chosen.
_CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
)
_VERSIONS = {
    "TLS_AUTO": "TLS_AUTO",
    "TLSV1_0": "TLSv1_0",
    "TLSV1_1": "TLSv1_1",
    "TLSV1_2": "TLSv1_2",
    "TLSV1_3": "TLSv1_3",
}


def trust_domains(settings: Settings) -> tuple[str, ...]:
    """This trust domain, then its other names."""
    return tuple(dict.fromkeys((settings.trust_domain, *settings.trust_domain_aliases)))


def mutual(settings: Settings) -> Any:
    """The mesh's own: a client certificate is demanded, and it must be of this trust domain."""
    context = fresh(_mesh_context())
    validation = context.common_tls_context.combined_validation_context.default_validation_context
    for domain in trust_domains(settings):
        peer = validation.match_typed_subject_alt_names.add()
        peer.san_type = peer.SanType.Value("URI")
        # With its slash, or "mesh" would let "mesh-of-somebody-else" in.
        peer.matcher.prefix = f"spiffe://{domain}/"
    return _socket(context)


def edge(tls: ServerTLSSettings, secret: str) -> Any:
    """A gateway's server: the certificate called ``secret`` comes over ADS, clients show none.

    :raises ValueError: for a mode that reading a commit refuses by name.
    """
    if tls.mode != "SIMPLE":
        raise ValueError(f"a gateway server reached translation with TLS mode {tls.mode}")
    context = fresh(_edge_context())
    common = context.common_tls_context
    parameters = common.tls_params
    if tls.min_protocol_version != "TLS_AUTO":
        parameters.tls_minimum_protocol_version = parameters.TlsProtocol.Value(
            _VERSIONS[tls.min_protocol_version]
        )
    parameters.tls_maximum_protocol_version = parameters.TlsProtocol.Value(
        _VERSIONS[tls.max_protocol_version]
    )
    parameters.cipher_suites.extend(tls.cipher_suites)
    common.tls_certificate_sds_secret_configs[0].name = secret
    return _socket(context)


def _socket(context: Any) -> Any:
    return envoy.message("envoy.config.core.v3.TransportSocket")(
        name="envoy.transport_sockets.tls", typed_config=envoy.packed(context)
    )


@functools.cache
def _mesh_context() -> Any:
    return envoy.parsed(
        _CONTEXT,
        {
            "require_client_certificate": True,
            "common_tls_context": {
                "tls_params": {**TLS_PARAMETERS, "cipher_suites": list(_CIPHERS)},
                "alpn_protocols": list(_ALPN),
                "tls_certificate_sds_secret_configs": [workload_certificate()],
                "combined_validation_context": {
                    "default_validation_context": {},
                    "validation_context_sds_secret_config": trust_bundle(),
                },
            },
        },
    )


@functools.cache
def _edge_context() -> Any:
    return envoy.parsed(
        _CONTEXT,
        {
            "require_client_certificate": False,
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "alpn_protocols": list(_ALPN),
                "tls_certificate_sds_secret_configs": [
                    {"name": "", "sds_config": {"ads": {}, "resource_api_version": "V3"}}
                ],
            },
        },
    )
