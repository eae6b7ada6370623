"""The child process that fetches: what it is told, what it may say, and that it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.errors import Misconfigured, Unavailable
from reconciler import fetching
from reconciler.fetching import Git, Remote, clean, environment, redacted
from reconciler.git import Clone


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://dana:s3cret@git.example.org/mesh.git", "https://***@git.example.org/mesh.git"),
        ("https://dana:s3cret@2@git.example.org/mesh.git", "https://***@git.example.org/mesh.git"),
        ("https://ghp_token@git.example.org/mesh.git", "https://***@git.example.org/mesh.git"),
        ("https://git.example.org/mesh.git?private_token=x", "https://git.example.org/mesh.git"),
        ("ssh://git@git.example.org:2222/mesh.git", "ssh://***@git.example.org:2222/mesh.git"),
        ("git@git.example.org:mesh.git", "git@git.example.org:mesh.git"),
        ("/srv/mesh.git", "/srv/mesh.git"),
    ],
)
def test_a_remote_shows_itself_without_credentials(url: str, shown: str) -> None:
    remote = Remote.parse(url, "main")
    assert remote.shown == redacted(url) == shown
    assert "s3cret" not in repr(remote)
    assert "ghp_token" not in repr(remote)


@pytest.mark.parametrize(
    "url",
    [
        "-uupload-pack=touch /tmp/owned",
        "--upload-pack=touch /tmp/owned",
        "ext::sh -c touch% /tmp/owned",
        "ssh://-oProxyCommand=touch/x",
        "http://git.example.org/mesh.git",
        "ftp://git.example.org/mesh.git",
        "fd::17",
        "https://git.example.org/a\nb",
    ],
)
def test_an_option_or_a_command_is_no_url(url: str) -> None:
    with pytest.raises(Misconfigured) as error:
        Remote.parse(url, "main")
    assert str(error.value) == f"not the URL of a repository: {redacted(url)!r}"
    assert error.value.hint == "use a path, file://, ssh://, git@host:path, https:// or git://"


@pytest.mark.parametrize(
    "branch", ["-u", "--all", "a..b", "a b", "a:b", "*", "", "a.lock", "/a", "a/", ".a", "a^"]
)
def test_an_option_or_a_refspec_is_no_branch(branch: str) -> None:
    with pytest.raises(Misconfigured) as error:
        Remote.parse("/srv/mesh.git", branch)
    assert str(error.value) == f"not a branch name: {branch!r}"


@pytest.mark.parametrize("branch", ["main", "release/1.2", "feature_x", "v1.2", "müller"])
def test_ordinary_branches_are_fine(branch: str) -> None:
    assert Remote.parse("/srv/mesh.git", branch).branch == branch


def test_a_relative_path_does_not_depend_on_where_the_child_runs() -> None:
    assert Remote.parse("mesh.git", "main").url == str(Path.cwd() / "mesh.git")


def test_what_git_says_loses_its_secrets_and_its_control_characters() -> None:
    url = "https://dana:p%40ss@git.example.org/mesh.git"
    said = (
        "remote: \x1b[31mwelcome\n"
        f"fatal: Authentication failed for '{url}/'\n"
        "error: password p@ss of https://eve:other@elsewhere/ refused\x07\n"
    )
    assert clean(said, url) == (
        "fatal: Authentication failed for 'https://***@git.example.org/mesh.git/'; "
        "error: password *** of https://***@elsewhere/ refused"
    )
    assert clean("", url) == "no reason was given"
    assert len(clean("fatal: " + "x" * 5000, url)) == 300


def test_the_child_inherits_credentials_but_nothing_that_redirects_or_asks() -> None:
    child = environment(
        {
            "PATH": "/bin",
            "SSH_AUTH_SOCK": "/run/agent",
            "GIT_DIR": "/elsewhere",
            "GIT_TRACE_CURL": "1",
            "GIT_EXEC_PATH": "/evil",
            "GIT_SSH_COMMAND": "ssh -i key",
            "GIT_ASKPASS": "/usr/bin/ask",
        }
    )
    assert child == {
        "PATH": "/bin",
        "SSH_AUTH_SOCK": "/run/agent",
        "GIT_SSH_COMMAND": "ssh -i key -o BatchMode=yes -o ConnectTimeout=10",
        "GIT_ASKPASS": "/usr/bin/ask",
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "SSH_ASKPASS_REQUIRE": "never",
    }


async def test_a_remote_that_trickles_is_cut_off_by_the_wall_clock(tmp_path: Path) -> None:
    """One byte now and then keeps every time-out of a socket from firing."""

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"ff00")  # a packet of 65 kB is announced, and comes byte by byte
        gone = asyncio.ensure_future(reader.read(-1))
        with contextlib.suppress(ConnectionError):
            while not gone.done():
                writer.write(b"#")
                await asyncio.wait({gone}, timeout=0.02)
            await gone
        writer.close()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    clone = Clone.open(tmp_path / "repo.git")
    remote = Remote.parse(f"git://127.0.0.1:{port}/mesh.git", "main")
    began = time.monotonic()
    with pytest.raises(Unavailable) as error:
        await Git(folder=clone.folder, remote=remote, time_limit=timedelta(seconds=0.4)).tips(
            "refs/heads/main"
        )
    assert time.monotonic() - began < 3
    assert str(error.value) == (
        f"could not fetch 'main' of git://127.0.0.1:{port}/mesh.git: not finished within 0.4 s"
    )
    server.close()
    await server.wait_closed()


def a_program(folder: Path, body: str) -> str:
    """A folder for PATH with a ``git`` of our making in it."""
    folder.mkdir()
    program = folder / "git"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_the_helpers_of_the_child_die_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ssh and remote helpers are children of the child and would hold the connection."""
    body = f"sleep 300 & echo $! > {tmp_path}/helper\nwait"
    monkeypatch.setenv("PATH", a_program(tmp_path / "bin", body))
    git = Git(
        folder=tmp_path, remote=Remote.parse("/srv/mesh.git", "main"), time_limit=timedelta(seconds=0.5)
    )
    with pytest.raises(Unavailable):
        await git.tips()
    assert not is_running(int((tmp_path / "helper").read_text()))


