"""TLS settings, shared: the client's side (DestinationRule) and the server's (Gateway, Sidecar)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from mesh.kinds.header_rules import lines
from mesh.kinds.kind import Flag, Kind, Text, Texts
from mesh.kinds.rules import wrong
from mesh.places import Place
from mesh.problems import Problem

ClientTLSMode = Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]
ServerTLSMode = Literal[
    "PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"
]
TLSProtocol = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]


# Of a name in TLS (RFC 6066, 3) and of Envoy's field.
SNI_BYTES_MAX: Final = 255


class ClientTLSSettings(Kind):
    """How a proxy speaks TLS to a destination. Istio, "ClientTLSSettings"."""

    mode: ClientTLSMode = "DISABLE"
    client_certificate: Text = ""
    private_key: Text = ""
    ca_certificates: Text = ""
    credential_name: Text = ""
    subject_alt_names: Texts = ()
    sni: Text = ""
    insecure_skip_verify: Flag | None = None
    ca_crl: Text = ""


class TLSCertificate(Kind):
    """One of several server certificates. Istio, "ServerTLSSettings.TLSCertificate"."""

    server_certificate: Text = ""
    private_key: Text = ""
    ca_certificates: Text = ""


class ServerTLSSettings(Kind):
    """How a proxy accepts TLS. Istio, "ServerTLSSettings"."""

    https_redirect: Flag = False
    mode: ServerTLSMode = "PASSTHROUGH"
    server_certificate: Text = ""
    private_key: Text = ""
    ca_certificates: Text = ""
    ca_crl: Text = ""
    credential_name: Text = ""
    credential_names: Texts = ()
    ca_cert_credential_name: Text = ""
    tls_certificates: tuple[TLSCertificate, ...] = ()
    subject_alt_names: Texts = ()
    verify_certificate_spki: Texts = ()
    verify_certificate_hash: Texts = ()
    min_protocol_version: TLSProtocol = "TLS_AUTO"
    max_protocol_version: TLSProtocol = "TLS_AUTO"
    cipher_suites: Texts = ()
    ecdh_curves: Texts = ()
    insecure_skip_verify: Flag | None = None


def check_client(tls: ClientTLSSettings, where: Place, at: str) -> Iterator[Problem]:
    """Istio, ``ValidateTLS``, and what no server name can be."""
    if len(tls.sni.encode()) > SNI_BYTES_MAX:
        message = f"expected at most {SNI_BYTES_MAX} bytes, found {len(tls.sni.encode())}"
        yield from wrong(where, f"{at}.sni", message)
    yield from lines(where, at, sni=tls.sni)
    if tls.insecure_skip_verify and tls.mode in {"SIMPLE", "MUTUAL"}:
        for name, value in (
            ("caCertificates", tls.ca_certificates),
            ("subjectAltNames", tls.subject_alt_names),
        ):
            if value:
                message = "cannot be set when insecureSkipVerify is true"
                yield from wrong(where, f"{at}.{name}", message)
    if tls.mode == "MUTUAL" and not tls.credential_name:
        for name, path in (("clientCertificate", tls.client_certificate), ("privateKey", tls.private_key)):
            if not path:
                yield from wrong(where, f"{at}.{name}", "missing, and required by mode MUTUAL")


def check_server(tls: ServerTLSSettings, where: Place, at: str) -> Iterator[Problem]:
    """Istio, ``validateTLSOptions``, for the modes that are carried out."""
    if tls.mode in {"PASSTHROUGH", "AUTO_PASSTHROUGH"}:
        if tls.server_certificate or tls.private_key or tls.credential_name:
            message = f"mode {tls.mode} uses no certificate; it is ignored"
            yield where.problem("IST0133", f"{at}.mode", message)
        return
    if tls.mode != "SIMPLE":
        message = f"mode {tls.mode!r} is not supported yet"
        yield where.problem("MW0004", f"{at}.mode", message, "use SIMPLE or AUTO_PASSTHROUGH")
        return
    if tls.credential_name and (tls.server_certificate or tls.private_key):
        message = "expected only one of credentialName, serverCertificate with privateKey"
        yield from wrong(where, at, message)
    if not tls.credential_name:
        for name, path in (("serverCertificate", tls.server_certificate), ("privateKey", tls.private_key)):
            if not path:
                yield from wrong(where, f"{at}.{name}", "missing, and required by mode SIMPLE")
    low, high = tls.min_protocol_version, tls.max_protocol_version
    if "TLS_AUTO" not in {low, high} and low > high:
        yield from wrong(where, f"{at}.maxProtocolVersion", f"lower than minProtocolVersion ({low})")
