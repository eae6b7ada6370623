"""What was skipped is said, and in CI it is compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.skips import differences, lines

pytest_plugins = ("pytester",)

CONFTEST = """
import sys
sys.path.insert(0, {root!r})
pytest_plugins = ("tests.support.skips",)
"""
TESTS = """
import pytest

def test_that_runs(): ...

@pytest.mark.skip(reason="no sshd on this machine")
def test_that_waits(): ...
"""
WAITING = "test_two.py::test_that_waits: no sshd on this machine"


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest(CONFTEST.format(root=str(Path(__file__).resolve().parents[1])))
    pytester.makepyfile(test_two=TESTS)
    return pytester


def test_skipped_tests_are_named_with_their_reasons(suite: pytest.Pytester) -> None:
    result = suite.runpytest_subprocess()

    assert result.ret == 0
    assert WAITING in result.outlines
    result.stdout.re_match_lines([r".*1 passed, 1 skipped.*"])


def test_a_run_passes_when_exactly_the_listed_tests_are_skipped(suite: pytest.Pytester) -> None:
    suite.maketxtfile(skips=f"# a comment\n{WAITING}\n")

    assert suite.runpytest_subprocess("--skips=skips.txt").ret == 0


def test_a_run_fails_when_a_test_is_skipped_that_is_not_listed(suite: pytest.Pytester) -> None:
    suite.maketxtfile(skips="")

    result = suite.runpytest_subprocess("--skips=skips.txt")

    assert result.ret == 1
    assert f"error: skipped and not listed in skips.txt: {WAITING}" in result.outlines


def test_a_run_fails_when_a_listed_test_was_not_skipped(suite: pytest.Pytester) -> None:
    suite.maketxtfile(skips=f"{WAITING}\ntest_two.py::test_gone: no more")

    result = suite.runpytest_subprocess("--skips=skips.txt")

    assert result.ret == 1
    assert "error: listed in skips.txt and not skipped: test_two.py::test_gone: no more" in result.outlines


def test_a_file_that_skips_itself_is_named_too(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_three='import pytest\npytest.skip("no Envoy", allow_module_level=True)\n')

    assert "test_three.py: no Envoy" in suite.runpytest_subprocess().outlines


def test_lines_are_sorted_by_test() -> None:
    assert lines({"b::two": "x", "a::one": "y"}) == ["a::one: y", "b::two: x"]


def test_nothing_skipped_and_nothing_listed_is_no_difference() -> None:
    assert differences({}, ["", "# why there are none"]) == ([], [])
