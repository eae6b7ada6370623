"""Documents that are written again: cut without a loss, and read as the same value."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mesh.documents import dump, parse_file, pieces, value

LINES = (
    "---",
    "--- # x",
    "--- {a: 1}",
    "...",
    "# comment",
    "",
    "a: 1",
    "  b: 2",
    "- x",
    "c: |",
    "  ---",
    "%YAML 1.1",
)
TEXTS = st.lists(st.sampled_from(LINES), max_size=12).flatmap(
    lambda lines: st.sampled_from(["\n".join(lines), "\n".join(lines) + "\n", "\r\n".join(lines)])
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.sampled_from(
        ["yes", "on", "y", "0755", "1e3", "1_000", "0x1F", "~", "null", "1.10", "2026-01-01", "12:30:45"]
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=12),
)
KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=6)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(TEXTS)
def test_the_pieces_of_a_file_are_the_file(text: str) -> None:
    cut = list(pieces(text))

    assert "".join(piece.before + piece.text for piece in cut) == text
    assert all(text.split("\n")[piece.line - 1 :] for piece in cut)


@given(TEXTS)
def test_pieces_are_the_documents_that_are_read(text: str) -> None:
    whole, _ = parse_file("a.yaml", text.encode())
    one_by_one = [
        (document.data, piece.line - 1 + document.line)
        for piece in pieces(text)
        for document in parse_file("a.yaml", piece.text.encode())[0]
    ]

    assert one_by_one == [(document.data, document.line) for document in whole]


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4))
def test_what_is_written_is_read_as_it_was(written: dict[str, Any]) -> None:
    assert value(dump(written)) == written


@pytest.mark.parametrize("text", ["yes", "Off", "1e3", "0755", "1_000", "", "~", "null", ".5", "n", "0b11"])
def test_text_that_kubernetes_would_take_for_something_else_is_quoted(text: str) -> None:
    assert dump({"a": text}) == f'a: "{text}"\n'


def test_keys_keep_their_order_and_nothing_is_shared() -> None:
    shared = {"z": 1, "a": 2}

    assert dump({"second": shared, "first": shared}) == "second:\n  z: 1\n  a: 2\nfirst:\n  z: 1\n  a: 2\n"


def test_a_list_is_read_with_its_items() -> None:
    text = "kind: List\nitems:\n- {a: [2001:db8::]}\n"

    assert value(text) == {"kind": "List", "items": [{"a": ["2001:db8::"]}]}
    assert yaml.safe_load(dump(value(text))) == value(text)