async def test_the_first_fetch_is_given_longer_because_nothing_of_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", a_program(tmp_path / "bin", "exec sleep 300"))
    remote = Remote.parse("/srv/mesh.git", "main")
    git = Git(folder=tmp_path, remote=remote, time_limit=timedelta(seconds=0.02))
    for is_first, limit in ((False, "0.02"), (True, "0.2")):
        with pytest.raises(Unavailable) as error:
            await git.fetch("+refs/heads/main:refs/x", is_first=is_first)
        assert str(error.value) == f"could not fetch 'main' of /srv/mesh.git: not finished within {limit} s"


async def test_a_cancelled_fetch_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = f"echo $$ > {tmp_path}/started\nexec sleep 300"
    monkeypatch.setenv("PATH", a_program(tmp_path / "bin", body))
    git = Git(folder=tmp_path, remote=Remote.parse("/srv/mesh.git", "main"))
    task = asyncio.create_task(git.tips())
    while not (tmp_path / "started").exists() or not (tmp_path / "started").read_text().strip():
        await asyncio.wait({task}, timeout=0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_running(int((tmp_path / "started").read_text()))


async def test_a_fetch_that_is_cancelled_while_its_child_starts_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_start = threading.Event(), threading.Event()
    children: list[subprocess.Popen[bytes]] = []
    start = fetching._start

    def slow(command: list[str], variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        begun.set()
        may_start.wait(5)
        children.append(start(command, variables))
        return children[0]

    monkeypatch.setattr(fetching, "_start", slow)
    monkeypatch.setenv("PATH", a_program(tmp_path / "bin", "exec sleep 300"))
    task = asyncio.create_task(Git(folder=tmp_path, remote=Remote.parse("/srv/mesh.git", "main")).tips())
    await asyncio.to_thread(begun.wait, 5)
    task.cancel()
    asyncio.get_running_loop().call_later(0.05, may_start.set)
    with pytest.raises(asyncio.CancelledError):
        await task

    (child,) = children
    assert child.returncode == -signal.SIGKILL


async def test_a_child_that_talks_without_end_is_not_remembered_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", a_program(tmp_path / "bin", "yes x | head -c 3000000; exit 0"))
    git = Git(folder=tmp_path, remote=Remote.parse("/srv/mesh.git", "main"))
    assert await git.tips() == {"": "x"}


async def test_a_child_killed_by_somebody_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", a_program(tmp_path / "bin", "kill -9 $$"))
    git = Git(folder=tmp_path, remote=Remote.parse("/srv/mesh.git", "main"))
    with pytest.raises(Unavailable) as error:
        await git.tips()
    assert str(error.value) == "could not fetch 'main' of /srv/mesh.git: no reason was given"


async def test_a_machine_without_git_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    git = Git(folder=tmp_path, remote=Remote.parse("/srv/mesh.git", "main"))
    with pytest.raises(Misconfigured) as error:
        await git.tips()
    assert (str(error.value), error.value.hint) == ("the program 'git' is not installed", "apt install git")
