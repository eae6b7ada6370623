"""Decide, then sign, then verify.

Only what :func:`vet` or :func:`vet_control_plane` let through can be signed, and what was signed
is read back and compared before anyone sees it: a certificate cannot be taken back for a day.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca import minting
from ca.authority import Authority
from ca.callers import POD_UNIT, Caller
from ca.profile import CONTROL_PLANE_ACCOUNT, Profile, control_plane, machine_name
from ca.requests import PublicKey, Request
from mesh.clock import Clock
from mesh.durations import spoken_duration
from mesh.errors import Misconfigured, Refused, Unavailable
from mesh.identity import SpiffeId
from mesh.latest import Latest

log = logging.getLogger(__name__)

_VETTED = object()
_PURPOSES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


@final
class Vetted:
    """A request that passed every check. Only the two vetting functions make one."""

    __slots__ = ("alternative_names", "identity", "name", "not_after", "not_before", "public_key", "subject")

    def __init__(
        self,
        public_key: PublicKey,
        identity: SpiffeId,
        name: str,
        life: tuple[datetime, datetime],
        *,
        proof: object,
        also: Iterable[x509.GeneralName] = (),
        unit: str = "",
    ) -> None:
        if proof is not _VETTED:
            raise TypeError("Vetted comes out of vet(), nowhere else")
        self.public_key, self.identity, self.name = public_key, identity, name
        self.not_before, self.not_after = life
        units = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit)] if unit else []
        self.subject = x509.Name([*units, x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.alternative_names = [x509.UniformResourceIdentifier(str(identity)), *also]


@dataclass(frozen=True, slots=True)
class Chain:
    """A certificate and what a verifier needs beside the root."""

    leaf: x509.Certificate
    intermediates: tuple[x509.Certificate, ...]

    @property
    def pem(self) -> bytes:
        return minting.pem(self.leaf, *self.intermediates)


def vet(request: Request, caller: Caller, profile: Profile, authority: Authority, now: datetime) -> Vetted:
    """Whether this caller gets a certificate for this key, and for how long.

    What the request says of itself is not read: the caller's proven identity is what gets signed.
    """
    if caller.identity.trust_domain != authority.trust_domain:
        raise Refused(
            f"{caller.identity} is not of trust domain {authority.trust_domain!r}",
            hint="enrol with a token of this mesh",
        )
    if caller.identity == control_plane(authority.trust_domain):
        raise Refused(
            f"{caller.identity} is the control plane's own identity and is given to nobody",
            hint="choose another service account",
        )
    # A Pod's token lives for an hour, and the Pod perhaps less: nobody turns it into months.
    longest = profile.lifetime if caller.is_pod else profile.lifetime_max
    life = _life(request, profile, authority, now, longest)
    return Vetted(
        request.public_key,
        caller.identity,
        machine_name(caller.name),
        life,
        proof=_VETTED,
        unit=POD_UNIT if caller.is_pod else "",
    )


def vet_control_plane(
    request: Request,
    hosts: Iterable[str | IPv4Address | IPv6Address],
    profile: Profile,
    authority: Authority,
    now: datetime,
) -> Vetted:
    """The one certificate with DNS names and addresses: EST clients that know no SPIFFE need them."""
    names = [_host(host) for host in hosts]
    identity = control_plane(authority.trust_domain)
    life = _life(request, profile, authority, now, profile.lifetime_max)
    return Vetted(request.public_key, identity, CONTROL_PLANE_ACCOUNT, life, proof=_VETTED, also=names)


def _host(host: str | IPv4Address | IPv6Address) -> x509.GeneralName:
    if not isinstance(host, str):
        return x509.IPAddress(host)
    try:
        return x509.DNSName(host)
    except ValueError:
        raise Misconfigured(
            f"not a host name: {host!r}", hint="write an international name in its ASCII form: xn--…"
        ) from None


def _life(
    request: Request, profile: Profile, authority: Authority, now: datetime, longest: timedelta
) -> tuple[datetime, datetime]:
    lifetime = request.lifetime or profile.lifetime
    if lifetime > longest:
        raise Refused(
            f"lifetime {spoken_duration(lifetime)} is longer than {spoken_duration(longest)}",
            hint="ask for less, or raise ca.lifetimeMax"
            if longest == profile.lifetime_max
            else "ask for less: a Pod renews with its token",
        )
    if now >= authority.not_after:
        raise Unavailable(
            f"the CA's own certificate expired at {authority.not_after:%Y-%m-%d %H:%M} UTC",
            hint="replace the CA's certificate, or correct the clock of the control plane",
        )
    # Certificates hold whole seconds, and none may outlive its issuer (istio#59768).
    end = min(now + lifetime, authority.not_after)
    # By what is left and not by what was asked: else half of the life of a leaf from the last minutes of
    # its issuer would be over before it is made, and everybody would renew without a pause.
    start = max(now - profile.backdate_of(end - now), authority.certificate.not_valid_before_utc)
    return start.replace(microsecond=0), end.replace(microsecond=0)


def sign(vetted: Vetted, authority: Authority) -> Chain:
    """A certificate for what was vetted, verified once more against it."""
    leaf = _build(vetted, authority).sign(authority.key, _hash_for(authority.key))
    _verify(leaf, vetted, authority)
    between = tuple(c for c in authority.certificates if c not in authority.roots)
    return Chain(leaf, between)


def _build(vetted: Vetted, authority: Authority) -> x509.CertificateBuilder:
    issuer = authority.certificate
    return (
        x509.CertificateBuilder()
        .subject_name(vetted.subject)
        .issuer_name(issuer.subject)
        .public_key(vetted.public_key)
        .serial_number(minting.serial_number())
        .not_valid_before(vetted.not_before)
        .not_valid_after(vetted.not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(vetted.public_key), critical=True)
        .add_extension(_PURPOSES, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(vetted.public_key), critical=False)
        .add_extension(_issuer_key(issuer), critical=False)
        .add_extension(x509.SubjectAlternativeName(vetted.alternative_names), critical=False)
    )


def _verify(leaf: x509.Certificate, vetted: Vetted, authority: Authority) -> None:
    """Raises what no caller can have caused: a bug of ours, or a broken signer."""
    leaf.verify_directly_issued_by(authority.certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    said = (leaf.subject, list(names), leaf.public_key(), leaf.not_valid_before_utc, leaf.not_valid_after_utc)
    meant = (vetted.subject, vetted.alternative_names, vetted.public_key, vetted.not_before, vetted.not_after)
    if said != meant:
        raise RuntimeError(f"signed something else than was vetted for {vetted.identity}")
    if leaf.not_valid_after_utc > authority.not_after:
        raise RuntimeError(f"certificate for {vetted.identity} would outlive its issuer")


def _issuer_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """The issuer's own word for its key; a plugged-in CA may not have used SHA-1 of it."""
    try:
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        key = issuer.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            raise TypeError(f"issuer key of kind {type(key).__name__}") from None
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _key_usage(key: PublicKey) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        # RSA key exchange of TLS 1.2 only; an elliptic curve key cannot encipher.
        key_encipherment=isinstance(key, rsa.RSAPublicKey),
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _hash_for(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256:
        return hashes.SHA384() if key.curve.key_size <= 384 else hashes.SHA512()
    return hashes.SHA256()


class Issuer:
    """Vets and signs with whatever authority is in force now."""

    def __init__(self, authority: Latest[Authority], profile: Profile, clock: Clock) -> None:
        self._authority, self._profile, self._clock = authority, profile, clock

    @property
    def authority(self) -> Authority:
        return self._authority.value

    def vet(self, request: Request, caller: Caller) -> Vetted:
        return vet(request, caller, self._profile, self.authority, self._clock.now())

    def vet_control_plane(self, request: Request, hosts: Iterable[str | IPv4Address | IPv6Address]) -> Vetted:
        return vet_control_plane(request, hosts, self._profile, self.authority, self._clock.now())

    def sign(self, vetted: Vetted) -> Chain:
        chain = sign(vetted, self.authority)
        log.info(
            "certificate issued",
            extra={
                "identity": str(vetted.identity),
                "machine": vetted.name,
                "serial": f"{chain.leaf.serial_number:x}",
                "until": vetted.not_after.isoformat(),
            },
        )
        return chain

    def issue(self, request: Request, caller: Caller) -> Chain:
        """Vet and sign in one go, for callers whose proof is not used up by it."""
        return self.sign(self.vet(request, caller))
