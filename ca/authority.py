"""The signing key in force, the chain, and the roots to trust.

On the first start a root and an intermediate are made under ``<state>/ca``; later starts find
them. The root's key lies apart (``root/``) and is read only when an intermediate is due, so an
operator may take it off the host in between. Opening again is how the intermediate is renewed:
below the same root nobody has to learn anything first, because a chain is sent with every leaf.

A plugged-in directory is read and checked, and never written.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ca import minting, rotation, store
from ca.chains import SigningChain, SigningKey, read_chain
from mesh.errors import Misconfigured, Unavailable

log = logging.getLogger(__name__)

_ROOT = "root"
_INTERMEDIATE = "intermediate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Who signs. ``certificates`` begins with the signing one; the first root is the one above it."""

    trust_domain: str
    key: SigningKey = field(repr=False, compare=False)
    certificates: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]

    @property
    def certificate(self) -> x509.Certificate:
        return self.certificates[0]

    @property
    def not_after(self) -> datetime:
        """When the first of the chain ends; nothing that is signed may outlive it."""
        return min(c.not_valid_after_utc for c in self.certificates)

    @property
    def root_hash(self) -> str:
        """SHA-256 of the signing root's DER, in hex: what a join token carries."""
        return hashlib.sha256(self.roots[0].public_bytes(Encoding.DER)).hexdigest()


def open_authority(
    directory: Path, now: datetime, *, trust_domain: str, plugged_in: Path | None = None
) -> Authority:
    """The authority of this mesh, made or renewed where it is ours to make.

    :param directory: ``<state>/ca``; not touched when ``plugged_in`` names another.
    :raises Misconfigured: when what lies there cannot sign for ``trust_domain``.
    """
    if plugged_in is not None:
        return _authority(read_chain(plugged_in, now), trust_domain, plugged_in)
    intermediate = directory / _INTERMEDIATE
    if not intermediate.exists():
        root = _open_root(directory / _ROOT, now, trust_domain)
        return _new_intermediate(intermediate, root, now, trust_domain)
    if not _is_due(intermediate, now, trust_domain):
        return _authority(read_chain(intermediate, now), trust_domain, intermediate)
    if not (directory / _ROOT / store.KEY).exists():
        # Valid for half of its life still, or read_chain says that it is not.
        log.warning("intermediate is due but the root key is not on this host", extra={"path": intermediate})
        return _authority(read_chain(intermediate, now), trust_domain, intermediate)
    root = _open_root(directory / _ROOT, now, trust_domain)
    try:
        return _new_intermediate(intermediate, root, now, trust_domain)
    except Unavailable as error:
        log.warning("intermediate is due but cannot be written", extra={"reason": str(error)})
        return _authority(read_chain(intermediate, now), trust_domain, intermediate)


def _open_root(directory: Path, now: datetime, trust_domain: str) -> minting.Minted:
    if not directory.exists():
        root = minting.new_root(trust_domain, now)
        try:
            store.create_directory(directory, root.files((root.certificate,), (root.certificate,)))
        except FileExistsError:
            log.info("another process made the root", extra={"path": directory})
        else:
            log.info("root made", extra={"root": root.certificate.subject.rfc4514_string()})
    chain = read_chain(directory, now)
    if not isinstance(chain.key, ec.EllipticCurvePrivateKey):
        raise Misconfigured(
            f"the root key in {directory} is not one of ours", hint="plug in a CA with ca.directory instead"
        )
    return minting.Minted(chain.certificates[0], chain.key)


def _new_intermediate(directory: Path, root: minting.Minted, now: datetime, trust_domain: str) -> Authority:
    made = minting.new_intermediate(root, trust_domain, now)
    store.replace_directory(directory, made.files((made.certificate,), (root.certificate,)))
    log.info("intermediate made", extra={"until": made.certificate.not_valid_after_utc.isoformat()})
    return _authority(read_chain(directory, now), trust_domain, directory)


def _is_due(directory: Path, now: datetime, trust_domain: str) -> bool:
    certificate = x509.load_pem_x509_certificate(store.read(directory / store.CERTIFICATE))
    at = rotation.half_life(certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    return now >= at or not minting.vouches_for(certificate, trust_domain)


def _authority(chain: SigningChain, trust_domain: str, directory: Path) -> Authority:
    if not minting.vouches_for(chain.certificates[0], trust_domain):
        raise Misconfigured(
            f"the CA in {directory} may not sign for trust domain {trust_domain!r}: its name constraints "
            "permit others only",
            hint="use the trust domain the CA was made for, or a CA without URI constraints",
        )
    return Authority(
        trust_domain=trust_domain, key=chain.key, certificates=chain.certificates, roots=chain.roots
    )
