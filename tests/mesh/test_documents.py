"""Documents: what a file holds, where it stands, and what it may not do."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mesh.documents import DEPTH_MAX, DocumentCache, parse_file, plain_scalar

# PyYAML writes some numbers of Go's as plain text.
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).filter(
    lambda text: not isinstance(plain_scalar(text), float)
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXTS.filter(lambda key: key != "kind"), VALUES, min_size=1, max_size=4)


def data_of(text: str | bytes, file: str = "a.yaml") -> list[Any]:
    documents, problems = parse_file(file, text if isinstance(text, bytes) else text.encode())
    assert problems == ()
    return [document.data for document in documents]


def lines_of(text: str) -> list[int]:
    return [document.line for document in parse_file("a.yaml", text.encode())[0]]


def problems_of(text: str | bytes, file: str = "a.yaml") -> list[str]:
    content = text if isinstance(text, bytes) else text.encode()
    return [str(problem) for problem in parse_file(file, content)[1]]


@given(OBJECTS)
def test_what_json_writes_is_read_back(value: dict[str, Any]) -> None:
    """JSON with and without escapes, also beyond the basic plane."""
    for is_ascii in (True, False):
        assert data_of(json.dumps(value, ensure_ascii=is_ascii), "a.json") == [value]


@given(OBJECTS)
def test_what_yaml_writes_is_read_back(value: dict[str, Any]) -> None:
    assert data_of(yaml.safe_dump(value, allow_unicode=True)) == [value]


@given(st.lists(OBJECTS, min_size=1, max_size=4), st.integers(0, 3))
def test_a_document_is_the_same_wherever_it_stands(values: list[dict[str, Any]], blank: int) -> None:
    """Moved to other lines, beside other documents: equal digests, and not parsed again."""
    cache = DocumentCache()
    texts = [yaml.safe_dump(value) for value in values]
    alone = [parse_file("a.yaml", text.encode(), cache)[0][0] for text in texts]
    together, _ = parse_file("b.yaml", ("\n" * blank + "---\n# next\n".join(texts)).encode(), cache)

    assert [document.digest for document in together] == [document.digest for document in alone]
    assert all(a.data is b.data for a, b in zip(together, alone, strict=True))


@given(st.text(max_size=200))
def test_no_text_makes_it_fail(text: str) -> None:
    """Whatever a file holds is documents and problems, never an error of ours."""
    documents, problems = parse_file("a.yaml", text.encode("utf-8", "replace"))
    for document in documents:
        document.place().where("spec.http[0].route")
    assert all(problem.where.line >= 1 for problem in problems)


@given(st.binary(max_size=100))
def test_no_bytes_make_it_fail(content: bytes) -> None:
    parse_file("a.yaml", content)


def test_a_file_holds_several_documents() -> None:
    assert data_of("---\na: 1\n---\n# nothing\n---\nb: 2\n...\n---\n--- {c: 3}\n") == [
        {"a": 1},
        {"b": 2},
        {"c": 3},
    ]
    assert lines_of("# of this file\n\n---\n\na: 1\n---\n# of b\nb: 2\n") == [5, 8]


def test_a_marker_inside_a_block_is_text_when_indented() -> None:
    assert data_of("a: |\n  ---\n  b\n") == [{"a": "---\nb\n"}]


def test_a_list_is_its_items_each_with_its_own_line() -> None:
    text = "kind: List\nitems:\n- a: 1\n  b: 2\n-\n  c: 3\n"
    documents, problems = parse_file("a.yaml", text.encode())

    assert problems == ()
    assert [(document.line, document.data) for document in documents] == [
        (3, {"a": 1, "b": 2}),
        (6, {"c": 3}),
    ]
    assert [document.place().where("b").line for document in documents] == [4, 6]


def test_an_item_of_a_list_stays_the_same_when_its_neighbours_change() -> None:
    before, _ = parse_file("a.yaml", b"kind: List\nitems:\n- a: 1\n")
    after, _ = parse_file("a.yaml", b"kind: List\nitems:\n- b: 2\n- a: 1\n")
    assert before[0].digest == after[1].digest


def test_a_repeated_key_is_an_error_at_its_line() -> None:
    assert problems_of("a: 1\nb:\n  c: 1\n  c: 2\n") == ["a.yaml:4: error MW0002: the key 'c' appears twice"]
    assert problems_of("{a: 1,\n a: 2}") == ["a.yaml:2: error MW0002: the key 'a' appears twice"]


def test_a_broken_document_is_reported_at_its_line_and_others_are_read() -> None:
    documents, problems = parse_file("a.yaml", b"a: 1\n---\nb: 1\nc: [\n---\nd: 1\n")

    assert [document.data for document in documents] == [{"a": 1}, {"d": 1}]
    assert [str(problem) for problem in problems] == [
        "a.yaml:4: error MW0001: not readable as YAML: did not find expected node content"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a:\n\t- b\n",
            "a.yaml:2: error MW0001: not readable as YAML: found character that cannot start any token",
        ),
        ("- a\n", "a.yaml:1: error MW0001: expected an object (a mapping), found a list"),
        ("a\n", "a.yaml:1: error MW0001: expected an object (a mapping), found a single value"),
        ("a: \x07\n", "a.yaml:1: error MW0001: not readable as YAML: control characters are not allowed"),
        ("a: !secret x\n", "a.yaml:1: error MW0001: the tag '!secret' has no meaning here"),
        (
            "a: !!python/name:os.system\n",
            "a.yaml:1: error MW0001: the tag 'tag:yaml.org,2002:python/name:os.system' has no meaning here",
        ),
        ("? [a]\n: 1\n", "a.yaml:1: error MW0001: a key must be text, found a mapping or a list"),
        ("a: &a [*a]\n", "a.yaml:1: error MW0001: no anchor named 'a' comes before this alias"),
        ("a: 1\n<<: 2\n", "a.yaml:2: error MW0001: '<<' takes a mapping or a list of mappings"),
        (
            "kind: List\nitems:\n- 3\n",
            "a.yaml:3: error MW0001: expected items[0] to be an object (a mapping)",
        ),
    ],
)
def test_what_cannot_be_read_is_said(text: str, message: str) -> None:
    assert problems_of(text) == [message]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a:\n\tb: 1\n", "indent with spaces"),
        (
            "a: {{ .Values.a }}\n",
            "this looks like a template: commit what it renders to, or exclude it in the paths of Mesh",
        ),
        (
            "a: 1\n{{- if .Values.b }}\nb: 1\n{{- end }}\n",
            "this looks like a template: commit what it renders to, or exclude it in the paths of Mesh",
        ),
        ("a: [\n", ""),
    ],
)
def test_what_is_often_taken_for_yaml_gets_a_hint(text: str, hint: str) -> None:
    (problem,) = parse_file("a.yaml", text.encode())[1]

    assert problem.hint == hint


def test_bytes_that_are_not_utf8_are_an_error() -> None:
    assert problems_of(b"a: 1\nb: \xff\n") == ["a.yaml:2: error MW0001: not UTF-8 at byte 8"]


def test_a_byte_order_mark_is_passed_over() -> None:
    assert data_of("a: 1".encode("utf-8-sig")) == [{"a": 1}]


def test_nesting_is_bounded() -> None:
    deep = "[" * (DEPTH_MAX + 10)
    assert problems_of(f"a: {deep}") == [f"a.yaml:1: error MW0001: nested deeper than {DEPTH_MAX} levels"]


def test_a_billion_laughs_are_cut_short() -> None:
    """Nine levels of ten aliases each would be a billion values."""
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    assert problems_of(f"a0: &a0 [lol]\n{levels}") == [
        "a.yaml:6: error MW0001: aliases expand to more than 50000 values"
    ]


def test_a_file_holds_a_bounded_number_of_documents() -> None:
    documents, problems = parse_file("a.yaml", b"a: 1\n---\n" * 20_001)
    assert len(documents) == 20_000
    assert [str(problem) for problem in problems] == [
        "a.yaml:40001: error MW0001: more than 20000 documents in one file"
    ]


def test_a_file_may_not_be_larger_than_the_limit() -> None:
    content = b"a" * (8 * 1024 * 1024 + 1)
    assert problems_of(content) == ["a.yaml: error MW0001: the file has 8388609 bytes, more than 8388608"]


def test_anchors_and_merge_keys_mean_what_they_say() -> None:
    text = "base: &base {x: 1, y: 1}\nmore: &more {y: 2, z: 2}\na:\n  <<: [*base, *more]\n  x: 0\n"
    assert data_of(text)[0]["a"] == {"x": 0, "y": 1, "z": 2}


def test_an_address_that_ends_in_two_colons_is_read_as_go_reads_it() -> None:
    """libyaml refuses what Kubernetes takes."""
    assert data_of("a: [1.2.3.4, 2001:db8::]\nb: {c: fe80::}\n") == [
        {"a": ["1.2.3.4", "2001:db8::"], "b": {"c": "fe80::"}}
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("Off", False),
        ("y", "y"),
        ("~", None),
        ("", None),
        ("0x1F", 31),
        ("017", 15),
        ("0o17", 15),
        ("1_000", 1000),
        ("-5", -5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.2.3", "1.2.3"),
        ("12:30:45", "12:30:45"),
        ("2024-01-31", "2024-01-31"),
        ("0x", "0x"),
        ("-", "-"),
        ("9" * 5000, float("inf")),
    ],
)
def test_a_plain_scalar_means_what_it_means_to_kubernetes(text: str, value: object) -> None:
    found = plain_scalar(text)
    assert (type(found), found) == (type(value), value)


def test_what_is_not_asked_for_again_is_forgotten() -> None:
    cache = DocumentCache()
    parse_file("a.yaml", b"a: 1\n---\nb: 1\n", cache)
    cache.drop_unused()
    parse_file("a.yaml", b"a: 1\n", cache)
    cache.drop_unused()
    assert len(cache) == 1
