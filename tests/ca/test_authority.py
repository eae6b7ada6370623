"""Roots and intermediates: made, found again, renewed, plugged in."""

from __future__ import annotations

import errno
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import minting, store
from ca.authority import Authority, open_authority
from ca.minting import new_intermediate, new_root
from mesh.errors import Misconfigured
from tests.support.certificates import NOW, a_key, write_plugged_in

DAY = timedelta(days=1)


def opened(state: Path, now: datetime = NOW, trust_domain: str = "cluster.local") -> Authority:
    return open_authority(state, now, trust_domain=trust_domain)


def plugged(directory: Path, now: datetime = NOW, trust_domain: str = "cluster.local") -> Authority:
    return open_authority(Path("/nowhere"), now, trust_domain=trust_domain, plugged_in=directory)


def a_plugged_in(folder: Path) -> Path:
    root = new_root("cluster.local", NOW)
    return write_plugged_in(folder / "ca", new_intermediate(root, "cluster.local", NOW), root.certificate)


def refusal_of(directory: Path, now: datetime = NOW) -> str:
    with pytest.raises(Misconfigured) as refusal:
        plugged(directory, now)
    assert refusal.value.hint
    return str(refusal.value).replace(str(directory), "<ca>")


def named(certificate: x509.Certificate) -> str:
    return repr(certificate.subject.rfc4514_string())


def test_the_first_start_makes_a_root_of_ten_years_and_an_intermediate_of_one(tmp_path: Path) -> None:
    authority = opened(tmp_path)

    [root] = authority.roots
    assert root.not_valid_after_utc == NOW + 3650 * DAY
    assert authority.not_after == authority.certificate.not_valid_after_utc == NOW + 365 * DAY
    authority.certificate.verify_directly_issued_by(root)


def test_the_next_start_finds_them(tmp_path: Path) -> None:
    first = opened(tmp_path)

    assert opened(tmp_path, NOW + DAY) == first


def test_the_roots_key_lies_apart_from_the_signing_key(tmp_path: Path) -> None:
    opened(tmp_path)

    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == [
        f"{directory}/{name}"
        for directory in ("intermediate", "root")
        for name in ("ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem")
    ]
    keys = [(tmp_path / directory / store.KEY).read_bytes() for directory in ("intermediate", "root")]
    assert keys[0] != keys[1]


def test_an_intermediate_past_half_of_its_life_is_replaced_below_the_same_root(tmp_path: Path) -> None:
    first = opened(tmp_path)
    second = opened(tmp_path, NOW + 184 * DAY)

    assert second.certificate != first.certificate
    assert second.roots == first.roots
    assert second.not_after == NOW + (184 + 365) * DAY


def test_without_the_roots_key_an_intermediate_serves_to_its_end(tmp_path: Path) -> None:
    """An operator may keep the root's key elsewhere."""
    first = opened(tmp_path)
    shutil.rmtree(tmp_path / "root")

    assert opened(tmp_path, NOW + 364 * DAY) == first
    with pytest.raises(Misconfigured, match="expired at 2027-01-01 00:00 UTC"):
        opened(tmp_path, NOW + 365 * DAY)


