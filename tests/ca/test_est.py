"""EST over real TLS on loopback."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates

from ca import minting, tls
from ca.callers import Caller
from ca.credentials import server_credentials
from ca.issuance import Chain
from ca.profile import control_plane
from ca.requests import SIZE_MAX
from ca.throttle import FAILURES_MAX
from tests.support.certificates import (
    ServedEst,
    a_caller,
    a_csr,
    a_key,
    a_request,
    an_issuer,
    served_est,
)
from tests.support.clock import FakeClock

EST = "/.well-known/est"


def a_token(est: ServedEst, caller: Caller | None = None, ttl: timedelta = timedelta(hours=1)) -> str:
    now = est.clock.now()
    return est.tokens.create(caller or a_caller(), ttl, root_hash=est.authority.root_hash, now=now)


def trusting(est: ServedEst) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=est.credentials.roots_pem.decode())
    return context


def presenting(est: ServedEst, chain: Chain, key: ec.EllipticCurvePrivateKey, folder: Path) -> ssl.SSLContext:
    (folder / "client.pem").write_bytes(minting.key_pem(key) + chain.pem)
    context = trusting(est)
    context.load_cert_chain(folder / "client.pem")
    return context


async def post(
    est: ServedEst,
    path: str,
    body: bytes,
    headers: dict[str, str] | None = None,
    context: ssl.SSLContext | None = None,
) -> tuple[int, str, aiohttp.typedefs.LooseHeaders]:
    connector = aiohttp.TCPConnector(ssl=context or trusting(est))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(f"{est.url}{EST}/{path}", data=body, headers=headers) as answer,
    ):
        return answer.status, await answer.text(), answer.headers


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(token: str, user: str = "") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()}


def spoiled(token: str, folder: Path) -> Path:
    """A directory where the record of the token was."""
    [record] = folder.rglob(f"{token.split('.')[1]}.json")
    record.unlink()
    record.mkdir()
    return record


def leaf_of(text: str) -> x509.Certificate:
    [leaf] = load_der_pkcs7_certificates(base64.b64decode(text))
    return leaf


def name_of(leaf: x509.Certificate) -> str:
    return leaf.subject.rfc4514_string()


async def test_anyone_may_ask_for_the_chain_and_the_roots(tmp_path: Path) -> None:
    """``/cacerts`` is PKCS#7 in base64, with the content type of RFC 7030."""
    async with served_est(tmp_path) as est:
        connector = aiohttp.TCPConnector(ssl=trusting(est))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"{est.url}{EST}/cacerts") as answer,
        ):
            body = await answer.read()

    assert answer.headers["Content-Type"] == "application/pkcs7-mime"
    assert answer.headers["Content-Transfer-Encoding"] == "base64"
    found = load_der_pkcs7_certificates(base64.b64decode(body))
    assert set(found) == {est.authority.certificate, *est.authority.roots}


