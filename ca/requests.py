"""Reads a signing request and refuses what is malformed.

Of a request only the public key is taken, and the proof that the caller holds its private half.
What it says of itself (subject, alternative names, extensions) is not read at all: the caller's
proven identity is what gets signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mesh.errors import Refused

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

# A request for RSA 4096 with a long subject is below 3 kB.
SIZE_MAX = 8 * 1024
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_RSA_BITS = range(2048, 4097)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_ACCEPTED = "use ECDSA P-256 (or P-384, P-521), or RSA of 2048 to 4096 bits"


class Malformed(Refused):
    """A request that cannot be read, or whose key is not worth signing."""


@dataclass(frozen=True, slots=True)
class Request:
    """A public key whose private half the caller has shown to hold.

    ``lifetime`` is None where the caller did not say (EST cannot); the profile decides then.
    """

    public_key: PublicKey
    lifetime: timedelta | None = None

    @property
    def key_hash(self) -> str:
        """SHA-256 of the public key, which tells two requests of one key from those of two."""
        spki = self.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(spki).hexdigest()


def read_request(body: bytes, *, lifetime: timedelta | None = None) -> Request:
    """A PKCS#10 request as PEM, as DER, or as the base64 of DER (RFC 7030, 4.2.1)."""
    if len(body) > SIZE_MAX:
        raise Malformed(
            f"signing request of {len(body)} bytes is longer than {SIZE_MAX}",
            hint="send one PKCS#10 request and nothing else",
        )
    csr = _load(body)
    key = _accepted_key(csr)
    if not isinstance(_signature_hash(csr), _HASHES):
        raise Malformed("signing request is signed with a weak or unknown hash", hint="sign it with SHA-256")
    if not csr.is_signature_valid:
        raise Malformed(
            "signing request is not signed by its own key",
            hint="make the request with the private key that belongs to it",
        )
    return Request(key, lifetime)


def _load(body: bytes) -> x509.CertificateSigningRequest:
    hint = "send a PKCS#10 request: openssl req -new -key key.pem -outform DER | base64"
    text = body.strip()
    try:
        if text.startswith(b"-----BEGIN"):
            return x509.load_pem_x509_csr(text)
        der = body if body.startswith(b"0") else base64.b64decode(b"".join(text.split()), validate=True)
        return x509.load_der_x509_csr(der)
    except (ValueError, binascii.Error, x509.InvalidVersion):
        raise Malformed("signing request is neither PEM nor DER nor base64 of DER", hint=hint) from None


def _signature_hash(csr: x509.CertificateSigningRequest) -> hashes.HashAlgorithm | None:
    try:
        return csr.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None


def _accepted_key(csr: x509.CertificateSigningRequest) -> PublicKey:
    try:
        key = csr.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise Malformed("signing request holds a key of an unknown kind", hint=_ACCEPTED) from None
    match key:
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVES:
            return key
        case ec.EllipticCurvePublicKey():
            raise Malformed(f"curve {key.curve.name} is not accepted", hint=_ACCEPTED)
        case rsa.RSAPublicKey() if key.key_size in _RSA_BITS:
            return key
        case rsa.RSAPublicKey():
            raise Malformed(f"RSA key of {key.key_size} bits is not accepted", hint=_ACCEPTED)
        case _:
            raise Malformed("signing request holds a key of an unknown kind", hint=_ACCEPTED)
