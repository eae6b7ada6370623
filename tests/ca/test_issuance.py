"""Decide, sign, verify."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from ca import issuance, minting
from ca.authority import Authority
from ca.callers import Caller
from ca.issuance import Chain, Vetted, sign, vet, vet_control_plane
from ca.profile import Profile, control_plane, machine_name
from ca.requests import Request
from ca.rotation import half_life
from mesh.errors import Misconfigured, Refused, Unavailable
from tests.support.certificates import NOW, a_caller, a_key, a_request, an_authority

AUTHORITY = an_authority()
HOURS = timedelta(hours=1)


def issued(
    request: Request | None = None,
    caller: Caller | None = None,
    profile: Profile | None = None,
    authority: Authority = AUTHORITY,
) -> Chain:
    return sign(
        vet(request or a_request(), caller or a_caller(), profile or Profile(), authority, NOW), authority
    )


def refusal_of(request: Request | None = None, caller: Caller | None = None) -> Refused:
    with pytest.raises(Refused) as refusal:
        issued(request, caller)
    return refusal.value


def test_a_leaf_says_who_and_nothing_else() -> None:
    """One URI, no DNS name; the machine in the subject; client and server."""
    leaf = issued().leaf
    found = {type(extension.value): extension for extension in leaf.extensions}

    assert leaf.subject.rfc4514_string() == "CN=db-1"
    assert list(found[x509.SubjectAlternativeName].value) == [
        x509.UniformResourceIdentifier("spiffe://cluster.local/ns/bookinfo/sa/reviews")
    ]
    assert set(found[x509.ExtendedKeyUsage].value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    assert found[x509.BasicConstraints].value == x509.BasicConstraints(ca=False, path_length=None)
    assert found[x509.KeyUsage].critical
    assert found[x509.KeyUsage].value.digital_signature
    assert not found[x509.KeyUsage].value.key_encipherment


def test_a_leaf_lives_a_day_and_began_ten_minutes_ago() -> None:
    leaf = issued().leaf

    assert leaf.not_valid_before_utc == NOW - timedelta(minutes=10)
    assert leaf.not_valid_after_utc == NOW + 24 * HOURS


def test_a_short_life_is_not_backdated_past_its_own_half() -> None:
    """Else a certificate of a minute would be due for renewal when it is issued."""
    leaf = issued(profile=Profile(lifetime=timedelta(minutes=1))).leaf

    assert leaf.not_valid_before_utc == NOW - timedelta(seconds=6)
    assert leaf.not_valid_after_utc == NOW + timedelta(minutes=1)


def test_a_leaf_of_an_authority_that_is_about_to_end_is_not_past_its_own_half() -> None:
    """Half-life in the past would have every machine renew again and again."""
    authority = an_authority(NOW)
    now = authority.not_after - timedelta(minutes=5)
    vetted = vet(a_request(), a_caller(), Profile(), authority, now)

    assert half_life(vetted.not_before, vetted.not_after) > now


def test_serial_numbers_are_positive_and_fit_twenty_bytes() -> None:
    serials = {minting.serial_number() for _ in range(1000)}

    assert len(serials) == 1000
    assert all(0 < serial < 1 << 152 for serial in serials)


def test_an_rsa_key_may_encipher() -> None:
    key = rsa.generate_private_key(65537, 2048)
    usage = issued(Request(key.public_key())).leaf.extensions.get_extension_for_class(x509.KeyUsage)

    assert usage.value.key_encipherment


@given(st.integers(min_value=1, max_value=90 * 24 * 3600), st.integers(min_value=0, max_value=364 * 24))
def test_no_leaf_outlives_its_issuer(seconds: int, later: int) -> None:
    """Whatever is asked for, and however old the intermediate is."""
    now = NOW + later * HOURS
    request = Request(KEY.public_key(), timedelta(seconds=seconds))
    vetted = vet(request, a_caller(), Profile(), AUTHORITY, now)

    assert vetted.not_after <= AUTHORITY.not_after
    assert AUTHORITY.certificate.not_valid_before_utc <= vetted.not_before <= now < vetted.not_after


KEY = a_key()


def test_a_lifetime_beyond_the_profile_is_refused() -> None:
    refusal = refusal_of(Request(KEY.public_key(), timedelta(days=91)))

    assert str(refusal) == "lifetime 2184h is longer than 2160h"
    assert refusal.hint == "ask for less, or raise ca.lifetimeMax"


def a_pod() -> Caller:
    return Caller(a_caller().identity, "orders-1", is_pod=True)


def test_a_pods_certificate_says_that_it_is_one_and_a_machines_does_not() -> None:
    """So that it cannot be renewed by itself when the Pod is gone."""
    subjects = [
        sign(vet(a_request(), caller, Profile(), AUTHORITY, NOW), AUTHORITY).leaf.subject
        for caller in (a_pod(), a_caller())
    ]

    assert [subject.rfc4514_string() for subject in subjects] == ["CN=orders-1,OU=pod", "CN=db-1"]


def test_a_pods_certificate_lives_no_longer_than_the_profile_gives_who_does_not_ask() -> None:
    refusal = refusal_of(Request(KEY.public_key(), timedelta(hours=25)), caller=a_pod())

    assert str(refusal) == "lifetime 25h is longer than 24h"
    assert refusal.hint == "ask for less: a Pod renews with its token"


def test_a_profile_that_exceeds_its_own_bound_is_the_operators_mistake() -> None:
    with pytest.raises(Misconfigured) as refusal:
        Profile(lifetime=timedelta(days=91))

    assert str(refusal.value) == "certificate lifetime 2184h is not between 0s and 2160h"


def test_an_authority_that_has_ended_signs_nothing() -> None:
    with pytest.raises(Unavailable) as failure:
        vet(a_request(), a_caller(), Profile(), AUTHORITY, NOW + timedelta(days=365))

    assert str(failure.value) == "the CA's own certificate expired at 2027-01-01 00:00 UTC"


def test_nobody_is_given_the_control_planes_identity() -> None:
    refusal = refusal_of(caller=Caller(control_plane("cluster.local"), "db-1"))

    assert str(refusal) == (
        "spiffe://cluster.local/ns/istio-system/sa/meshwright is the control plane's own identity and is "
        "given to nobody"
    )


def test_an_identity_of_another_trust_domain_is_refused() -> None:
    refusal = refusal_of(caller=a_caller(trust_domain="example.org"))

    assert str(refusal) == (
        "spiffe://example.org/ns/bookinfo/sa/reviews is not of trust domain 'cluster.local'"
    )


@pytest.mark.parametrize("name", ["", "-a", "a-", "a b", "DB", "a" * 65, "a\n", "a/../b", "db-1\u0000"])
def test_a_name_that_no_subject_can_hold_is_refused(name: str) -> None:
    refusal = refusal_of(caller=a_caller(name=name))

    assert str(refusal) == f"not a machine name: {name!r}"


@pytest.mark.parametrize("name", ["a", "db-1", "reviews-v1.bookinfo", "a" * 64])
def test_names_of_machines_are_taken_as_they_are(name: str) -> None:
    assert machine_name(name) == name


def test_the_control_planes_certificate_may_carry_names_and_addresses() -> None:
    hosts = ["mesh.example.org", ip_address("192.0.2.1"), ip_address("2001:db8::1")]
    vetted = vet_control_plane(a_request(), hosts, Profile(), AUTHORITY, NOW)
    leaf = sign(vetted, AUTHORITY).leaf

    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [
        x509.UniformResourceIdentifier("spiffe://cluster.local/ns/istio-system/sa/meshwright"),
        x509.DNSName("mesh.example.org"),
        x509.IPAddress(ip_address("192.0.2.1")),
        x509.IPAddress(ip_address("2001:db8::1")),
    ]


def test_a_host_name_that_is_none_is_the_operators_mistake() -> None:
    with pytest.raises(Misconfigured) as error:
        vet_control_plane(a_request(), ["höst"], Profile(), an_authority(NOW), NOW)

    assert str(error.value) == "not a host name: 'höst'"
    assert error.value.hint == "write an international name in its ASCII form: xn--…"


def test_only_vetting_makes_something_that_can_be_signed() -> None:
    with pytest.raises(TypeError, match=r"^Vetted comes out of vet\(\), nowhere else$"):
        Vetted(KEY.public_key(), a_caller().identity, "db-1", (NOW, NOW), proof=object())


def test_a_signer_that_signs_something_else_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was signed is compared with what was vetted before anyone sees it."""
    vetted = vet(a_request(), a_caller(), Profile(), AUTHORITY, NOW)
    other = vet(a_request(), a_caller("ratings"), Profile(), AUTHORITY, NOW)
    build = issuance._build
    monkeypatch.setattr(issuance, "_build", lambda _vetted, authority: build(other, authority))

    with pytest.raises(RuntimeError, match="signed something else than was vetted for spiffe://cluster"):
        sign(vetted, AUTHORITY)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_openssl_verifies_the_chain_strictly(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    chain = issued(Request(ec.generate_private_key(curve).public_key()))
    (tmp_path / "chain.pem").write_bytes(chain.pem)
    (tmp_path / "roots.pem").write_bytes(minting.pem(*AUTHORITY.roots))
    at = str(int((NOW + HOURS).timestamp()))

    for purpose in ("sslclient", "sslserver"):
        done = subprocess.run(
            [
                *("openssl", "verify", "-x509_strict", "-purpose", purpose, "-attime", at),
                *("-CAfile", "roots.pem", "-untrusted", "chain.pem", "chain.pem"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("chain.pem: OK\n", "")


def test_the_root_is_not_part_of_what_is_sent() -> None:
    chain = issued()

    assert chain.intermediates == (AUTHORITY.certificate,)
    assert chain.pem == minting.pem(chain.leaf, AUTHORITY.certificate)
