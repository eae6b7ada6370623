"""Trust bundles are sets with a generation."""

from __future__ import annotations

from cryptography import x509

from ca.minting import new_root, pem
from ca.trust import TrustBundle
from tests.support.certificates import NOW

ONE, TWO = (new_root("cluster.local", NOW).certificate for _ in range(2))


def test_order_and_repetition_of_roots_are_no_news() -> None:
    bundle = TrustBundle.of("cluster.local", [ONE, TWO], ["old.example", "older.example"])
    again = TrustBundle.of(
        "cluster.local", [TWO, ONE, TWO], ["older.example", "old.example", "cluster.local"]
    )

    assert again == bundle
    assert hash(again) == hash(bundle)


def test_a_new_root_an_alias_and_another_domain_are_news() -> None:
    bundles = [
        TrustBundle.of("cluster.local", [ONE]),
        TrustBundle.of("cluster.local", [ONE, TWO]),
        TrustBundle.of("cluster.local", [TWO]),
        TrustBundle.of("cluster.local", [ONE], ["old.example"]),
        TrustBundle.of("example.org", [ONE]),
    ]

    assert len({bundle.generation for bundle in bundles}) == len(set(bundles)) == 5


def test_line_ends_are_made_equal() -> None:
    """A bundle with odd line ends is refused by some TLS stacks as a whole."""
    odd = pem(ONE).replace(b"\n", b"\r\n") + b"\n\n"
    roots = x509.load_pem_x509_certificates(odd)

    assert TrustBundle.of("cluster.local", roots).pem == pem(ONE).decode()
