from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.memberships import a_part, a_resource
from xds import envoy
from xds.resources import (
    NOTHING,
    InconsistentError,
    Part,
    Resource,
    check_consistent,
    field,
    varint,
    version_of,
)

CONTENTS = st.dictionaries(st.sampled_from("abcde"), st.sampled_from(["v1", "v2", "v3"]))


def test_a_resource_is_an_any_of_its_message() -> None:
    cluster = envoy.message("envoy.config.cluster.v3.Cluster")(name="reviews")
    resource = Resource.of("reviews", cluster)

    assert resource.type_url == envoy.CLUSTER
    assert resource.message == cluster
    assert resource.version == version_of(resource.body)
    assert len(resource.version) == 16


def test_equal_bytes_are_equal_versions_and_other_bytes_are_not() -> None:
    one, same, other = (a_resource(envoy.CLUSTER, "a", content) for content in ("v1", "v1", "v2"))

    assert one.version == same.version != other.version


@given(st.integers(0, 2**40))
def test_numbers_are_written_as_protobuf_reads_them(number: int) -> None:
    read, shift = 0, 0
    for byte in (written := varint(number)):
        read |= (byte & 0x7F) << shift
        shift += 7

    assert read == number
    assert [byte >> 7 for byte in written] == [1] * (len(written) - 1) + [0]


def test_a_field_says_its_number_and_length() -> None:
    assert field(2, b"abc") == b"\x12\x03abc"


@given(before=CONTENTS, after=CONTENTS)
def test_what_a_part_says_to_the_one_before_it_leads_from_there_to_here(
    before: dict[str, str], after: dict[str, str]
) -> None:
    old, new = a_part(envoy.CLUSTER, **before), a_part(envoy.CLUSTER, **after)
    change = new.since(old)

    told = {name: resource.version for name, resource in old.resources.items()}
    told.update({resource.name: resource.version for resource in change.changed})
    for name in change.removed:
        del told[name]
    assert told == {name: resource.version for name, resource in new.resources.items()}
    assert bool(change) == (before != after)
    assert all(before.get(resource.name) != after[resource.name] for resource in change.changed)


@given(before=CONTENTS, after=CONTENTS)
def test_a_part_is_succeeded_by_itself_where_no_version_changed(
    before: dict[str, str], after: dict[str, str]
) -> None:
    part = a_part(envoy.CLUSTER, **before)
    successor = part.succeeded_by(a_part(envoy.CLUSTER, **after).resources)

    assert (successor is part) == (before == after)
    assert (successor.serial > part.serial) == (before != after)


def test_the_same_step_is_compared_once_for_all_streams() -> None:
    old, new = a_part(envoy.CLUSTER, a="v1"), a_part(envoy.CLUSTER, a="v2")

    assert new.since(old) is new.since(old)


def test_from_nothing_everything_is_new() -> None:
    part = a_part(envoy.CLUSTER, a="v1", b="v1")

    assert [resource.name for resource in part.since(NOTHING[envoy.CLUSTER]).changed] == ["a", "b"]


def test_two_resources_of_one_name_are_a_bug_of_translation() -> None:
    with pytest.raises(ValueError) as error:
        Part.of(envoy.CLUSTER, [a_resource(envoy.CLUSTER, "a"), a_resource(envoy.CLUSTER, "a", "v2")])

    assert str(error.value) == "two resources of one name: 'a'"


@pytest.mark.parametrize(
    ("pointing", "pointed"), [(envoy.CLUSTER, envoy.ENDPOINTS), (envoy.LISTENER, envoy.ROUTES)]
)
def test_what_we_point_at_must_be_there(pointing: str, pointed: str) -> None:
    pointer = Part.of(pointing, [Resource.of_bytes("a", pointing, b"", needs=("x",))])
    there, elsewhere = a_part(pointed, x="v1"), a_part(pointed, y="v1")

    check_consistent({pointing: (pointer,), pointed: (elsewhere, there)})
    with pytest.raises(InconsistentError) as error:
        check_consistent({pointing: (pointer,), pointed: (elsewhere,)})
    assert str(error.value) == "'a' points at 'x', which does not exist"
