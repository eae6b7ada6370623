"""A mesh repository behind a real sshd."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.errors import Unavailable
from reconciler.fetching import Git, Remote
from reconciler.git import Clone, Event, fetch
from tests.servers.sshd import Sshd, a_key, sshd
from tests.support.repositories import Repository


@pytest.fixture(name="server")
def _server(tmp_path: Path) -> Iterator[Sshd]:
    with sshd(tmp_path / "sshd") as server:
        yield server


async def aside(work, /, *args, **kwargs):
    return work(*args, **kwargs)


def a_git(folder: Path, url: str) -> tuple[Clone, Git]:
    clone = Clone.open(folder / "state" / "repo.git")
    return clone, Git(folder=clone.folder, remote=Remote.parse(url, "main"), time_limit=timedelta(seconds=20))


async def test_a_repository_behind_ssh_is_followed(
    tmp_path: Path, server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", server.command())
    team = Repository(tmp_path)
    clone, git = a_git(tmp_path, server.url(team.bare))
    first = team.push({"mesh.yaml": "1"})
    assert (await fetch(clone, git, aside)).commit == first
    second = team.push({"mesh.yaml": "2"})
    fetched = await fetch(clone, git, aside)
    assert (fetched.commit, fetched.event) == (second, Event.MOVED)


async def test_a_host_that_is_not_the_known_one_is_refused(
    tmp_path: Path, server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = a_key(tmp_path / "other").with_suffix(".pub").read_text()
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {other}")
    monkeypatch.setenv("GIT_SSH_COMMAND", server.command(known_hosts=known))
    clone, git = a_git(tmp_path, server.url(Repository(tmp_path).bare))
    with pytest.raises(Unavailable) as error:
        await fetch(clone, git, aside)
    assert str(error.value) == (
        f"could not fetch {git.remote}: Host key verification failed.; "
        "fatal: Could not read from remote repository."
    )


async def test_a_key_that_is_not_admitted_fails_at_once_and_asks_nobody(
    tmp_path: Path, server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", server.command(key=a_key(tmp_path / "stranger")))
    clone, git = a_git(tmp_path, server.url(Repository(tmp_path).bare))
    began = time.monotonic()
    with pytest.raises(Unavailable) as error:
        await fetch(clone, git, aside)
    assert time.monotonic() - began < 10
    assert str(error.value) == (
        f"could not fetch {git.remote}: {server.user}@127.0.0.1: Permission denied (publickey).; "
        "fatal: Could not read from remote repository."
    )
