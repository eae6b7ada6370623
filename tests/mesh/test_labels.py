from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.labels import NO_LABELS, labels, project, selects

NAMES = st.sampled_from(["app", "version", "tier", "zone"])
MAPPINGS = st.dictionaries(NAMES, st.sampled_from(["a", "b"]))


@given(MAPPINGS, st.randoms())
def test_equal_labels_are_equal_in_whatever_order_they_were_written(mapping: dict[str, str], random) -> None:
    shuffled = list(mapping.items())
    random.shuffle(shuffled)

    assert labels(shuffled) == labels(mapping)
    assert dict(labels(mapping)) == mapping


@given(selector=MAPPINGS, subject=MAPPINGS)
def test_a_selector_picks_whoever_has_all_its_pairs(
    selector: dict[str, str], subject: dict[str, str]
) -> None:
    assert selects(labels(selector), labels(subject)) == (selector.items() <= subject.items())


@given(subject=MAPPINGS, keys=st.frozensets(NAMES))
def test_a_projection_keeps_what_is_asked_for_and_nothing_else(
    subject: dict[str, str], keys: frozenset[str]
) -> None:
    assert dict(project(labels(subject), keys)) == {key: subject[key] for key in subject.keys() & keys}


@given(selector=MAPPINGS, subject=MAPPINGS)
def test_a_selector_cannot_tell_a_subject_from_its_projection_on_the_selectors_keys(
    selector: dict[str, str], subject: dict[str, str]
) -> None:
    """This is why proxies that differ in other labels may share a facet."""
    seen = project(labels(subject), frozenset(selector))

    assert selects(labels(selector), seen) == selects(labels(selector), labels(subject))


def test_not_said_is_no_labels() -> None:
    assert labels(None) == NO_LABELS == ()
