"""Golden files: what differs, what is missing and what is left over is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import golden


@pytest.fixture(autouse=True)
def nobody_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(golden.VARIABLE, raising=False)


def test_equal_files_do_not_differ(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1\n")

    assert golden.differences(tmp_path, {"a.yaml": "a: 1\n"}) == ""


def test_a_difference_is_shown_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1\nb: 2\n")

    assert golden.differences(tmp_path, {"a.yaml": "a: 1\nb: 3\n"}) == (
        "--- a.yaml\n+++ made now\n@@ -1,2 +1,2 @@\n a: 1\n-b: 2\n+b: 3\n"
    )


def test_a_file_that_was_never_written_differs(tmp_path: Path) -> None:
    assert golden.differences(tmp_path / "nowhere", {"a.yaml": "a: 1\n"}) == (
        "--- a.yaml\n+++ made now\n@@ -0,0 +1 @@\n+a: 1\n"
    )


def test_an_empty_file_that_was_never_written_differs(tmp_path: Path) -> None:
    assert golden.differences(tmp_path, {"a.yaml": ""}) == "a.yaml: was never written\n"


def test_a_file_that_nothing_comes_out_for_differs(tmp_path: Path) -> None:
    (tmp_path / "stale.yaml").write_text("a: 1\n")

    assert golden.differences(tmp_path, {}) == (
        "stale.yaml: nothing comes out for this file: remove it, or run with UPDATE_GOLDEN=1\n"
    )


def test_an_update_writes_what_came_out_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stale.yaml").write_text("a: 1\n")
    monkeypatch.setenv(golden.VARIABLE, "1")

    assert golden.differences(tmp_path, {"a.yaml": "a: 1\n"}) == ""
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.yaml": "a: 1\n"}


def test_yaml_is_for_people() -> None:
    assert golden.as_yaml({"b": ["x", {"c": "two\nlines\n"}], "a": "yes", "name": "n"}) == (
        "name: n\na: 'yes'\nb:\n  - x\n  - c: |\n      two\n      lines\n"
    )
