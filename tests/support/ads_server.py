"""A served xDS port with mutual TLS, and channels for callers with certificates of its authority."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.clock import Clock, SystemClock
from tests.support.memberships import some_settings
from xds.certificates import ServerCertificate
from xds.directory import Directory
from xds.server import Server, Transport
from xds.session import Settings

CONTROL_PLANE = "meshwright.test"

_SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


class TestAuthority:
    """A root that signs what it is told to. Nothing of our CA is in it."""

    __test__ = False

    def __init__(self, name: str = "test root") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_SIGNS_CERTIFICATES, critical=True)
        )
        self.root = _pem(certificate.sign(self._key, hashes.SHA256()))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        """With the identifiers that Python asks for from 3.13 on (``VERIFY_X509_STRICT``)."""
        now = SystemClock().now()
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(own, critical=False)
            .add_extension(issuer, critical=False)
        )

    def issue(self, common_name: str, san: x509.GeneralName) -> tuple[bytes, bytes]:
        """Key and certificate, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
        certificate = self._builder(subject, key).add_extension(
            x509.SubjectAlternativeName([san]), critical=False
        )
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return private, _pem(certificate.sign(self._key, hashes.SHA256()))

    def workload(self, machine: str, namespace: str, account: str) -> tuple[bytes, bytes]:
        uri = f"spiffe://cluster.local/ns/{namespace}/sa/{account}"
        return self.issue(machine, x509.UniformResourceIdentifier(uri))

    def server(self) -> ServerCertificate:
        key, chain = self.issue("control plane", x509.DNSName(CONTROL_PLANE))
        return ServerCertificate(key=key, chain=chain, roots=self.root)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class Rotating:
    """A certificate that a test may replace."""

    def __init__(self, certificate: ServerCertificate) -> None:
        self.certificate = certificate

    def current(self) -> ServerCertificate:
        return self.certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedAds:
    """A running server and the authority behind it."""

    server: Server
    port: int
    authority: TestAuthority
    certificates: Rotating
    settings: Settings

    def channel(
        self, machine: str = "web-1", namespace: str = "web", account: str = "front", root: bytes = b""
    ) -> grpc.aio.Channel:
        """A connection of a caller with a certificate. Use it as a context manager."""
        key, chain = self.authority.workload(machine, namespace, account)
        credentials = grpc.ssl_channel_credentials(root or self.authority.root, key, chain)
        return grpc.aio.secure_channel(
            f"127.0.0.1:{self.port}",
            credentials,
            options=[
                ("grpc.ssl_target_name_override", CONTROL_PLANE),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.max_receive_message_length", -1),
            ],
        )


@contextlib.asynccontextmanager
async def served_ads(
    directory: Directory,
    *,
    settings: Settings | None = None,
    transport: Transport | None = None,
    authority: TestAuthority | None = None,
    address: str = "127.0.0.1:0",
    clock: Clock | None = None,
) -> AsyncIterator[ServedAds]:
    authority = authority or TestAuthority()
    settings = settings or some_settings()
    certificates = Rotating(authority.server())
    server = Server(directory, settings, clock or SystemClock(), transport)
    port = await server.start(address, certificates)
    try:
        yield ServedAds(
            server=server, port=port, authority=authority, certificates=certificates, settings=settings
        )
    finally:
        await server.drain(timedelta(seconds=0.2))