async def test_a_token_buys_one_certificate_for_its_identity_and_machine(tmp_path: Path) -> None:
    """The request's own words are not read; the token's identity is signed."""
    async with served_est(tmp_path) as est:
        key = a_key()
        body = base64.encodebytes(a_csr(key, subject="someone-else"))
        status, text, headers = await post(est, "simpleenroll", body, bearer(a_token(est)))

    assert status == 200
    assert headers["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
    leaf = leaf_of(text)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/bookinfo/sa/reviews")]
    assert name_of(leaf) == "CN=db-1"
    assert leaf.public_key() == key.public_key()
    assert est.count("csr_count") == est.count("success_cert_issuance_count") == 1


async def test_a_token_may_come_as_the_password_of_basic_authentication(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        for user in ("", "token"):
            status, _, _ = await post(est, "simpleenroll", a_csr(), basic(a_token(est), user))
            assert status == 200


async def test_a_used_token_is_refused_for_another_key(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        token = a_token(est)
        await post(est, "simpleenroll", a_csr(), bearer(token))
        status, text, headers = await post(est, "simpleenroll", a_csr(), bearer(token))

    assert status == 401
    assert text.startswith(f"join token {token.split('.')[1]} was already used at 20")
    assert text.endswith(
        "if that was not this machine, tell the operator; a new token: meshwright ca token\n"
    )
    assert headers["WWW-Authenticate"] == 'Basic realm="meshwright"'
    assert est.count("authentication_failure_count") == 1


async def test_an_answer_that_was_lost_can_be_asked_for_again_with_the_same_key(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        token, key = a_token(est), a_key()
        answers = [await post(est, "simpleenroll", a_csr(key), bearer(token)) for _ in range(2)]

    assert [status for status, _, _ in answers] == [200, 200]


async def test_of_twenty_who_use_a_token_at_once_one_gets_a_certificate(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        token = a_token(est)
        answers = await asyncio.gather(
            *(post(est, "simpleenroll", a_csr(), bearer(token)) for _ in range(20))
        )

    statuses = [status for status, _, _ in answers]
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 401, 429}
    assert est.count("success_cert_issuance_count") == 1


async def test_without_a_token_nothing_is_signed(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        status, text, _ = await post(est, "simpleenroll", a_csr())

    assert (status, text) == (
        401,
        "no join token was sent\nsend it as the password of Basic authentication, or as a Bearer token\n",
    )


async def test_what_is_wrong_on_the_servers_disk_is_told_to_its_log_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A token that another user made with sudo, say."""
    async with served_est(tmp_path) as est:
        token = a_token(est)
        record = spoiled(token, tmp_path)
        status, text, _ = await post(est, "simpleenroll", a_csr(), bearer(token))

    assert (status, text) == (503, "the control plane cannot enrol now\ntry again; its log says why\n")
    assert vars(caplog.records[-1])["reason"] == f"could not read {record}: Is a directory"


async def test_a_malformed_request_does_not_use_the_token_up(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        token = a_token(est)
        status, text, _ = await post(est, "simpleenroll", b"nonsense!", bearer(token))
        again, _, _ = await post(est, "simpleenroll", a_csr(), bearer(token))

    assert (status, again) == (400, 200)
    assert text == (
        "signing request is neither PEM nor DER nor base64 of DER\n"
        "send a PKCS#10 request: openssl req -new -key key.pem -outform DER | base64\n"
    )
    assert est.count("csr_parsing_err_count") == 1


async def test_a_body_that_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        status, _, _ = await post(est, "simpleenroll", b"x" * (SIZE_MAX + 1), bearer(a_token(est)))

    assert status == 413


async def test_who_keeps_failing_is_told_to_wait(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        for _ in range(FAILURES_MAX):
            await post(est, "simpleenroll", a_csr(), bearer("mw1.0123456789abcdef.guess"))
        status, text, headers = await post(est, "simpleenroll", a_csr(), bearer(a_token(est)))

    assert status == 429
    assert text.startswith("10 failed attempts from 127.0.0.1 within 60 s\ntry again in ")
    assert 0 < int(headers["Retry-After"]) <= 60


async def test_a_certificate_renews_itself_for_a_new_key(tmp_path: Path) -> None:
    """Identity and machine come from the certificate that is presented."""
    async with served_est(tmp_path) as est:
        old_key, new_key = a_key(), a_key()
        old = est.issuer.issue(a_request(old_key), a_caller())
        context = presenting(est, old, old_key, tmp_path)
        status, text, _ = await post(est, "simplereenroll", a_csr(new_key, subject="db-2"), context=context)

    assert status == 200
    leaf = leaf_of(text)
    assert (name_of(leaf), leaf.public_key()) == ("CN=db-1", new_key.public_key())


async def test_the_certificate_of_a_pod_that_may_be_gone_does_not_renew_itself(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        key, pod = a_key(), replace(a_caller(name="orders-1"), is_pod=True)
        context = presenting(est, est.issuer.issue(a_request(key), pod), key, tmp_path)
        status, text, _ = await post(est, "simplereenroll", a_csr(), context=context)

    assert (status, text) == (
        403,
        (
            "the certificate of Pod 'orders-1' does not renew itself\n"
            "ask with the Pod's ServiceAccount token, as meshwright enrol does\n"
        ),
    )


async def test_renewal_without_a_certificate_is_refused(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        status, text, _ = await post(est, "simplereenroll", a_csr(), bearer(a_token(est)))

    assert status == 401
    assert text == (
        "no client certificate was presented\n"
        "renew with the certificate that is to be replaced, or enrol with a join token\n"
    )


async def test_a_token_for_the_control_planes_identity_buys_nothing(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        token = a_token(est, Caller(control_plane("cluster.local"), "db-1"))
        status, text, _ = await post(est, "simpleenroll", a_csr(), bearer(token))

    assert status == 403
    assert text == (
        "spiffe://cluster.local/ns/istio-system/sa/meshwright is the control plane's own identity and is "
        "given to nobody\nchoose another service account\n"
    )
    assert est.count("csr_sign_err_count") == 1
    assert [token.used for token in est.tokens.listed()] == [None], "what is refused does not use it up"


async def test_a_resumed_session_proves_nothing(tmp_path: Path) -> None:
    """It brings back a certificate that was verified some time ago, by roots that may have gone since."""

    def renewed(est: ServedEst, context: ssl.SSLContext, session: ssl.SSLSession | None) -> Any:
        port = urlsplit(est.url).port or 0
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
            context.wrap_socket(plain, session=session) as connection,
        ):
            body = base64.encodebytes(a_csr())
            head = f"POST {EST}/simplereenroll HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            return connection.recv(65536).split()[1], connection.session, connection.session_reused

    async with served_est(tmp_path) as est:
        key = a_key()
        chain = an_issuer(est.clock, est.authority).issue(a_request(key), a_caller())
        context = presenting(est, chain, key, tmp_path)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        status, session, _ = await asyncio.to_thread(renewed, est, context, None)
        again, _, is_resumed = await asyncio.to_thread(renewed, est, context, session)

    assert (status, is_resumed, again) == (b"200", True, b"401")


async def test_a_stolen_server_certificate_cannot_renew_itself(tmp_path: Path) -> None:
    """The control plane's certificate is made in memory and never through EST."""
    async with served_est(tmp_path) as est:
        (tmp_path / "server.pem").write_bytes(est.credentials.key_pem + est.credentials.chain_pem)
        context = trusting(est)
        context.load_cert_chain(tmp_path / "server.pem")
        status, _, _ = await post(est, "simplereenroll", a_csr(), context=context)

    assert status == 403


async def test_tls_lets_no_expired_certificate_and_none_of_another_ca_in(tmp_path: Path) -> None:
    """The handshake fails; nothing of the request is read."""
    async with served_est(tmp_path, made_before=timedelta(days=30)) as est:
        key = a_key()
        yesterday = FakeClock(start=est.clock.now() - timedelta(hours=25))
        expired = an_issuer(yesterday, est.authority).issue(a_request(key), a_caller())
        foreign = an_issuer(est.clock).issue(a_request(key), a_caller())
        for chain in (expired, foreign):
            with pytest.raises(aiohttp.ClientError):
                await post(est, "simplereenroll", a_csr(), context=presenting(est, chain, key, tmp_path))

        assert est.count("csr_count") == 0


async def test_a_renewed_server_certificate_is_shown_to_the_next_connection(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        before = await shown(est)
        tls.present(est.context, server_credentials(est.issuer))
        after = await shown(est)

    assert before != after


async def shown(est: ServedEst) -> bytes:
    port = int(est.url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting(est))
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return certificate


async def test_the_server_can_be_verified_by_its_name_as_well(tmp_path: Path) -> None:
    """Clients that know no SPIFFE check the DNS name."""
    async with served_est(tmp_path) as est:
        port = int(est.url.rpartition(":")[2])
        context = trusting(est)
        context.check_hostname = True
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        names = writer.get_extra_info("ssl_object").getpeercert()["subjectAltName"]
        writer.close()
        await writer.wait_closed()

    assert names == (("URI", "spiffe://cluster.local/ns/istio-system/sa/meshwright"), ("DNS", "localhost"))


async def test_the_expiry_of_root_and_chain_is_told_under_istios_names(tmp_path: Path) -> None:
    async with served_est(tmp_path) as est:
        pass

    [root] = est.authority.roots
    assert est.count("root_cert_expiry_timestamp") == root.not_valid_after_utc.timestamp()
    assert est.count("cert_chain_expiry_timestamp") == est.authority.not_after.timestamp()
