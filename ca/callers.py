"""Who is asking: certificate, join token.

A caller is an identity *and* the name of one machine, and both come from the proof. Nothing that
a caller merely says about itself gets this far.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from mesh.errors import Refused
from mesh.identity import SpiffeId

POD_UNIT = "pod"
"""The organizational unit in the subject of a certificate that was issued for a Pod's token."""
# What cryptography raises for certificates that OpenSSL may let pass.
_UNREADABLE = (
    ValueError,
    TypeError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class Unproven(Refused):
    """A caller whose proof does not hold. Says no more than the holder of the proof may know."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A proven identity, and the machine or proxy that has it."""

    identity: SpiffeId
    name: str
    is_pod: bool = field(default=False, kw_only=True)
    """Proven by the ServiceAccount token of a Pod; its certificates say so, and live as briefly as may be."""


def from_certificate(der: bytes, now: datetime) -> Caller:
    """The caller behind a client certificate whose chain and key TLS has already verified.

    The dates are looked at again, because a connection may outlive the certificate it began with.

    :raises Unproven: when it proves nobody.
    :raises Refused: when it is a Pod's: its cluster is asked each time whether the Pod is still there.
    """
    try:
        # Parsing is lazy, so each of these may come as late as at a name.
        certificate = x509.load_der_x509_certificate(der)
        caller = Caller(_identity(certificate), _name(certificate))
        is_pod = _is_pods(certificate)
    except _UNREADABLE:
        raise Unproven(
            "client certificate cannot be read", hint="use the certificate that this CA issued to the machine"
        ) from None
    if now >= certificate.not_valid_after_utc:
        raise Unproven(
            f"client certificate expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC",
            hint="enrol again with a new join token",
        )
    if now < certificate.not_valid_before_utc:
        raise Unproven(
            f"client certificate is not valid before "
            f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC",
            hint=f"the control plane's clock says {now:%Y-%m-%d %H:%M:%S} UTC; compare it with the machine's",
        )
    if is_pod:
        raise Refused(
            f"the certificate of Pod {caller.name!r} does not renew itself",
            hint="ask with the Pod's ServiceAccount token, as meshwright enrol does",
        )
    return caller


def _is_pods(certificate: x509.Certificate) -> bool:
    units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    return POD_UNIT in {unit.value for unit in units}


def _identity(certificate: x509.Certificate) -> SpiffeId:
    """X.509-SVID, section 2: exactly one URI."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        uris: list[str] = []
    else:
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise Unproven(
            f"client certificate holds {len(uris)} identities, expected one",
            hint="use the certificate that this CA issued to the machine",
        )
    try:
        return SpiffeId.parse(uris[0])
    except Refused as error:
        raise Unproven(str(error), hint=error.hint) from None


def _name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1:
        raise Unproven(
            "client certificate does not name its machine in the subject",
            hint="enrol again with a join token: certificates of this CA do",
        )
    return str(names[0].value)
