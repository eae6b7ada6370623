"""Reads a CA from a directory of Istio's file names, and refuses one that cannot work.

The same checks for a chain of an operator and for our own: a mistake found here has a name and a
file, the same mistake found by two thousand proxies is an outage.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ca import store
from mesh.errors import Misconfigured

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningChain:
    """A key, its certificate and what lies between that and a root; the root it leads to comes first."""

    key: SigningKey
    certificates: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]


def read_chain(directory: Path, now: datetime) -> SigningChain:
    """The CA in ``directory``. :raises Misconfigured: naming the first thing that is wrong."""
    key = _read_key(directory / store.KEY)
    roots = read_certificates(directory / store.ROOTS)
    signing = read_certificates(directory / store.CERTIFICATE)
    chain_file = directory / store.CHAIN
    between = read_certificates(chain_file) if chain_file.exists() else ()
    if _spki(key.public_key()) != _spki(signing[0].public_key()):
        raise Misconfigured(
            f"{store.KEY} does not fit {store.CERTIFICATE} in {directory}",
            hint="both must come from one and the same signing request",
        )
    path = _path(signing[0], (*signing[1:], *between), roots, directory)
    for depth, certificate in enumerate(path):
        _check_authority(certificate, depth, now, directory)
    anchor = path[-1]
    return SigningChain(
        key=key,
        certificates=path[:-1] or (anchor,),
        roots=(anchor, *(root for root in roots if root != anchor)),
    )


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Every certificate of a PEM file, in its order."""
    try:
        return tuple(x509.load_pem_x509_certificates(store.read(path)))
    except ValueError:
        raise Misconfigured(
            f"{path} holds no readable PEM certificates", hint="see it with: openssl x509 -text -in FILE"
        ) from None


def _read_key(path: Path) -> SigningKey:
    try:
        key = load_pem_private_key(store.read_key(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Misconfigured(
            f"{path} holds no readable private key", hint="it must be PEM, without a passphrase"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise Misconfigured(f"{path} is neither an ECDSA nor an RSA key", hint="ECDSA P-256 is usual")
    return key


def _path(
    first: x509.Certificate,
    between: tuple[x509.Certificate, ...],
    roots: tuple[x509.Certificate, ...],
    directory: Path,
) -> tuple[x509.Certificate, ...]:
    """From the signing certificate to a root, both included."""
    path = [first]
    while path[-1] not in roots:
        last = path[-1]
        issuer = next((c for c in (*roots, *between) if c not in path and _issued(c, last)), None)
        if issuer is None:
            raise Misconfigured(
                f"{store.CERTIFICATE} in {directory} leads to no root: {_name(last)} was issued by "
                f"{last.issuer.rfc4514_string()!r}",
                hint=f"put that certificate into {store.CHAIN}, or into {store.ROOTS} if it is the root",
            )
        path.append(issuer)
    return tuple(path)


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check_authority(certificate: x509.Certificate, depth: int, now: datetime, directory: Path) -> None:
    """RFC 5280, 4.2.1.3 and 4.2.1.9: what a certificate must say to sign others below it."""
    whose = f"{_name(certificate)} in {directory}"
    if now >= certificate.not_valid_after_utc:
        raise Misconfigured(
            f"CA certificate {whose} expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
            hint=f"replace it; the clock of this host says {now:%Y-%m-%d %H:%M} UTC",
        )
    if now < certificate.not_valid_before_utc:
        raise Misconfigured(
            f"CA certificate {whose} is not valid before "
            f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC",
            hint=f"the clock of this host says {now:%Y-%m-%d %H:%M} UTC; is it right?",
        )
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        basic = x509.BasicConstraints(ca=False, path_length=None)
    if not basic.ca:
        raise Misconfigured(
            f"certificate {whose} may not sign others: it does not say CA:TRUE",
            hint="issue it with basicConstraints=critical,CA:TRUE",
        )
    if basic.path_length is not None and basic.path_length < depth:
        raise Misconfigured(
            f"CA certificate {whose} allows {basic.path_length} authorities below it, but there are {depth}",
            hint="sign with a shorter chain, or issue it with a larger pathlen",
        )
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not usage.key_cert_sign:
        raise Misconfigured(
            f"certificate {whose} may not sign others: its key usage lacks keyCertSign",
            hint="issue it with keyUsage=critical,keyCertSign,cRLSign",
        )


def _name(certificate: x509.Certificate) -> str:
    return repr(certificate.subject.rfc4514_string())


def _spki(key: object) -> bytes:
    match key:
        case ec.EllipticCurvePublicKey() | rsa.RSAPublicKey():
            return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        case _:
            return b""
