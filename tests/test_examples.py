"""Every example is a mesh that works, and says so in ten lines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mesh.problems import Severity
from reconciler.reading import check_path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FOLDERS = sorted(path for path in EXAMPLES.iterdir() if path.is_dir())
MESHES = [path for path in FOLDERS if path.name != "kubernetes"]  # which is what a cluster grants to a mesh


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_example_explains_itself_in_ten_lines(folder: Path) -> None:
    assert len((folder / "README.md").read_text().splitlines()) <= 10


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_readme_names_every_file_of_its_example(folder: Path) -> None:
    readme = (folder / "README.md").read_text()

    assert [path.name for path in sorted(folder.glob("*.yaml")) if f"`{path.name}`" not in readme] == []


@pytest.mark.parametrize("folder", MESHES, ids=lambda folder: folder.name)
def test_an_example_has_no_problems(folder: Path) -> None:
    """But that hosts of a registry are known to the registry alone, which is an information."""
    report = check_path(folder, is_strict=True)

    assert [str(problem) for problem in report.problems if problem.code != "MW0011"] == []
    assert report.exit_code == 0


def test_a_host_that_only_a_registry_knows_holds_nothing() -> None:
    report = check_path(EXAMPLES / "hybrid", is_strict=True)

    assert {problem.severity for problem in report.problems} == {Severity.INFO}


def test_bookinfo_at_rest_sends_nine_of_ten_requests_to_reviews_v1() -> None:
    text = "".join(path.read_text() for path in sorted((EXAMPLES / "bookinfo").rglob("*")) if path.is_file())

    assert re.findall(r"weight: (\d+)", text) == ["90", "10"]
