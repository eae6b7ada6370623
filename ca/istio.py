"""Istio's CA service over gRPC. Reads, asks, answers.

``CreateCertificate`` wants the proof of who asks: a client certificate where the port takes one (15012), or
else a bearer token (15011): a ServiceAccount token of a configured cluster, or a join token. As in Istio,
what the signing request says of itself is not read. Unlike Istio, nobody asks on behalf of another (Istio's
``ImpersonatedIdentity``) and nobody chooses the signer.

Who asks is a stranger until its proof holds, so each address has few calls at a time, and each call few
seconds to say what it wants. A failure is held against the token that failed, and against the address, which
may have more of them: a whole cluster may come from one. It is not held against the account that the token
names, which is anybody's to write.

All state is on disk (join tokens), counts failures or counts calls under way; calls run on one loop and hand
it back while a token is reviewed or used up.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import minting
from ca.accounts import ClustersNow, pod_behind
from ca.callers import Caller, Unproven, from_certificate
from ca.counters import Counters
from ca.credentials import ServerCredentials
from ca.disk import off_loop
from ca.issuance import Chain, Issuer
from ca.istio_messages import METHOD, SERVICE, CertificateRequest, response
from ca.places import Places
from ca.requests import SIZE_MAX, Malformed, Request, read_request
from ca.throttle import Throttle, TooMany
from ca.tokens import JoinTokens
from mesh.clock import Clock
from mesh.errors import Misconfigured, Refused, Unavailable
from mesh.latest import Latest

log = logging.getLogger(__name__)

# Calls that have come in on a port, whatever they wait for; one address alone has far fewer.
_CALLS_MAX = 1024
CALLS_PER_ADDRESS_MAX = 32
_CALLS_PER_CONNECTION_MAX = 8
REQUEST_SECONDS = 5
FAILURES_PER_ADDRESS_MAX = 60
_JOIN_TOKEN = "mw1."  # noqa: S105 (what a join token begins with)
# Beyond any life that a profile allows; more would not fit into the arithmetic.
_VALIDITY_MAX = 10 * 365 * 24 * 3600


class CertificateService:
    """The one method. Owned by the ports that serve it."""

    def __init__(
        self,
        *,
        issuer: Issuer,
        tokens: JoinTokens,
        clusters: ClustersNow,
        counters: Counters,
        clock: Clock,
    ) -> None:
        self._issuer, self._tokens, self._clusters = issuer, tokens, clusters
        self._counters, self._clock = counters, clock
        self._tokens_failed = Throttle(clock)
        self._addresses_failed = Throttle(clock, FAILURES_PER_ADDRESS_MAX)
        self._places = Places(CALLS_PER_ADDRESS_MAX)

    def methods(self) -> grpc.GenericRpcHandler[Any, Any]:
        """For a gRPC server. Messages pass as bytes.

        On the wire a call of one request is a stream that ends after it. It is read as one, because gRPC
        waits for the only request of a call without end, and nobody could be told that it is late.
        """
        create = grpc.stream_unary_rpc_method_handler(self._create)
        return grpc.method_handlers_generic_handler(SERVICE, {METHOD: create})

    async def _create(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        """One place where an error becomes a status, a line in the log and a count."""
        said = {key.lower(): str(value) for key, value in context.invocation_metadata() or ()}
        address = _address(context.peer())
        self._counters.requests.inc()
        try:
            with self._places.one_for(address):
                chain = await self._issued(await _only(requests), context, said, address)
        except TooMany as error:
            await self._refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, error)
        except Unproven as error:
            self._tokens_failed.failed(_tried(address, said))
            self._addresses_failed.failed(address)
            self._counters.unproven.inc()
            await self._refuse(context, grpc.StatusCode.UNAUTHENTICATED, error)
        except Malformed as error:
            self._counters.malformed.inc()
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, error)
        except Refused as error:
            self._counters.refused.inc()
            await self._refuse(context, grpc.StatusCode.PERMISSION_DENIED, error)
        except (Unavailable, Misconfigured) as error:
            log.warning("certificate not issued", extra={"address": address, "reason": str(error)})
            # The reason may name files and clusters of ours; it is for the log.
            answer = "the control plane cannot issue certificates now\ntry again; its log says why"
            await _abort(context, grpc.StatusCode.UNAVAILABLE, answer)
        self._counters.issued.inc()
        roots = minting.pem(*self._issuer.authority.roots).decode()
        return response([*(_pem(one) for one in (chain.leaf, *chain.intermediates)), roots])

    async def _refuse(self, context: Any, code: grpc.StatusCode, error: Refused) -> NoReturn:
        log.warning("certificate refused", extra={"address": _address(context.peer()), "reason": str(error)})
        await _abort(context, code, f"{error}\n{error.hint}" if error.hint else str(error))

    async def _issued(self, content: bytes, context: Any, said: Mapping[str, str], address: str) -> Chain:
        """Proof before parsing; all checks before a join token is used up; that before anything is signed."""
        pems = context.auth_context().get("x509_pem_cert", ())
        if pems:
            certificate = x509.load_pem_x509_certificate(bytes(pems[0]))
            caller = from_certificate(certificate.public_bytes(Encoding.DER), self._clock.now())
            return self._issuer.issue(_request(content), caller)
        self._addresses_failed.admit(address)
        self._tokens_failed.admit(_tried(address, said))
        token = _bearer(said)
        if token.startswith(_JOIN_TOKEN):
            return await self._joined(token, content)
        caller = await self._pod(token, said.get("clusterid", ""))
        return self._issuer.issue(_request(content), caller)

    async def _pod(self, token: str, cluster: str) -> Caller:
        return await pod_behind(token, self._clusters(), self._issuer.authority.trust_domain, named=cluster)

    async def _joined(self, text: str, content: bytes) -> Chain:
        token = await off_loop(self._tokens.check, text, self._clock.now())
        wanted = _request(content)
        vetted = self._issuer.vet(wanted, token.caller)
        await off_loop(self._tokens.use, token, wanted.key_hash, self._clock.now())
        return self._issuer.sign(vetted)


async def _only(requests: AsyncIterator[bytes]) -> bytes:
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            return await anext(requests)
    except (TimeoutError, StopAsyncIteration):
        raise Malformed(
            f"no request came within {REQUEST_SECONDS} s", hint="send one IstioCertificateRequest"
        ) from None


async def _abort(context: Any, code: grpc.StatusCode, text: str) -> NoReturn:
    # Half a character (a surrogate) has no bytes, and gRPC would never answer.
    await context.abort(code, text.encode(errors="backslashreplace").decode())
    raise RuntimeError("a call that was aborted goes on")


def _request(content: bytes) -> Request:
    said = CertificateRequest.parse(content)
    for name in sorted(said.metadata & {"ImpersonatedIdentity", "CertSigner"}):
        raise Refused(f"the request's metadata {name!r} is not carried out", hint="ask for the caller itself")
    if not 0 <= said.validity_seconds <= _VALIDITY_MAX:
        raise Malformed(
            f"a validity of {said.validity_seconds} seconds cannot be had", hint="ask for hours or days"
        )
    lifetime = timedelta(seconds=said.validity_seconds) if said.validity_seconds else None
    return read_request(said.csr.encode(), lifetime=lifetime)


def _bearer(said: Mapping[str, str]) -> str:
    scheme, _, token = said.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unproven("no token was sent", hint="send it as authorization: Bearer TOKEN")
    return token.strip()


def _tried(address: str, said: Mapping[str, str]) -> str:
    """The very token that is tried: nobody else's failures count against who has another."""
    digest = hashlib.sha256(said.get("authorization", "").encode(errors="surrogatepass")).hexdigest()
    return f"{address} with token {digest[:12]}"


