"""The Makefile and its set-up say what they do, and name what is missing with the command that brings it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("bash", "dirname", "mkdir", "flock", "cat", "cksum", "rm", "id")

OLD_PYTHON = "#!/bin/sh\nexit 1\n"
PYTHON_WITHOUT_VENV = '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\nexit 0\n'


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with nothing but the set-up, in a folder with a space in its name."""
    made = tmp_path / "a clone"
    (made / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "setup", made / ".ci" / "setup")
    (made / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (made / "bin" / tool).symlink_to(found)
    return made


def program(clone: Path, name: str, text: str = "#!/bin/sh\n") -> None:
    (clone / "bin" / name).write_text(text)
    (clone / "bin" / name).chmod(0o755)


def setup(clone: Path, *parts: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    return subprocess.run(
        [clone / ".ci" / "setup", *parts],
        check=False,
        env=environment | {"PATH": str(clone / "bin")},
        capture_output=True,
        text=True,
        timeout=30,
    )


def complaint(clone: Path, *parts: str) -> list[str]:
    done = setup(clone, *parts)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr.splitlines()


def test_help_is_the_default_and_names_every_target() -> None:
    shown = subprocess.run(["make"], check=True, cwd=ROOT, capture_output=True, text=True, timeout=20).stdout
    phony = re.findall(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()

    assert re.findall(r"make ([a-z-]+)", shown) == phony


def test_a_missing_git_is_named(clone: Path) -> None:
    assert complaint(clone, "runtime") == ["error: git is missing", "hint: apt install git"]


def test_a_missing_openssl_is_named(clone: Path) -> None:
    program(clone, "git")

    assert complaint(clone, "runtime") == ["error: openssl is missing", "hint: apt install openssl"]


def test_a_python_that_is_too_old_is_named(clone: Path) -> None:
    for name in ("git", "openssl"):
        program(clone, name)
    program(clone, "python3", OLD_PYTHON)

    assert complaint(clone, "dev") == [
        "error: Python 3.11 or newer is missing",
        "hint: apt install python3",
    ]


def test_a_missing_venv_module_is_named(clone: Path) -> None:
    for name in ("git", "openssl"):
        program(clone, name)
    program(clone, "python3", PYTHON_WITHOUT_VENV)

    assert complaint(clone, "runtime") == [
        "error: the venv module of python3 is missing",
        "hint: apt install python3-venv",
    ]


def test_a_newer_python_is_found_beside_an_old_one(clone: Path) -> None:
    for name in ("git", "openssl"):
        program(clone, name)
    program(clone, "python3", OLD_PYTHON)
    program(clone, "python3.13", PYTHON_WITHOUT_VENV)

    assert complaint(clone, "runtime")[0] == "error: the venv module of python3.13 is missing"


def test_a_missing_compiler_is_named_only_where_it_is_needed(clone: Path) -> None:
    assert complaint(clone, "compiler") == [
        "error: a C compiler is missing",
        "hint: apt install gcc libc6-dev",
    ]


def test_every_pinned_version_is_a_name_and_a_number() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()

    assert [line for line in lines if not re.fullmatch(r"#.*|[A-Za-z0-9_.-]+==[0-9a-z.]+", line)] == []


def test_everything_that_is_installed_for_us_is_pinned() -> None:
    pinned = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        re.split(r"[<>=]", requirement)[0].lower()
        for requirement in (*project["dependencies"], *project["optional-dependencies"]["dev"])
    ]

    assert [name for name in wanted if f"\n{name}==" not in pinned] == []
