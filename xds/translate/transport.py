"""How a TLS socket looks, upstream and downstream.

The workload's own certificate comes from files that Envoy watches, the trust bundle over ADS, so
that its acknowledgement is seen (DESIGN D11). The paths are relative to Envoy's working directory,
which is each machine's own: resources stay equal for all machines. Every socket of the mesh refers
to both secrets in the same words, so that one Envoy has one subscription for each.

Endpoints decide between mutual TLS and plain text one by one (:data:`MUTUAL_TLS_MARK`); what a
DestinationRule says of TLS replaces that for the whole cluster.
"""

from __future__ import annotations

import functools
from typing import Any

from mesh.kinds.tls import ClientTLSSettings
from mesh.names import is_ip
from mesh.views import Cluster
from xds import envoy
from xds.names import TRUST_BUNDLE, WORKLOAD_CERTIFICATE, ClusterName
from xds.translate.pool import Speaks, speaks
from xds.translate.templates import fresh

SDS_DIRECTORY = "sds"
"""Relative to Envoy's working directory. Holds ``cert.yaml``; replaced by rename, so it is watched."""

MUTUAL_TLS_MARK = {"tlsMode": "istio"}
"""In an endpoint's metadata ``envoy.transport_socket_match``: a proxy of the mesh answers there."""

SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"
"""What stands for "the operating system's authorities": Debian, Ubuntu, Alpine and SUSE have it."""

# Only names with the prefix ``istio`` tell the far proxy that mutual TLS is the mesh's own; the ones after
# them are what it may negotiate. ``istio-peer-exchange`` is left out on purpose: who negotiates it must speak
# Istio's metadata exchange. The list for either protocol offers nothing to negotiate, because the server
# would choose and the client would not follow. (envoy-bets.md, 6.)
_MESH_ALPN = {
    Speaks.HTTP1: ("istio-http/1.1", "istio", "http/1.1"),
    Speaks.HTTP2: ("istio-h2", "istio", "h2"),
    Speaks.AS_CLIENT: ("istio-http/1.1", "istio-h2", "istio"),
    Speaks.BYTES: ("istio",),
}

_TLS_SOCKET = "envoy.transport_sockets.tls"
_UPSTREAM = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"

TLS_PARAMETERS = {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}


def workload_certificate() -> dict[str, Any]:
    """The ``SdsSecretConfig`` of the workload's own key and certificate, in Envoy's JSON form."""
    source = {"path": f"{SDS_DIRECTORY}/cert.yaml", "watched_directory": {"path": SDS_DIRECTORY}}
    return {
        "name": WORKLOAD_CERTIFICATE,
        "sds_config": {"path_config_source": source, "resource_api_version": "V3"},
    }


def trust_bundle() -> dict[str, Any]:
    """The ``SdsSecretConfig`` of the roots of the mesh, in Envoy's JSON form."""
    # Without a time limit: a cluster that warms without its roots would refuse every peer.
    return {
        "name": TRUST_BUNDLE,
        "sds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"},
    }


def write(cluster: Cluster, written: Any) -> None:
    """Set how the Envoy cluster ``written`` secures its connections, and to whom."""
    settings = cluster.policy.tls
    is_passed_on = written.type == written.ORIGINAL_DST
    if settings is None:
        if not cluster.auto_mutual_tls:
            return
        socket = _socket(_mutual(cluster, "", _answering(cluster)))
        if is_passed_on:
            # There is no endpoint that could be marked. Istio, ``applyUpstreamTLSSettings``.
            written.transport_socket.CopyFrom(socket)
            return
        written.transport_socket_matches.add(name="tlsMode-istio").transport_socket.CopyFrom(socket)
        written.transport_socket_matches[0].match.update(MUTUAL_TLS_MARK)
        written.transport_socket_matches.append(_plain())
    elif settings.mode == "ISTIO_MUTUAL":
        accepted = settings.subject_alt_names or _answering(cluster)
        written.transport_socket.CopyFrom(_socket(_mutual(cluster, settings.sni, accepted)))
    elif settings.mode != "DISABLE":
        written.transport_socket.CopyFrom(_socket(_originated(cluster, settings)))


