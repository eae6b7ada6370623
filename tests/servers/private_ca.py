"""A certificate authority for the TLS of one test server: names of hosts and of users, no SPIFFE."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.clock import SystemClock
from tests.support.certificates import a_key

_LIFETIME = timedelta(days=2)
_BACKDATE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Pair:
    """A chain and its key, as files."""

    certificate: Path
    key: Path


class PrivateCa:
    """Issues into a folder. ``file`` holds the root."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = a_key()
        self._name = _name(name)
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "ca.crt"
        self._root = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))
        self.file.write_bytes(self._root.public_bytes(Encoding.PEM))

    def pair(self, name: str, *, groups: Sequence[str] = (), hosts: Sequence[str] = ()) -> Pair:
        """For a user (``groups`` are what Kubernetes takes from O), or for a server of those hosts."""
        key = a_key()
        certificate = self._sign(
            _name(name, *groups),
            key,
            x509.BasicConstraints(ca=False, path_length=None),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            *([x509.SubjectAlternativeName([_host(host) for host in hosts])] if hosts else []),
        )
        made = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        made.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        made.key.chmod(0o600)
        return made

    def context(self, pair: Pair | None = None) -> ssl.SSLContext:
        """For a client that trusts this authority and shows that pair."""
        context = ssl.create_default_context(cafile=self.file)
        if pair is not None:
            context.load_cert_chain(pair.certificate, pair.key)
        return context

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        now = SystemClock().now()
        # The identifiers are what Python's strict checking (3.13) asks for.
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        is_root = key is self._key
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=is_root,
            crl_sign=is_root,
            encipher_only=False,
            decipher_only=False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(now + _LIFETIME)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(authority, critical=False)
            .add_extension(usage, critical=True)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self._key, hashes.SHA256())


def _name(common: str, *organizations: str) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, it) for it in organizations]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
