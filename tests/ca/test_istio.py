"""Istio's CA service as its clients meet it: over gRPC, with a token or a certificate."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf import struct_pb2
from prometheus_client import CollectorRegistry

from ca import minting
from ca.accounts import Cluster
from ca.counters import Counters
from ca.credentials import server_credentials
from ca.issuance import Issuer
from ca.istio import (
    CALLS_PER_ADDRESS_MAX,
    FAILURES_PER_ADDRESS_MAX,
    REQUEST_SECONDS,
    CertificateService,
    TokenPort,
)
from ca.istio_messages import CertificateRequest, read_response, response
from ca.profile import Profile
from ca.throttle import FAILURES_MAX
from ca.tokens import JoinTokens
from mesh.clock import SystemClock
from mesh.errors import Refused, Unavailable
from mesh.latest import Latest
from tests.support.certificates import a_caller, a_csr, a_key, a_request, an_authority
from tests.support.service_accounts import AnApiServer, APod, a_token

METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The service on two ports: that for tokens, and one that takes certificates as 15012 does."""

    issuer: Issuer
    tokens: JoinTokens
    registry: CollectorRegistry
    port: int
    mutual_port: int

    def channel(self) -> grpc.aio.Channel:
        """A connection of its own to the port for tokens."""
        credentials = grpc.ssl_channel_credentials(self.roots)
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.secure_channel(f"localhost:{self.port}", credentials, options=options)

    @property
    def roots(self) -> bytes:
        return minting.pem(*self.issuer.authority.roots)

    async def ask(
        self, content: bytes, *metadata: tuple[str, str], pair: tuple[bytes, bytes] | None = None
    ) -> tuple[str, ...]:
        port = self.port if pair is None else self.mutual_port
        credentials = grpc.ssl_channel_credentials(self.roots, *(pair or (None, None)))
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options=options) as channel:
            answer = await channel.unary_unary(METHOD, None, None)(content, metadata=metadata, timeout=10)
        return read_response(answer)

    async def refused(
        self, content: bytes, *metadata: tuple[str, str], pair: tuple[bytes, bytes] | None = None
    ) -> tuple[str, str]:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self.ask(content, *metadata, pair=pair)
        return error.value.code().name, error.value.details() or ""

    def count(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"citadel_server_{name}")


@contextlib.asynccontextmanager
async def served(folder: Path, *clusters: Cluster) -> AsyncIterator[Served]:
    clock = SystemClock()
    authority = Latest(an_authority(clock.now()))
    issuer = Issuer(authority, Profile(), clock)
    registry, tokens = CollectorRegistry(), JoinTokens(folder / "tokens")
    service = CertificateService(
        issuer=issuer,
        tokens=tokens,
        clusters=lambda: clusters,
        counters=Counters(registry, authority),
        clock=clock,
    )
    credentials = server_credentials(issuer, ["localhost"])
    port = TokenPort(service)
    number = await port.start("127.0.0.1:0", Latest(credentials))
    mutual = grpc.aio.server()
    mutual.add_generic_rpc_handlers((service.methods(),))
    mutual_number = mutual.add_secure_port(
        "127.0.0.1:0",
        grpc.ssl_server_credentials(
            [(credentials.key_pem, credentials.chain_pem)], credentials.roots_pem, require_client_auth=True
        ),
    )
    await mutual.start()
    try:
        yield Served(issuer=issuer, tokens=tokens, registry=registry, port=number, mutual_port=mutual_number)
    finally:
        await port.stop()
        await mutual.stop(None)


def a_cluster(judge: AnApiServer | None = None) -> Cluster:
    return Cluster(name="main", judge=judge or AnApiServer())


def asking(csr: bytes | None = None, seconds: int = 0) -> bytes:
    request = x509.load_der_x509_csr(csr or a_csr())
    return CertificateRequest(csr=_pem(request), validity_seconds=seconds).serialized()


def _pem(request: x509.CertificateSigningRequest) -> str:
    return request.public_bytes(Encoding.PEM).decode()


def bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


