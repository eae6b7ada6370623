"""Who is asking, by its certificate."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from ca.callers import Unproven, from_certificate
from tests.support.certificates import NOW, a_caller, a_key, a_request, an_issuer
from tests.support.clock import FakeClock


def a_certificate(*names: str, subject: tuple[str, ...] = ("db-1",)) -> bytes:
    """Self-signed: TLS has already looked at the signature."""
    key = a_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text) for text in subject])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    if names:
        uris = [x509.UniformResourceIdentifier(text) for text in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(uris), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def refusal_of(der: bytes, after: timedelta = timedelta(hours=1)) -> Unproven:
    with pytest.raises(Unproven) as refusal:
        from_certificate(der, NOW + after)
    return refusal.value


REVIEWS = "spiffe://cluster.local/ns/bookinfo/sa/reviews"


def test_identity_and_machine_come_back_out_of_what_we_issued() -> None:
    leaf = an_issuer(FakeClock()).issue(a_request(), a_caller()).leaf

    assert from_certificate(leaf.public_bytes(Encoding.DER), NOW) == a_caller()


def test_an_expired_certificate_proves_nothing() -> None:
    refusal = refusal_of(a_certificate(REVIEWS), timedelta(days=1))

    assert str(refusal) == "client certificate expired at 2026-01-02 00:00:00 UTC"
    assert refusal.hint == "enrol again with a new join token"


def test_a_certificate_of_the_future_says_both_clocks() -> None:
    refusal = refusal_of(a_certificate(REVIEWS), -timedelta(hours=1))

    assert str(refusal) == "client certificate is not valid before 2026-01-01 00:00:00 UTC"
    assert refusal.hint == (
        "the control plane's clock says 2025-12-31 23:00:00 UTC; compare it with the machine's"
    )


@pytest.mark.parametrize(
    ("der", "message"),
    [
        (a_certificate(), "client certificate holds 0 identities, expected one"),
        (a_certificate(REVIEWS, REVIEWS + "2"), "client certificate holds 2 identities, expected one"),
        (a_certificate("https://example.org/"), "not a workload identity: 'https://example.org/'"),
        (
            a_certificate(REVIEWS, subject=()),
            "client certificate does not name its machine in the subject",
        ),
        (
            a_certificate(REVIEWS, subject=("a", "b")),
            "client certificate does not name its machine in the subject",
        ),
        (b"\x30\x00", "client certificate cannot be read"),
    ],
)
def test_a_certificate_that_is_not_of_this_ca_proves_nothing(der: bytes, message: str) -> None:
    assert str(refusal_of(der)) == message


ISSUED = an_issuer(FakeClock()).issue(a_request(), a_caller()).leaf.public_bytes(Encoding.DER)


@pytest.mark.filterwarnings("ignore")
@given(st.integers(min_value=0, max_value=len(ISSUED) - 1), st.integers(min_value=0, max_value=255))
def test_a_damaged_certificate_proves_nothing_or_what_is_written_in_it(at: int, value: int) -> None:
    """Whatever byte is changed, there is no other exception."""
    body = bytearray(ISSUED)
    body[at] = value
    with contextlib.suppress(Unproven):
        from_certificate(bytes(body), NOW)
