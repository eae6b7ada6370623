"""The demo's repository is a real one, and nothing of the user's settings acts in it."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from mesh.clock import SystemClock
from reconciler.demo.processes import Processes
from reconciler.demo.repository import Repository
from tests.support.clock import FakeClock


async def repository(folder: Path) -> Repository:
    made = Repository(folder, Processes(folder / "logs"), SystemClock())
    await made.create(bell=folder / "bell.sock")
    return made


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=20
    ).stdout.strip()


async def test_a_push_arrives_in_the_bare_repository(tmp_path: Path) -> None:
    made = await repository(tmp_path)

    push = await made.push({"a.yaml": "a: 1\n", "folder/b.yaml": "b: 2\n"}, "Say a and b")

    assert git(made.bare, "rev-parse", "main") == push.commit
    assert git(made.bare, "show", "main:folder/b.yaml") == "b: 2"
    assert git(made.bare, "log", "-1", "--format=%s") == "Say a and b"


async def test_a_file_can_be_removed(tmp_path: Path) -> None:
    made = await repository(tmp_path)
    await made.push({"a.yaml": "a: 1\n", "b.yaml": "b: 2\n"}, "Say a and b")

    await made.push({"a.yaml": None}, "Take a back")

    assert git(made.bare, "ls-tree", "--name-only", "main") == "b.yaml"


async def test_a_revert_is_a_commit_of_its_own(tmp_path: Path) -> None:
    made = await repository(tmp_path)
    await made.push({"a.yaml": "a: 1\n"}, "Say a")
    await made.push({"a.yaml": "a: 2\n"}, "Say it louder")

    push = await made.revert()

    assert git(made.bare, "show", "main:a.yaml") == "a: 1"
    assert git(made.bare, "rev-list", "--count", push.commit) == "3"


async def test_the_time_of_a_push_is_that_of_its_beginning(tmp_path: Path) -> None:
    clock = FakeClock()
    made = Repository(tmp_path, Processes(tmp_path / "logs"), clock)
    await made.create(bell=tmp_path / "bell.sock")

    push = await made.push({"a.yaml": "a: 1\n"}, "Say a")

    assert push.began_at_ms == int(clock.now().timestamp() * 1000)


async def test_every_push_rings_the_bell(tmp_path: Path) -> None:
    made = await repository(tmp_path)
    with socket.socket(socket.AF_UNIX) as bell:
        bell.bind(str(tmp_path / "bell.sock"))
        bell.listen()
        bell.settimeout(10)

        await made.push({"a.yaml": "a: 1\n"}, "Say a")

        with bell.accept()[0] as ringing:
            assert ringing.recv(4096).startswith(b"POST /poll HTTP/1.1\r\n")


async def test_a_push_succeeds_when_nobody_hears_the_bell(tmp_path: Path) -> None:
    made = await repository(tmp_path)

    assert (await made.push({"a.yaml": "a: 1\n"}, "Say a")).commit


async def test_settings_of_the_user_do_not_act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text("[commit]\n\tgpgSign = true\n[core]\n\thooksPath = /nowhere\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Someone Else")

    made = await repository(tmp_path)
    await made.push({"a.yaml": "a: 1\n"}, "Say a")
    monkeypatch.delenv("GIT_DIR")

    assert git(made.bare, "log", "-1", "--format=%an") == "Meshwright demo"


async def test_a_folder_with_a_space_and_a_quote_is_as_good_as_any(tmp_path: Path) -> None:
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    made = await repository(folder)

    push = await made.push({"a.yaml": "a: 1\n"}, "Say a")

    assert git(made.bare, "rev-parse", "main") == push.commit
    assert made.url.endswith("/it%27s%20a%20folder/mesh.git")


async def test_a_user_can_commit_in_the_clone_without_a_name(tmp_path: Path) -> None:
    made = await repository(tmp_path)
    await made.push({"a.yaml": "a: 1\n"}, "Say a")

    (made.clone / "a.yaml").write_text("a: 2\n")
    git(made.clone, "commit", "-qam", "Say it louder")
    git(made.clone, "push", "-q")

    assert git(made.bare, "show", "main:a.yaml") == "a: 2"