def leaf(chain: Sequence[str]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(chain[0].encode())


def uri(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def test_the_messages_are_numbered_as_istio_numbers_them() -> None:
    """By hand, from security/v1alpha1/ca.proto: 1 csr, 3 validity_duration, 4 metadata; 1 cert_chain."""
    request = CertificateRequest(csr="C", validity_seconds=300)
    metadata = struct_pb2.Struct()
    metadata["CertSigner"] = "other"
    inner = metadata.SerializeToString()

    assert request.serialized() == b"\x0a\x01C\x18\xac\x02"
    parsed = CertificateRequest.parse(request.serialized() + bytes([0x22, len(inner)]) + inner)
    assert parsed == CertificateRequest(csr="C", validity_seconds=300, metadata=frozenset({"CertSigner"}))
    assert response(["a", "bc"]) == b"\x0a\x01a\x0a\x02bc"


async def test_the_chain_comes_leaf_first_and_the_roots_last(tmp_path: Path) -> None:
    async with served(tmp_path, a_cluster()) as ca:
        chain = await ca.ask(asking(), bearer(a_token()))

        intermediate, root = ca.issuer.authority.certificates
        assert chain[1:] == tuple(minting.pem(one).decode() for one in (intermediate, root))
        leaf(chain).verify_directly_issued_by(intermediate)
        assert uri(leaf(chain)) == ["spiffe://cluster.local/ns/shop/sa/orders"]
        assert ca.count("success_cert_issuance_count") == 1


async def test_a_request_may_ask_for_a_shorter_life(tmp_path: Path) -> None:
    async with served(tmp_path, a_cluster()) as ca:
        short = leaf(await ca.ask(asking(seconds=3600), bearer(a_token())))

        left = short.not_valid_after_utc - SystemClock().now()
        assert timedelta(minutes=55) < left <= timedelta(hours=1)


async def test_a_certificate_is_renewed_by_itself_where_the_port_takes_one(tmp_path: Path) -> None:
    """As on 15012. A token beside it changes nothing."""
    async with served(tmp_path, a_cluster()) as ca:
        key = a_key()
        chain = ca.issuer.issue(a_request(key), a_caller())

        renewed = await ca.ask(asking(), bearer(a_token()), pair=(minting.key_pem(key), chain.pem))

        assert uri(leaf(renewed)) == ["spiffe://cluster.local/ns/bookinfo/sa/reviews"]


async def test_a_join_token_is_good_once_here_as_well(tmp_path: Path) -> None:
    async with served(tmp_path) as ca:
        token = ca.tokens.create(a_caller(), timedelta(hours=1), root_hash="0" * 64, now=SystemClock().now())

        first = await ca.ask(asking(), bearer(token))
        code, text = await ca.refused(asking(), bearer(token))

        assert uri(leaf(first)) == ["spiffe://cluster.local/ns/bookinfo/sa/reviews"]
        assert code == "UNAUTHENTICATED"
        assert "was already used at" in text


@pytest.mark.parametrize(
    ("content", "metadata", "code", "text"),
    [
        (asking(), (), "UNAUTHENTICATED", "no token was sent\nsend it as authorization: Bearer TOKEN"),
        (
            asking(),
            (("authorization", "Basic eDp5"),),
            "UNAUTHENTICATED",
            "no token was sent\nsend it as authorization: Bearer TOKEN",
        ),
        (
            asking(),
            (bearer("mw1.0123456789abcdef.x.y.z"),),
            "UNAUTHENTICATED",
            "join token is not one of this mesh\nask the operator for one: meshwright ca token",
        ),
        (
            b"\xff\xff\xff",
            (bearer(a_token()),),
            "INVALID_ARGUMENT",
            "not an IstioCertificateRequest\nspeak Istio's security/v1alpha1/ca.proto",
        ),
        (
            asking(seconds=-1),
            (bearer(a_token()),),
            "INVALID_ARGUMENT",
            "a validity of -1 seconds cannot be had\nask for hours or days",
        ),
        (
            asking(seconds=2**62),
            (bearer(a_token()),),
            "INVALID_ARGUMENT",
            f"a validity of {2**62} seconds cannot be had\nask for hours or days",
        ),
        (
            asking(seconds=91 * 24 * 3600),
            (bearer(a_token()),),
            "PERMISSION_DENIED",
            "lifetime 2184h is longer than 24h\nask for less: a Pod renews with its token",
        ),
    ],
)
async def test_who_is_refused_is_told_why(
    tmp_path: Path, content: bytes, metadata: tuple[tuple[str, str], ...], code: str, text: str
) -> None:
    async with served(tmp_path, a_cluster()) as ca:
        assert await ca.refused(content, *metadata) == (code, text)
        assert ca.count("success_cert_issuance_count") == 0


@pytest.mark.parametrize("name", ["ImpersonatedIdentity", "CertSigner"])
async def test_nobody_asks_for_another_or_by_another(tmp_path: Path, name: str) -> None:
    metadata = struct_pb2.Struct()
    metadata[name] = "spiffe://cluster.local/ns/istio-system/sa/meshwright"
    inner = metadata.SerializeToString()
    async with served(tmp_path, a_cluster()) as ca:
        asked = asking() + bytes([0x22, len(inner)]) + inner

        assert await ca.refused(asked, bearer(a_token())) == (
            "PERMISSION_DENIED",
            f"the request's metadata {name!r} is not carried out\nask for the caller itself",
        )


async def test_who_keeps_failing_has_to_wait(tmp_path: Path) -> None:
    async with served(tmp_path, a_cluster()) as ca:
        for number in range(FAILURES_PER_ADDRESS_MAX):
            await ca.refused(asking(), bearer(f"nonsense {number}"))
        code, text = await ca.refused(asking(), bearer("mw1.0123456789abcdef.x.y.z"))

        assert code == "RESOURCE_EXHAUSTED"
        assert text.startswith("60 failed attempts from ipv4:127.0.0.1 within 60 s")
        assert ca.count("authentication_failure_count") == FAILURES_PER_ADDRESS_MAX


async def test_a_broken_workload_does_not_lock_out_its_neighbours(tmp_path: Path) -> None:
    """All Pods of a cluster may come from one address."""
    broken = a_token(sub="system:serviceaccount:shop:broken", aud="something else")
    async with served(tmp_path, a_cluster()) as ca:
        for _ in range(FAILURES_MAX):
            await ca.refused(asking(), bearer(broken))

        code, text = await ca.refused(asking(), bearer(broken))
        assert code == "RESOURCE_EXHAUSTED"
        assert text.startswith("10 failed attempts from ipv4:127.0.0.1 with token ")
        assert await ca.ask(asking(), bearer(a_token(sub="system:serviceaccount:shop:orders")))


async def test_a_cluster_that_is_away_is_not_told_of_outside(tmp_path: Path) -> None:
    away = AnApiServer(answer=Unavailable("https://10.0.0.1:6443 does not answer"))
    async with served(tmp_path, a_cluster(away)) as ca:
        assert await ca.refused(asking(), bearer(a_token())) == (
            "UNAVAILABLE",
            "the control plane cannot issue certificates now\ntry again; its log says why",
        )
        assert ca.count("authentication_failure_count") == 0


async def test_what_is_too_long_is_not_read(tmp_path: Path) -> None:
    async with served(tmp_path, a_cluster()) as ca:
        code, _ = await ca.refused(b"\x0a" + b"x" * 100_000, bearer(a_token()))

        assert code == "RESOURCE_EXHAUSTED"


async def silent(channel: grpc.aio.Channel) -> str:
    """A call that is begun and says nothing; the code by which it ends."""

    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    try:
        await channel.stream_unary(METHOD, None, None)(nothing(), timeout=30)
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"
    return "OK"


async def test_calls_that_say_nothing_do_not_close_the_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seventy of them, by one who has no token."""
    monkeypatch.setattr("ca.istio.REQUEST_SECONDS", 0.2)
    async with served(tmp_path, a_cluster()) as ca, ca.channel() as channel:
        calls = [asyncio.ensure_future(silent(channel)) for _ in range(70)]
        chain = await ca.ask(asking(), bearer(a_token()))
        ended = await asyncio.gather(*calls)

        assert uri(leaf(chain)) == ["spiffe://cluster.local/ns/shop/sa/orders"]
        assert "INVALID_ARGUMENT: no request came within 0.2 s\nsend one IstioCertificateRequest" in ended
        assert "OK" not in ended


async def test_one_address_does_not_have_all_places(tmp_path: Path) -> None:
    """Each connection has a few calls at a time, and an address has some connections' worth of them."""
    async with served(tmp_path, a_cluster()) as ca, contextlib.AsyncExitStack() as doors:
        channels = [await doors.enter_async_context(ca.channel()) for _ in range(CALLS_PER_ADDRESS_MAX // 8)]
        calls = [asyncio.ensure_future(silent(one)) for one in channels for _ in range(8)]
        async with asyncio.timeout(REQUEST_SECONDS):
            while ca.count("csr_count") != CALLS_PER_ADDRESS_MAX:
                await SystemClock().sleep(timedelta(milliseconds=10))
        refusal = await ca.refused(asking(), bearer(a_token()))
        for call in calls:
            call.cancel()

        assert refusal == ("RESOURCE_EXHAUSTED", "32 calls from ipv4:127.0.0.1 are under way\ntry again")


@dataclass(slots=True)
class SeesThrough(AnApiServer):
    """Takes the one token that is real."""

    real: str = field(default_factory=a_token)

    async def review(self, token: str, audience: str) -> APod:
        self.shown.append(token)
        if token != self.real:
            raise Refused("the ServiceAccount token is refused: the cluster does not accept it")
        return APod()


async def test_forged_tokens_do_not_lock_out_the_account_that_they_name(tmp_path: Path) -> None:
    """From the same address, as where a cluster is behind one."""
    judge = SeesThrough()
    async with served(tmp_path, a_cluster(judge)) as ca:
        for number in range(2 * FAILURES_MAX):
            code, _ = await ca.refused(asking(), bearer(a_token(jti=number)))
            assert code == "UNAUTHENTICATED"

        assert await ca.ask(asking(), bearer(judge.real))


async def test_forged_accounts_do_not_buy_more_reviews(tmp_path: Path) -> None:
    """Three hundred tokens, each of another account."""
    judge = SeesThrough()
    tokens = [a_token(sub=f"system:serviceaccount:shop:a{number}") for number in range(300)]
    async with served(tmp_path, a_cluster(judge)) as ca, ca.channel() as channel:
        create = channel.unary_unary(METHOD, None, None)
        asked = (create(asking(), metadata=(bearer(token),), timeout=20) for token in tokens)
        ended = await asyncio.gather(*asked, return_exceptions=True)

        assert all(isinstance(one, grpc.aio.AioRpcError) for one in ended)
        assert len(judge.shown) < FAILURES_PER_ADDRESS_MAX + CALLS_PER_ADDRESS_MAX


@pytest.mark.parametrize("claim", ["sub", "iss"])
async def test_half_a_character_in_a_token_does_not_leave_the_caller_without_an_answer(
    tmp_path: Path, claim: str
) -> None:
    async with served(tmp_path, a_cluster()) as ca:
        code, _ = await ca.refused(asking(), bearer(a_token(**{claim: "system:serviceaccount:shop:\ud800"})))

        assert code == "UNAUTHENTICATED"


async def test_a_certificate_does_not_outlive_its_pod_by_renewing_itself(tmp_path: Path) -> None:
    """Whether the Pod is still there, its cluster knows and its certificate does not."""
    judge = AnApiServer()
    async with served(tmp_path, a_cluster(judge)) as ca:
        key = a_key()
        chain = await ca.ask(asking(a_csr(key)), bearer(a_token()))
        judge.answer = Refused("the ServiceAccount token is refused: the Pod is gone")
        pair = minting.key_pem(key), "".join(chain[:-1]).encode()

        assert await ca.refused(asking(), pair=pair) == (
            "PERMISSION_DENIED",
            (
                "the certificate of Pod 'orders-1' does not renew itself\n"
                "ask with the Pod's ServiceAccount token, as meshwright enrol does"
            ),
        )


async def test_a_token_of_an_hour_does_not_buy_months(tmp_path: Path) -> None:
    async with served(tmp_path, a_cluster()) as ca:
        assert await ca.refused(asking(seconds=89 * 24 * 3600), bearer(a_token())) == (
            "PERMISSION_DENIED",
            "lifetime 2136h is longer than 24h\nask for less: a Pod renews with its token",
        )
        assert await ca.ask(asking(seconds=24 * 3600), bearer(a_token()))
