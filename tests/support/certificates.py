"""Authorities, keys, requests and a served EST application for tests."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client import CollectorRegistry

from ca import est, tls
from ca.authority import Authority, open_authority
from ca.callers import Caller
from ca.counters import Counters
from ca.credentials import ServerCredentials, server_credentials
from ca.issuance import Issuer
from ca.minting import Minted, new_intermediate, new_root
from ca.profile import Profile
from ca.requests import Request
from ca.tokens import JoinTokens
from ca.trust import TrustBundle
from mesh.clock import Clock, SystemClock
from mesh.identity import SpiffeId
from mesh.latest import Latest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRUST_DOMAIN = "cluster.local"


def a_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def a_csr(key: ec.EllipticCurvePrivateKey | None = None, subject: str = "whoever") -> bytes:
    """A signing request as DER."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(key or a_key(), hashes.SHA256()).public_bytes(Encoding.DER)


def a_request(key: ec.EllipticCurvePrivateKey | None = None) -> Request:
    return Request((key or a_key()).public_key())


def a_caller(account: str = "reviews", name: str = "db-1", trust_domain: str = TRUST_DOMAIN) -> Caller:
    return Caller(SpiffeId(trust_domain, "bookinfo", account), name)


def an_authority(now: datetime = NOW, trust_domain: str = TRUST_DOMAIN) -> Authority:
    """A root and an intermediate that never touch the disk."""
    root = new_root(trust_domain, now)
    below = new_intermediate(root, trust_domain, now)
    return Authority(
        trust_domain=trust_domain,
        key=below.key,
        certificates=(below.certificate, root.certificate),
        roots=(root.certificate,),
    )


def an_issuer(clock: Clock, authority: Authority | None = None, profile: Profile | None = None) -> Issuer:
    return Issuer(Latest(authority or an_authority(clock.now())), profile or Profile(), clock)


def write_plugged_in(directory: Path, below: Minted, root: x509.Certificate) -> Path:
    """A directory of Istio's file names, as an operator would lay it out."""
    directory.mkdir(mode=0o700, parents=True)
    for name, content in below.files((below.certificate, root), (root,)).items():
        path = directory / name
        path.write_bytes(content)
        path.chmod(0o600)
    return directory


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedEst:
    """A running EST service, and everything behind it."""

    url: str
    authority: Authority
    issuer: Issuer
    tokens: JoinTokens
    credentials: ServerCredentials
    context: ssl.SSLContext
    registry: CollectorRegistry
    clock: Clock

    def count(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"citadel_server_{name}")


@contextlib.asynccontextmanager
async def served_est(
    state: Path,
    *,
    profile: Profile | None = None,
    clock: Clock | None = None,
    credentials: ServerCredentials | None = None,
    made_before: timedelta = timedelta(0),
    on_prepare: Callable[[web.Request, web.StreamResponse], Awaitable[None]] | None = None,
) -> AsyncIterator[ServedEst]:
    """EST over real TLS on a free loopback port, with an authority of that age."""
    clock = clock or SystemClock()
    authority = open_authority(state / "ca", clock.now() - made_before, trust_domain=TRUST_DOMAIN)
    latest = Latest(authority)
    issuer = Issuer(latest, profile or Profile(), clock)
    tokens = JoinTokens(state / "ca" / "tokens")
    registry = CollectorRegistry()
    credentials = credentials or server_credentials(issuer, ["localhost"])
    context = tls.server_context(credentials)
    app = est.application(
        issuer=issuer,
        tokens=tokens,
        trust=Latest(TrustBundle.of(TRUST_DOMAIN, authority.roots)),
        counters=Counters(registry, latest),
        clock=clock,
    )
    if on_prepare is not None:
        app.on_response_prepare.append(on_prepare)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port = runner.addresses[0][1]
        yield ServedEst(
            url=f"https://127.0.0.1:{port}",
            authority=authority,
            issuer=issuer,
            tokens=tokens,
            credentials=credentials,
            context=context,
            registry=registry,
            clock=clock,
        )
    finally:
        await runner.cleanup()