def test_a_disk_that_is_full_when_an_intermediate_is_due_leaves_the_old_one_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has half of its life left; a control plane that cannot start has none."""
    first = opened(tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)

    assert opened(tmp_path, NOW + 184 * DAY) == first


def test_an_intermediate_lost_between_two_renames_is_made_again(tmp_path: Path) -> None:
    first = opened(tmp_path)
    shutil.rmtree(tmp_path / "intermediate")

    assert opened(tmp_path).roots == first.roots


def test_an_intermediate_never_outlives_the_root(tmp_path: Path) -> None:
    first = opened(tmp_path)
    late = opened(tmp_path, NOW + 3600 * DAY)

    assert late.not_after == first.roots[0].not_valid_after_utc


def test_another_trust_domain_gets_another_intermediate(tmp_path: Path) -> None:
    """The name constraints of the old one would make every new certificate worthless."""
    first, second = opened(tmp_path), opened(tmp_path, trust_domain="example.org")

    assert second.roots == first.roots
    constraints = second.certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert constraints.value.permitted_subtrees == [x509.UniformResourceIdentifier("example.org")]


def test_an_authority_does_not_show_its_key(tmp_path: Path) -> None:
    assert "key" not in repr(opened(tmp_path))


def test_istios_plug_in_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    directory = a_plugged_in(tmp_path)
    authority = plugged(directory)

    assert minting.pem(authority.certificate) == (directory / store.CERTIFICATE).read_bytes()
    assert minting.pem(*authority.roots) == (directory / store.ROOTS).read_bytes()


def test_a_root_may_sign_by_itself(tmp_path: Path) -> None:
    root = new_root("cluster.local", NOW)
    authority = plugged(write_plugged_in(tmp_path / "ca", root, root.certificate))

    assert authority.certificates == authority.roots == (root.certificate,)


def test_several_roots_may_be_trusted_at_once(tmp_path: Path) -> None:
    directory, other = a_plugged_in(tmp_path), new_root("cluster.local", NOW)
    alone = plugged(directory)
    both = minting.pem(other.certificate) + (directory / store.ROOTS).read_bytes()
    (directory / store.ROOTS).write_bytes(both)

    authority = plugged(directory)
    assert authority.roots == (*alone.roots, other.certificate)
    assert authority.root_hash == alone.root_hash


@pytest.mark.parametrize("name", [store.CERTIFICATE, store.KEY, store.ROOTS])
def test_each_missing_file_is_named(tmp_path: Path, name: str) -> None:
    directory = a_plugged_in(tmp_path)
    (directory / name).unlink()

    assert refusal_of(directory) == f"no {name} in <ca>"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (store.CERTIFICATE, "<ca>/ca-cert.pem holds no readable PEM certificates"),
        (store.CHAIN, "<ca>/cert-chain.pem holds no readable PEM certificates"),
        (store.KEY, "<ca>/ca-key.pem holds no readable private key"),
    ],
)
def test_each_unreadable_file_is_named(tmp_path: Path, name: str, message: str) -> None:
    directory = a_plugged_in(tmp_path)
    (directory / name).write_bytes(b"-----BEGIN SOMETHING-----\n")

    assert refusal_of(directory) == message


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    directory = a_plugged_in(tmp_path)
    (directory / store.KEY).write_bytes(minting.key_pem(a_key()))

    assert refusal_of(directory) == "ca-key.pem does not fit ca-cert.pem in <ca>"


def test_a_chain_that_leads_to_no_root_says_who_is_missing(tmp_path: Path) -> None:
    directory, other = a_plugged_in(tmp_path), new_root("cluster.local", NOW)
    signing, root = x509.load_pem_x509_certificates((directory / store.CHAIN).read_bytes())
    (directory / store.ROOTS).write_bytes(minting.pem(other.certificate))
    (directory / store.CHAIN).unlink()

    assert refusal_of(directory) == (
        f"ca-cert.pem in <ca> leads to no root: {named(signing)} was issued by {named(root)}"
    )


def test_an_expired_authority_says_both_times(tmp_path: Path) -> None:
    directory = a_plugged_in(tmp_path)
    signing = x509.load_pem_x509_certificate((directory / store.CERTIFICATE).read_bytes())

    assert refusal_of(directory, NOW + 400 * DAY) == (
        f"CA certificate {named(signing)} in <ca> expired at 2027-01-01 00:00 UTC"
    )
    assert refusal_of(directory, NOW - DAY) == (
        f"CA certificate {named(signing)} in <ca> is not valid before 2025-12-31 23:00 UTC"
    )


def test_a_certificate_that_may_not_sign_is_refused(tmp_path: Path) -> None:
    root, key = new_root("cluster.local", NOW), a_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "leaf")])
    leaf = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(root.certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + DAY)
    )
    no_ca = leaf.sign(root.key, minting.hashes.SHA256())
    directory = write_plugged_in(tmp_path / "a", minting.Minted(no_ca, key), root.certificate)
    assert refusal_of(directory) == (
        "certificate 'CN=leaf' in <ca> may not sign others: it does not say CA:TRUE"
    )

    usage = x509.KeyUsage(
        **{
            name: name == "digital_signature"
            for name in (
                *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
                *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
            )
        }
    )
    no_usage = (
        leaf.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(root.key, minting.hashes.SHA256())
    )
    directory = write_plugged_in(tmp_path / "b", minting.Minted(no_usage, key), root.certificate)
    assert refusal_of(directory) == (
        "certificate 'CN=leaf' in <ca> may not sign others: its key usage lacks keyCertSign"
    )


def test_a_chain_longer_than_a_root_allows_is_refused(tmp_path: Path) -> None:
    root = new_root("cluster.local", NOW)
    between = new_intermediate(root, "cluster.local", NOW)
    below = new_intermediate(between, "cluster.local", NOW)
    directory = write_plugged_in(tmp_path / "ca", below, root.certificate)
    (directory / store.CHAIN).write_bytes(between.certificate.public_bytes(Encoding.PEM))

    assert refusal_of(directory) == (
        f"CA certificate {named(between.certificate)} in <ca> allows 0 authorities below it, but there are 1"
    )


def test_an_authority_of_another_trust_domain_is_refused(tmp_path: Path) -> None:
    directory = a_plugged_in(tmp_path)

    with pytest.raises(Misconfigured) as refusal:
        plugged(directory, trust_domain="example.org")

    assert str(refusal.value) == (
        f"the CA in {directory} may not sign for trust domain 'example.org': its name constraints permit "
        "others only"
    )


def test_a_plugged_in_directory_is_never_written(tmp_path: Path) -> None:
    directory = a_plugged_in(tmp_path)
    before = {path: path.read_bytes() for path in directory.iterdir()}
    plugged(directory, NOW + 300 * DAY)

    assert {path: path.read_bytes() for path in directory.iterdir()} == before
