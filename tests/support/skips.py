"""Lists the tests that were skipped, and compares them with the list that is allowed.

A skipped test looks like a passed one from afar. So every run ends by naming them with their reasons,
and with ``--skips FILE`` a run in which others are skipped than the file lists has failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

FOUND = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--skips", type=Path, metavar="FILE", help="fail when other tests are skipped")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FOUND] = {}
    config.pluginmanager.register(Listener(config.stash[FOUND]), "skips")


class Listener:
    """Hears of every skip, of a test or of a whole file. Owned by the run."""

    def __init__(self, found: dict[str, str]) -> None:
        self._found = found

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._hear(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._hear(report)

    def _hear(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):
            self._found[report.nodeid] = report.longrepr[2].removeprefix("Skipped: ")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.exitstatus == pytest.ExitCode.OK and any(_differences(session.config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if skipped := config.stash[FOUND]:
        terminalreporter.section("skipped")
        for line in lines(skipped):
            terminalreporter.line(line)
    unlisted, vanished = _differences(config)
    for line in unlisted:
        terminalreporter.line(f"error: skipped and not listed in {config.option.skips}: {line}")
    for line in vanished:
        terminalreporter.line(f"error: listed in {config.option.skips} and not skipped: {line}")


def lines(skipped: dict[str, str]) -> list[str]:
    """``tests/x/test_y.py::test_z: the reason``, one per test."""
    return [f"{test}: {reason}" for test, reason in sorted(skipped.items())]


def differences(skipped: dict[str, str], allowed: Iterable[str]) -> tuple[list[str], list[str]]:
    """What is skipped and not allowed, and what is allowed and was not skipped."""
    found = set(lines(skipped))
    listed = {line.strip() for line in allowed if line.strip() and not line.startswith("#")}
    return sorted(found - listed), sorted(listed - found)


def _differences(config: pytest.Config) -> tuple[list[str], list[str]]:
    if config.option.skips is None:
        return [], []
    return differences(config.stash[FOUND], config.option.skips.read_text().splitlines())
