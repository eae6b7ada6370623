"""Real git repositories for tests, made with the ``git`` program, and a plain reader for them.

A :class:`Repository` is what a team has: a bare repository somewhere and a clone in which they
work. Neither knows the settings of whoever runs the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mesh.kinds.guards import Guards
from mesh.names import ObjectKey
from mesh.problems import Problem, Where
from reconciler.git import File

_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "Dana",
    "GIT_AUTHOR_EMAIL": "dana@example.org",
    "GIT_COMMITTER_NAME": "Dana",
    "GIT_COMMITTER_EMAIL": "dana@example.org",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
}


class Repository:
    """A bare repository at ``url``, and someone who pushes to it."""

    def __init__(self, folder: Path, branch: str = "main") -> None:
        self.bare, self.work, self.branch = folder / "mesh.git", folder / "work", branch
        folder.mkdir(parents=True, exist_ok=True)
        self._git("init", "--quiet", "--bare", f"--initial-branch={branch}", str(self.bare), at=folder)
        self._git("init", "--quiet", f"--initial-branch={branch}", str(self.work), at=folder)

    @property
    def url(self) -> str:
        return str(self.bare)

    def push(
        self, files: Mapping[str, str | bytes | None], message: str = "a change", *, force: bool = False
    ) -> str:
        """Write (``None``: remove) files, commit, push. Returns the commit."""
        for name, text in files.items():
            path = self.work / name
            if text is None:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        self.git(
            "push",
            "--quiet",
            *(["--force"] if force else []),
            str(self.bare),
            f"HEAD:refs/heads/{self.branch}",
        )
        return self.git("rev-parse", "HEAD")

    def delete_branch(self) -> None:
        self._git("update-ref", "-d", f"refs/heads/{self.branch}", at=self.bare)

    def git(self, *arguments: str) -> str:
        return self._git(*arguments, at=self.work)

    @staticmethod
    def _git(*arguments: str, at: Path) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=at,
            env=_ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"git {' '.join(arguments)}: {done.stderr}")
        return done.stdout.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What the plain reader makes of files."""

    objects: Mapping[str, str]  # name -> file that defines it
    tenancy: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    guards: Guards = Guards()  # noqa: RUF009 (frozen)

    @property
    def contents(self) -> Mapping[ObjectKey, str]:
        return {ObjectKey("Word", "", name): file for name, file in self.objects.items()}


class WordReader:
    """Reads words, and counts how often it was asked."""

    def __init__(self) -> None:
        self.readings = 0

    def __call__(
        self, files: Sequence[File], *, passed_over: tuple[Problem, ...], tenancy: tuple[str, ...]
    ) -> Words:
        self.readings += 1
        return read_words(files, passed_over=passed_over, tenancy=tenancy)

    def keep(self, reading: Words, /) -> None:
        """Nothing is shared."""

    def forget(self) -> None:
        """Nothing is remembered."""


def read_words(files: Sequence[File], *, passed_over: tuple[Problem, ...], tenancy: tuple[str, ...]) -> Words:
    """A language small enough to test acceptance with, one word and its argument a line.

    ``define x`` makes an object, ``use x`` refers to one, ``tenant folder`` (in ``mesh.yaml``)
    names a folder, ``unguarded`` (there too) disables the guards, ``broken`` is an error; everything
    else is prose.
    """
    objects: dict[str, str] = {}
    uses: list[tuple[str, int, str]] = []
    tenants: list[str] = []
    problems = list(passed_over)
    for file in files:
        for number, line in enumerate(file.data.decode().splitlines(), start=1):
            word, _, argument = line.partition(" ")
            if word == "define" and argument in objects:
                where = Where(file=file.path, line=number)
                problems.append(Problem(code="MW0003", where=where, message=f"{argument!r} is defined twice"))
            elif word == "define":
                objects[argument] = file.path
            elif word == "use":
                uses.append((file.path, number, argument))
            elif word == "tenant" and file.path == "mesh.yaml":
                tenants.append(argument)
            elif word == "broken":
                problems.append(
                    Problem(code="MW0001", where=Where(file=file.path, line=number), message="broken")
                )
    for path, number, name in uses:
        if name not in objects:
            where = Where(file=path, line=number)
            problems.append(Problem(code="IST0101", where=where, message=f"there is no {name!r}"))
    guards = Guards(disabled=any(f.path == "mesh.yaml" and b"unguarded" in f.data.split() for f in files))
    return Words(objects=objects, tenancy=tuple(tenants), problems=tuple(problems), guards=guards)