def _address(peer: str) -> str:
    """``ipv4:10.0.0.7:43210`` without the port, which is another with each connection."""
    return unquote(peer).rpartition(":")[0]


def _pem(certificate: x509.Certificate) -> str:
    return minting.pem(certificate).decode()


class TokenPort:
    """The port for callers with a token and no certificate yet. Owned by the daemon."""

    def __init__(self, service: CertificateService) -> None:
        self._grpc = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", 2 * SIZE_MAX),
                ("grpc.max_metadata_size", 2 * SIZE_MAX),
                ("grpc.max_concurrent_streams", _CALLS_PER_CONNECTION_MAX),
                ("grpc.server_handshake_timeout_ms", 10_000),
                # Who enrols asks once and goes.
                ("grpc.max_connection_idle_ms", 60_000),
                ("grpc.max_connection_age_ms", 300_000),
                ("grpc.max_connection_age_grace_ms", 10_000),
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=_CALLS_MAX,
        )
        self._grpc.add_generic_rpc_handlers((service.methods(),))

    async def start(self, address: str, credentials: Latest[ServerCredentials]) -> int:
        """Listen; returns the port. What it presents is taken anew at each handshake.

        :raises Misconfigured: when the address cannot be had.
        """
        try:
            port = self._grpc.add_secure_port(address, _presented(lambda: credentials.value))
        except RuntimeError as error:
            raise Misconfigured(f"cannot listen on {address!r}", hint="is the port in use?") from error
        await self._grpc.start()
        return port

    async def stop(self, limit: timedelta = timedelta(seconds=1)) -> None:
        await self._grpc.stop(limit.total_seconds())


def _presented(current: Callable[[], ServerCredentials]) -> grpc.ServerCredentials:
    """Credentials that rotate: gRPC asks at each handshake, and takes None for "as before"."""
    handed_out = current()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal handed_out
        if current() == handed_out:
            return None
        handed_out = current()
        return _configuration(handed_out)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(handed_out),
        fetch,  # type: ignore[arg-type] # the stubs do not know that None means "as before"
        require_client_authentication=False,
    )


def _configuration(credentials: ServerCredentials) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(credentials.key_pem, credentials.chain_pem)])
