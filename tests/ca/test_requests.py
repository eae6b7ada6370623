"""What is read of a signing request, and what is refused."""

from __future__ import annotations

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from ca.requests import SIZE_MAX, Malformed, read_request
from tests.support.certificates import a_csr, a_key

ACCEPTED = "use ECDSA P-256 (or P-384, P-521), or RSA of 2048 to 4096 bits"


def signed(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, digest: hashes.HashAlgorithm) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, digest).public_bytes(Encoding.DER)


def test_pem_der_and_base64_are_the_same_request() -> None:
    """openssl writes PEM, RFC 7030 wants base64 (with line ends or without), curl sends what it is given."""
    key = a_key()
    der = a_csr(key)
    pem = x509.load_der_x509_csr(der).public_bytes(Encoding.PEM)

    for body in (der, pem, b"\n" + pem + b"\n", base64.b64encode(der), base64.encodebytes(der)):
        assert read_request(body).public_key == key.public_key()


def test_two_requests_for_one_key_have_one_hash() -> None:
    key = a_key()

    assert read_request(a_csr(key)).key_hash == read_request(a_csr(key, "other")).key_hash
    assert read_request(a_csr(key)).key_hash != read_request(a_csr()).key_hash


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_the_common_curves_are_accepted(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)

    assert read_request(signed(key, hashes.SHA256())).public_key == key.public_key()


def test_an_rsa_key_of_2048_bits_is_accepted() -> None:
    key = rsa.generate_private_key(65537, 2048)

    assert read_request(signed(key, hashes.SHA256())).public_key == key.public_key()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (ec.generate_private_key(ec.SECP256K1()), "curve secp256k1 is not accepted"),
        (ec.generate_private_key(ec.SECP224R1()), "curve secp224r1 is not accepted"),
        (rsa.generate_private_key(65537, 1024), "RSA key of 1024 bits is not accepted"),
    ],
)
def test_weak_and_odd_keys_are_refused(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, message: str
) -> None:
    with pytest.raises(Malformed) as refusal:
        read_request(signed(key, hashes.SHA256()))

    assert (str(refusal.value), refusal.value.hint) == (message, ACCEPTED)


def test_a_key_that_envoy_cannot_use_is_refused() -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    body = builder.sign(ed25519.Ed25519PrivateKey.generate(), None).public_bytes(Encoding.DER)

    with pytest.raises(Malformed) as refusal:
        read_request(body)

    assert str(refusal.value) == "signing request holds a key of an unknown kind"


def test_a_request_that_another_key_signed_is_refused() -> None:
    """Else one could have a certificate for somebody's public key."""
    body = bytearray(a_csr())
    body[-1] ^= 1

    with pytest.raises(Malformed) as refusal:
        read_request(bytes(body))

    assert str(refusal.value) == "signing request is not signed by its own key"
    assert refusal.value.hint == "make the request with the private key that belongs to it"


def test_a_weak_hash_is_refused() -> None:
    with pytest.raises(Malformed) as refusal:
        read_request(signed(a_key(), hashes.SHA224()))

    assert str(refusal.value) == "signing request is signed with a weak or unknown hash"


def test_an_oversize_request_is_not_parsed() -> None:
    with pytest.raises(Malformed) as refusal:
        read_request(b"0" * (SIZE_MAX + 1))

    assert str(refusal.value) == f"signing request of {SIZE_MAX + 1} bytes is longer than {SIZE_MAX}"


@given(st.binary(max_size=200))
def test_noise_is_malformed_and_nothing_else(body: bytes) -> None:
    with pytest.raises(Malformed):
        read_request(body)


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=255))
def test_a_damaged_request_is_malformed_or_still_the_same_key(at: int, value: int) -> None:
    """Whatever byte is changed: no other exception, and never another key."""
    body = bytearray(DAMAGED)
    body[at % len(body)] = value
    try:
        request = read_request(bytes(body))
    except Malformed:
        return
    assert request.public_key == DAMAGED_KEY.public_key()


DAMAGED_KEY = a_key()
DAMAGED = a_csr(DAMAGED_KEY)
