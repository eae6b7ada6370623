from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.names import (
    ObjectKey,
    host_covers,
    host_matches,
    is_wildcard,
    resolve,
    short_forms,
    specificity,
)

LABELS = st.sampled_from(["a", "b", "ab"])
EXACT = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
HOSTS = st.one_of(EXACT, EXACT.map("*.{}".format), st.just("*"))

# Every name that the alphabet above can mean: the model that patterns are judged by.
WORLD = [
    f"{first}{second}"
    for first in ("a", "b", "ab", "b.a", "a.b.ab")
    for second in ("", ".a", ".b", ".ab", ".a.b", ".ab.a", ".a.b.ab", ".b.a.ab.a")
]


def meant_by(pattern: str) -> set[str]:
    """The names of the world that a pattern means, told by labels from the right."""
    if not is_wildcard(pattern):
        return {name for name in WORLD if name == pattern}
    wanted = pattern.split(".")[1:]
    have = ((name, name.split(".")) for name in WORLD)
    return {name for name, parts in have if len(parts) > len(wanted) and parts[-len(wanted) :] == wanted} | (
        set(WORLD) if pattern == "*" else set()
    )


@given(pattern=HOSTS, name=st.sampled_from(WORLD))
def test_a_pattern_matches_the_names_it_means(pattern: str, name: str) -> None:
    assert host_matches(pattern, name) == (name in meant_by(pattern))


@given(one=HOSTS, other=HOSTS)
def test_matching_does_not_care_who_is_asked(one: str, other: str) -> None:
    assert host_matches(one, other) == host_matches(other, one)


@given(one=HOSTS, other=HOSTS)
def test_what_covers_a_host_means_all_that_the_host_means(one: str, other: str) -> None:
    if host_covers(one, other):
        assert meant_by(other) <= meant_by(one)
        assert host_matches(one, other)


@given(one=HOSTS, other=HOSTS)
def test_two_that_cover_each_other_are_one(one: str, other: str) -> None:
    assert (host_covers(one, other) and host_covers(other, one)) == (one == other)


@given(st.lists(HOSTS, unique=True))
def test_what_is_covered_comes_before_what_covers_it(hosts: list[str]) -> None:
    in_order = sorted(hosts, key=specificity)

    for at, first in enumerate(in_order):
        assert not any(host_covers(first, later) for later in in_order[at + 1 :])


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("*.foo.com", "foo.com", False),
        ("*.foo.com", "bar.foo.com", True),
        ("bar.foo.com", "*.foo.com", True),
        ("*.com", "*.foo.com", True),
        ("*", "foo.com", True),
        ("foo.com", "bar.com", False),
    ],
)
def test_hosts_match_as_istio_documents_it(pattern: str, host: str, expected: bool) -> None:
    assert host_matches(pattern, host) is expected


@pytest.mark.parametrize("host", ["reviews.bookinfo", "*", "10.0.0.1", "2001:db8::1", "", "*.example.com"])
def test_names_that_are_no_short_names_stay(host: str) -> None:
    assert resolve(host, "bookinfo") == host


def test_a_short_name_belongs_to_the_namespace_of_the_object_that_wrote_it() -> None:
    assert resolve("reviews", "bookinfo") == "reviews.bookinfo.svc.cluster.local"


def test_a_client_of_the_same_namespace_may_use_the_bare_name() -> None:
    host = "reviews.bookinfo.svc.cluster.local"

    assert short_forms(host, "bookinfo") == ("reviews", "reviews.bookinfo", "reviews.bookinfo.svc")
    assert short_forms(host, "web") == ("reviews.bookinfo", "reviews.bookinfo.svc")


@pytest.mark.parametrize(
    "host",
    ["api.example.com", "*.bookinfo.svc.cluster.local", "svc.cluster.local", "a.b.c.svc.cluster.local"],
)
def test_only_services_of_the_cluster_have_short_forms(host: str) -> None:
    assert short_forms(host, "bookinfo") == ()


@given(name=LABELS, namespace=LABELS)
def test_short_forms_lead_back_to_the_host(name: str, namespace: str) -> None:
    host = resolve(name, namespace)

    assert resolve(short_forms(host, namespace)[0], namespace) == host


def test_an_object_key_is_read_as_it_is_written() -> None:
    key = ObjectKey("VirtualService", "bookinfo", "a/b")

    assert ObjectKey.parse(str(key)) == key
