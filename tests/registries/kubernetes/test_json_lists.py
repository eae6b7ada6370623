"""Large answers are read as ``json.loads`` reads them, and the loop is given back meanwhile."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.clock import breathe
from registries.kubernetes import json_lists

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
BROKEN = (
    *("{", "{}x", '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":1,}', "{1:2}", '{"a" 1}', '{"a":[', '{"a":[1'),
    *('{"a":[1,', '{"a":[1,]}', '{"a":[1 2]}', '{"a":[]', '{"a":[]}]', "", "nonsense", "{,}", '{"a":[}'),
)


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lists, "_AT_ONCE", -1)


def parsed(text: str) -> Any:
    return asyncio.run(json_lists.parsed(text.encode()))


@given(VALUES, st.sampled_from([None, 1]))
def test_every_json_is_read_as_the_standard_library_reads_it(value: Any, indent: int | None) -> None:
    text = f" {json.dumps(value, indent=indent)}\n"

    assert parsed(text) == json.loads(text)


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_json_is_no_json_however_large(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        json.loads(text)
    with pytest.raises(ValueError, match=r"."):
        parsed(text)


async def test_a_page_of_slices_does_not_keep_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of a hundred slices with a hundred endpoints kept it for 140 milliseconds."""
    monkeypatch.setattr(json_lists, "_AT_ONCE", 128 * 1024)
    body = json.dumps({"items": [{"endpoints": ["x" * 1000] * 28}] * 100}).encode()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await breathe()
            turns += 1

    task = asyncio.create_task(others())
    page = await json_lists.parsed(body)
    task.cancel()

    assert len(page["items"]) == 100
    assert turns >= len(body) // (128 * 1024 + 30 * 1024)
