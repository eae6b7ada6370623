"""Every example is a mesh that works, and says so in ten lines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler.reading import check_path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FOLDERS = sorted(path for path in EXAMPLES.iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_example_explains_itself_in_ten_lines(folder: Path) -> None:
    assert len((folder / "README.md").read_text().splitlines()) <= 10


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_readme_names_every_file_of_its_example(folder: Path) -> None:
    readme = (folder / "README.md").read_text()

    assert [path.name for path in sorted(folder.glob("*.yaml")) if f"`{path.name}`" not in readme] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_example_has_no_problems(folder: Path) -> None:
    report = check_path(folder, is_strict=True)

    assert report.problems == ()
    assert report.exit_code == 0


def test_bookinfo_at_rest_sends_nine_of_ten_requests_to_reviews_v1() -> None:
    text = "".join(path.read_text() for path in sorted((EXAMPLES / "bookinfo").rglob("*")) if path.is_file())

    assert re.findall(r"weight: (\d+)", text) == ["90", "10"]
