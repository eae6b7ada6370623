"""Enrolment over HTTPS (RFC 7030). Reads, asks, answers.

``/cacerts`` tells the chain and the roots to anyone. ``/simpleenroll`` wants a join token, as the
password of Basic authentication or as a bearer token. ``/simplereenroll`` wants the certificate
that is to be replaced, by mutual TLS. Unlike RFC 7030, 4.2.2, the request's subject need not
repeat the certificate's: the proven identity is signed whatever the request says.

As 4.2.3 says, the answer holds the new certificate alone; what lies between it and the root is
part of ``/cacerts`` (4.1.3).

All state is on disk (tokens) or counts failures (:class:`ca.throttle.Throttle`); handlers run on
one loop and give it back while a token is used up, which waits for the disk.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Awaitable, Callable
from ssl import SSLObject

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates

from ca.callers import Unproven, from_certificate
from ca.counters import Counters
from ca.disk import off_loop
from ca.issuance import Chain, Issuer
from ca.requests import SIZE_MAX, Malformed, read_request
from ca.throttle import Throttle, TooMany
from ca.tokens import JoinTokens
from ca.trust import TrustBundle
from mesh.clock import Clock
from mesh.errors import MeshError, Misconfigured, Refused, Unavailable
from mesh.latest import Latest

log = logging.getLogger(__name__)

WELL_KNOWN = "/.well-known/est"


def application(
    *,
    issuer: Issuer,
    tokens: JoinTokens,
    trust: Latest[TrustBundle],
    counters: Counters,
    clock: Clock,
) -> web.Application:
    """The EST service, to be served with :func:`ca.tls.server_context`."""
    est = _Est(issuer, tokens, trust, counters, clock)
    app = web.Application(client_max_size=SIZE_MAX, middlewares=[est.refuse])
    app.router.add_get(f"{WELL_KNOWN}/cacerts", est.cacerts)
    app.router.add_post(f"{WELL_KNOWN}/simpleenroll", est.simpleenroll)
    app.router.add_post(f"{WELL_KNOWN}/simplereenroll", est.simplereenroll)
    return app


class _Est:
    """The three answers. Owned by the application it is part of."""

    def __init__(
        self,
        issuer: Issuer,
        tokens: JoinTokens,
        trust: Latest[TrustBundle],
        counters: Counters,
        clock: Clock,
    ) -> None:
        self._issuer, self._tokens, self._trust = issuer, tokens, trust
        self._counters, self._clock = counters, clock
        self._throttle = Throttle(clock)

    async def cacerts(self, _request: web.Request) -> web.Response:
        roots = x509.load_pem_x509_certificates(self._trust.value.pem.encode())
        between = [c for c in self._issuer.authority.certificates if c not in roots]
        return _certificates([*between, *roots], "application/pkcs7-mime")

    async def simpleenroll(self, request: web.Request) -> web.Response:
        """Proof before parsing; all checks before the token is used up; that before anything is signed."""
        self._counters.requests.inc()
        self._throttle.admit(_address(request))
        token = await off_loop(self._tokens.check, _token(request), self._clock.now())
        wanted = read_request(await request.read())
        vetted = self._issuer.vet(wanted, token.caller)
        await off_loop(self._tokens.use, token, wanted.key_hash, self._clock.now())
        return self._issued(self._issuer.sign(vetted))

    async def simplereenroll(self, request: web.Request) -> web.Response:
        self._counters.requests.inc()
        caller = from_certificate(_peer_certificate(request), self._clock.now())
        return self._issued(self._issuer.issue(read_request(await request.read()), caller))

    def _issued(self, chain: Chain) -> web.Response:
        self._counters.issued.inc()
        return _certificates([chain.leaf], "application/pkcs7-mime; smime-type=certs-only")

    @web.middleware
    async def refuse(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """One place where an error becomes a status, a line in the log and a count."""
        address = _address(request)
        try:
            return await handler(request)
        except TooMany as error:
            return _error(429, error, {"Retry-After": str(error.retry_after)})
        except Unproven as error:
            # Counted wherever it fails, held against it only where a token is tried: who renews
            # was verified before HTTP began, and may share its address with whoever keeps failing.
            self._throttle.failed(address)
            self._counters.unproven.inc()
            response = _error(401, error, {"WWW-Authenticate": 'Basic realm="meshwright"'})
        except Malformed as error:
            self._counters.malformed.inc()
            response = _error(400, error)
        except Refused as error:
            self._counters.refused.inc()
            response = _error(403, error)
        except (Unavailable, Misconfigured) as error:
            log.warning("enrolment failed", extra={"address": address, "reason": str(error)})
            # The reason may name files of this host; it is for the log.
            said = Unavailable("the control plane cannot enrol now", hint="try again; its log says why")
            return _error(503, said, {"Retry-After": "30"})
        reason = (response.text or "").partition("\n")[0]
        log.warning("enrolment refused", extra={"address": address, "path": request.path, "reason": reason})
        return response


def _address(request: web.Request) -> str:
    return request.remote or ""


def _token(request: web.Request) -> str:
    """Basic (the user name is not looked at) or Bearer."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return value
        case "basic":
            try:
                return base64.b64decode(value, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                raise Unproven(
                    "Authorization header is not Basic authentication", hint="send the join token as password"
                ) from None
        case _:
            raise Unproven(
                "no join token was sent",
                hint="send it as the password of Basic authentication, or as a Bearer token",
            )


def _peer_certificate(request: web.Request) -> bytes:
    tls = request.transport.get_extra_info("ssl_object") if request.transport else None
    certificate = tls.getpeercert(binary_form=True) if isinstance(tls, SSLObject) else None
    if certificate is None:
        raise Unproven(
            "no client certificate was presented",
            hint="renew with the certificate that is to be replaced, or enrol with a join token",
        )
    if isinstance(tls, SSLObject) and tls.session_reused:
        raise Unproven(
            "a resumed TLS session does not prove that the key is still at hand",
            hint="connect without a session",
        )
    return certificate


def _certificates(certificates: list[x509.Certificate], content_type: str) -> web.Response:
    """A degenerate PKCS#7 (RFC 7030, 4.1.3), in base64 of 64 columns."""
    body = base64.encodebytes(serialize_certificates(certificates, Encoding.DER))
    headers = {"Content-Type": content_type, "Content-Transfer-Encoding": "base64"}
    return web.Response(body=body, headers=headers)


def _error(status: int, error: MeshError, headers: dict[str, str] | None = None) -> web.Response:
    lines = [str(error), error.hint] if error.hint else [str(error)]
    return web.Response(status=status, text="\n".join(lines) + "\n", headers=headers)
