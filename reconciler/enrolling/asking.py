"""One certificate from the control plane: a new key, a request, and an answer that is looked at.

What comes back is put in use only if Envoy could use it: for our key, valid now, and leading to one of the
roots that came with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import grpc
import grpc.aio
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ca import minting
from ca.istio_messages import METHOD, SERVICE, CertificateRequest, read_response
from mesh.errors import Refused, Unavailable
from reconciler.enrolling import door
from reconciler.enrolling.door import Server
from reconciler.enrolling.files import is_due

_ANSWER_SECONDS = 20
_ANSWER_BYTES_MAX = 1024 * 1024
RENEWAL_SHARE_MIN = 0.49
"""The share of a certificate's life after which somebody may renew it."""
_RETRIED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A key and what was signed for it, as PEM; the certificate itself is the first of the chain."""

    key: bytes = field(repr=False)
    chain: str
    roots: str
    certificate: x509.Certificate


async def certificate(
    server: Server, *, token: str, cluster: str, roots: str, folder: Path, now: datetime
) -> Issued:
    """Prove the Pod by its token.

    :param cluster: the name of the Pod's cluster; empty: the control plane finds out.
    :raises Refused: when the server is not the control plane, or says no, or answers what cannot be used.
    :raises Unavailable: when it does not answer.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    ask = CertificateRequest(csr=_signing_request(key)).serialized()
    metadata = [("authorization", f"Bearer {token}"), *([("clusterid", cluster)] if cluster else [])]
    async with door.opened(server, roots, folder) as target:
        answer = await _called(server, target, ask, metadata)
    try:
        pems = read_response(answer)
        chain = x509.load_pem_x509_certificates("".join(pems[:-1]).encode())
        anchors = x509.load_pem_x509_certificates(pems[-1].encode())
    except (ValueError, IndexError):
        raise Refused(
            f"{server} answered something else than certificates", hint="is it a control plane?"
        ) from None
    check(server, key, chain, anchors, now)
    return Issued(
        key=minting.key_pem(key),
        chain=minting.pem(*chain).decode(),
        roots=minting.pem(*anchors).decode(),
        certificate=chain[0],
    )


async def _called(server: Server, target: str, ask: bytes, metadata: Sequence[tuple[str, str]]) -> bytes:
    options = [
        ("grpc.max_receive_message_length", _ANSWER_BYTES_MAX),
        ("grpc.default_authority", "meshwright"),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
    ]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        try:
            answer: bytes = await channel.unary_unary(f"/{SERVICE}/{METHOD}", None, None)(
                ask, metadata=metadata, timeout=_ANSWER_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            reason, _, hint = (error.details() or error.code().name).partition("\n")
            text = f"{server} answered {error.code().name}: {reason}"
            if error.code() in _RETRIED:
                raise Unavailable(text, hint=hint) from None
            raise Refused(text, hint=hint) from None
    return answer


def _signing_request(key: ec.EllipticCurvePrivateKey) -> str:
    """The control plane reads only the key of it, so it says nothing."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whoever proves it")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def check(
    server: Server,
    key: ec.EllipticCurvePrivateKey,
    chain: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    now: datetime,
) -> None:
    """Whether what was answered can be put in use. :raises Refused: when it cannot."""
    leaf = chain[0]
    if leaf.public_key() != key.public_key():
        raise Refused(f"{server} signed a key that is not this Pod's", hint="ask the operator of the mesh")
    if now < leaf.not_valid_before_utc:
        raise Refused(
            f"the new certificate is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC",
            hint=f"the clock of this node says {now:%Y-%m-%d %H:%M:%S} UTC; is it right?",
        )
    if is_due(leaf, now, RENEWAL_SHARE_MIN):
        # Put in use, it would be renewed at once, again and again.
        raise Refused(
            f"the new certificate ends at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC and is to be "
            "renewed already",
            hint=f"the clock of this node says {now:%Y-%m-%d %H:%M:%S} UTC; is it right?",
        )
    for below, above in pairwise(chain):
        if not _issued(above, below):
            raise Refused(f"the chain from {server} is broken", hint="ask the operator of the mesh")
    if not any(_issued(anchor, chain[-1]) for anchor in anchors):
        raise Refused(
            f"the chain from {server} leads to none of its roots", hint="ask the operator of the mesh"
        )


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
