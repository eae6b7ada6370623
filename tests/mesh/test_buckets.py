"""Buckets are dictionaries that share, and tell what changed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.buckets import Buckets

names = st.sampled_from([f"n{number}" for number in range(400)])
edits = st.dictionaries(names, st.none() | st.integers(1000, 1005), max_size=300)


@given(st.lists(edits, max_size=5))
def test_edited_buckets_are_what_a_dictionary_would_be(steps: list[dict[str, int | None]]) -> None:
    kept: Buckets[int] = Buckets()
    model: dict[str, int] = {}
    for step in steps:
        before, old = kept, dict(model)
        kept = kept.edited(step)
        for name, value in step.items():
            if value is None:
                model.pop(name, None)
            else:
                model[name] = value

        assert dict(kept) == model
        assert len(kept) == len(model)
        assert all(name in kept and kept.get(name) == model[name] for name in model)
        changed = set(kept.changed_since(before))
        assert {name for name in {**old, **model} if old.get(name) != model.get(name)} <= changed
        assert dict(before) == old


def test_one_edit_copies_one_bucket_of_many() -> None:
    before = Buckets.of({f"n{number}": object() for number in range(10_000)})
    now = before.edited({"n7": object()})

    assert list(now.changed_since(before)) == ["n7"]
    shared = sum(left is right for left, right in zip(now._buckets, before._buckets, strict=True))
    assert shared == len(now._buckets) - 1


def test_an_edit_that_changes_nothing_is_the_same_object() -> None:
    value = object()
    before = Buckets.of({"a": value})

    assert before.edited({"a": value, "b": None}) is before
    assert Buckets.of(before) is before


def test_a_missing_name_is_a_key_error() -> None:
    assert Buckets.of({"a": 1}).get("b") is None
    assert "b" not in Buckets.of({"a": 1})
