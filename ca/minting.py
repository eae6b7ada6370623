"""Makes roots and intermediates.

ECDSA P-256 throughout: Envoy verifies it fastest, and every TLS stack in reach knows it.
The root may have one authority below it and the intermediate none; the intermediate vouches for
one trust domain only, so that it is worth nothing in a neighbouring mesh.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ca import store

ROOT_LIFE = timedelta(days=3650)
INTERMEDIATE_LIFE = timedelta(days=365)
# Longer than that of leaves, so that the first leaf can be backdated in full.
_BACKDATE = timedelta(hours=1)

CERTIFICATE_SIGNER = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True, slots=True)
class Minted:
    """A new authority: its certificate, and the key that nobody has seen yet."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"Minted({self.certificate.subject.rfc4514_string()!r})"

    def files(
        self, chain: tuple[x509.Certificate, ...], roots: tuple[x509.Certificate, ...]
    ) -> Mapping[str, bytes]:
        """As a directory of Istio's names."""
        return {
            store.KEY: key_pem(self.key),
            store.CERTIFICATE: pem(self.certificate),
            store.CHAIN: pem(*chain),
            store.ROOTS: pem(*roots),
        }


def serial_number() -> int:
    """19 random bytes: positive in DER without a twentieth deciding it (RFC 5280, 4.1.2.2)."""
    return int.from_bytes(secrets.token_bytes(19)) or 1


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def new_root(trust_domain: str, now: datetime) -> Minted:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Meshwright root", trust_domain)
    builder = _authority(name, key, now, now + ROOT_LIFE, pathlen=1).issuer_name(name)
    return Minted(builder.sign(key, hashes.SHA256()), key)


def new_intermediate(root: Minted, trust_domain: str, now: datetime) -> Minted:
    """An authority below ``root``, which it never outlives."""
    key = ec.generate_private_key(ec.SECP256R1())
    until = min(now + INTERMEDIATE_LIFE, root.certificate.not_valid_after_utc)
    identifier = root.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _authority(_name("Meshwright intermediate", trust_domain), key, now, until, pathlen=0)
        .issuer_name(root.certificate.subject)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .add_extension(
            # A URI constraint names the host part alone (RFC 5280, 4.2.1.10): the trust domain.
            x509.NameConstraints([x509.UniformResourceIdentifier(trust_domain)], None),
            critical=True,
        )
    )
    return Minted(builder.sign(root.key, hashes.SHA256()), key)


def vouches_for(certificate: x509.Certificate, trust_domain: str) -> bool:
    """Whether the name constraints, if any, permit identities of the trust domain."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return True
    uris = [
        name.value
        for name in constraints.permitted_subtrees or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    ]
    return not uris or trust_domain in uris


def _authority(
    name: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, until: datetime, *, pathlen: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=pathlen), critical=True)
        .add_extension(CERTIFICATE_SIGNER, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(title: str, trust_domain: str) -> x509.Name:
    """The serial half tells two roots of one mesh apart, in logs and for path building."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{title} {secrets.token_hex(4)}"),
        ]
    )