def needs_automatic_names(settings: ClientTLSSettings | None) -> tuple[bool, bool]:
    """Whether the server name follows the request's host, and whether the certificate must then bear it.

    Istio, ``setAutoSniAndAutoSanValidation``.
    """
    if settings is None or settings.mode not in ("SIMPLE", "MUTUAL"):
        return False, False
    is_name_automatic = not settings.sni
    is_checked = is_name_automatic and not settings.subject_alt_names and not settings.insecure_skip_verify
    return is_name_automatic, is_checked


def subject_matcher(name: str) -> dict[str, Any]:
    """The ``SubjectAltNameMatcher`` for one exact name, by what kind of name it is."""
    kind = "URI" if "://" in name else "IP_ADDRESS" if is_ip(name) else "DNS"
    return {"san_type": kind, "matcher": {"exact": name}}


def _answering(cluster: Cluster) -> tuple[str, ...]:
    """Who may answer: the accounts behind the service, and names its ServiceEntry adds."""
    return tuple(dict.fromkeys((*cluster.accounts, *cluster.service.subject_alt_names)))


def _mutual(cluster: Cluster, sni: str, accepted: tuple[str, ...]) -> Any:
    """Mutual TLS of the mesh: our certificate, its roots, and only these peers."""
    context = fresh(_mesh_context(speaks(cluster.port, cluster.policy.connection_pool)))
    name = ClusterName("outbound", cluster.port.number, cluster.subset, cluster.service.host)
    context.sni = sni or name.sni
    validation = context.common_tls_context.combined_validation_context.default_validation_context
    for peer in accepted:
        _add_subject(validation, peer)
    return context


def _originated(cluster: Cluster, settings: ClientTLSSettings) -> Any:
    """TLS to somebody outside the mesh, as a DestinationRule says. Istio, ``constructUpstreamTLS``."""
    context = fresh(_plain_context())
    common = context.common_tls_context
    context.sni = settings.sni
    if settings.mode == "MUTUAL":
        pair = common.tls_certificates.add()
        pair.certificate_chain.filename = settings.client_certificate
        pair.private_key.filename = settings.private_key
    if not settings.insecure_skip_verify:
        validation = common.validation_context
        validation.trusted_ca.filename = settings.ca_certificates or SYSTEM_ROOTS
        if settings.ca_crl:
            validation.crl.filename = settings.ca_crl
        for name in settings.subject_alt_names or cluster.service.subject_alt_names:
            _add_subject(validation, name)
    if speaks(cluster.port, cluster.policy.connection_pool) is Speaks.HTTP2:
        common.alpn_protocols.append("h2")
    return context


def _add_subject(validation: Any, name: str) -> None:
    found = subject_matcher(name)
    written = validation.match_typed_subject_alt_names.add()
    written.san_type = written.SanType.Value(found["san_type"])
    written.matcher.exact = name


def _socket(context: Any) -> Any:
    socket = envoy.message("envoy.config.core.v3.TransportSocket")(name=_TLS_SOCKET)
    socket.typed_config.CopyFrom(envoy.packed(context))
    return socket


@functools.cache
def _mesh_context(spoken: Speaks) -> Any:
    return envoy.parsed(
        _UPSTREAM,
        {
            "common_tls_context": {
                "tls_params": TLS_PARAMETERS,
                "alpn_protocols": list(_MESH_ALPN[spoken]),
                "tls_certificate_sds_secret_configs": [workload_certificate()],
                "combined_validation_context": {
                    "default_validation_context": {},
                    "validation_context_sds_secret_config": trust_bundle(),
                },
            }
        },
    )


@functools.cache
def _plain_context() -> Any:
    return envoy.parsed(_UPSTREAM, {"common_tls_context": {"tls_params": TLS_PARAMETERS}})


@functools.cache
def _plain() -> Any:
    """Endpoints without the mark are spoken to in plain text."""
    return envoy.parsed(
        "envoy.config.cluster.v3.Cluster.TransportSocketMatch",
        {
            "name": "tlsMode-disabled",
            "match": {},
            "transport_socket": {
                "name": "envoy.transport_sockets.raw_buffer",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
                },
            },
        },
    )
