"""Places: from a path to file and line, and back from text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.places import spell, steps
from tests.support.documents import a_document

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
DOCUMENT = a_document("""\
    # a comment
    apiVersion: v1
    metadata:
      labels:
        app.kubernetes.io/name: reviews
    spec:
      http:
      - match:
        - uri: {prefix: /a}
        timeout: 5s
      - &second
        route: []
      again: *second
    """)


@given(st.lists(KEYS | st.integers(0, 1000), max_size=6))
def test_a_path_survives_spelling(path: list[str | int]) -> None:
    assert steps(spell(path)) == tuple(path)


def test_a_path_reads_as_it_is_written_in_documents() -> None:
    assert spell(("spec", "http", 0, "timeout")) == "spec.http[0].timeout"
    assert spell(("labels", "app.kubernetes.io/name")) == 'labels["app.kubernetes.io/name"]'


def line(path: str) -> int:
    return DOCUMENT.place().where(path).line


def test_a_field_is_at_the_line_of_its_key() -> None:
    assert [line("spec"), line("spec.http[0].timeout"), line("spec.http[0].match[0].uri.prefix")] == [
        6,
        10,
        9,
    ]


def test_a_quoted_key_is_found() -> None:
    assert line('metadata.labels["app.kubernetes.io/name"]') == 5


def test_what_is_missing_is_at_its_nearest_ancestor() -> None:
    assert [line("spec.http[1].timeout"), line("spec.nothing.below"), line("status")] == [11, 6, 2]


def test_below_an_alias_lines_are_those_of_its_anchor() -> None:
    assert [line("spec.again"), line("spec.again.route")] == [13, 12]


def test_merged_keys_are_where_they_were_written() -> None:
    document = a_document("base: &base\n  x: 1\na:\n  <<: *base\n  y: 2\n")
    assert [document.place().where(path).line for path in ("a.x", "a.y")] == [2, 5]
