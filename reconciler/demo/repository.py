"""The Git repository of a demo: a bare one that is served, and a clone in which commits are made.

Commits are made with the git command, as a user makes them. Nothing of the user's own Git settings
acts here, and nothing of ours reaches them. The bare repository rings the control plane's bell after
every push (``hooks/post-receive``), as a Git host does by a webhook.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mesh.clock import Clock
from reconciler.demo.processes import Processes

GIT_TIMEOUT_S = 30.0

_NAME, _EMAIL = "Meshwright demo", "demo@meshwright.example"

# The socket is spoken to directly, so that a push costs milliseconds and no other tool is needed.
_BELL = """\
import socket, sys
bell = socket.socket(socket.AF_UNIX)
bell.settimeout(2)
try:
    bell.connect(sys.argv[1])
    bell.sendall(b"POST /poll HTTP/1.1\\r\\nHost: meshwright\\r\\nContent-Length: 0\\r\\n\\r\\n")
    bell.recv(1)  # heard
except OSError:
    pass  # it polls by itself
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A commit that was pushed, and when the push began (UNIX milliseconds)."""

    commit: str
    began_at_ms: int


class Repository:
    """The bare repository at ``bare`` and the clone at ``clone``. Owned by the task that runs the demo."""

    def __init__(self, folder: Path, processes: Processes, clock: Clock) -> None:
        self.bare = folder / "mesh.git"
        self.clone = folder / "clone"
        self._processes = processes
        self._clock = clock

    @property
    def url(self) -> str:
        """Where the control plane finds it."""
        return self.bare.as_uri()

    async def create(self, bell: Path) -> None:
        """Make both, empty. ``bell`` is the socket that hears of pushes."""
        await self._git(self.bare.parent, "init", "--bare", "--initial-branch=main", str(self.bare))
        # A hook path of the user's own would replace ours when they push.
        await self._git(self.bare, "config", "core.hooksPath", str(self.bare / "hooks"))
        hook = self.bare / "hooks" / "post-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(
            "#!/bin/sh\n"
            f"exec {shlex.quote(sys.executable)} -I -S -c {shlex.quote(_BELL)} {shlex.quote(str(bell))}\n"
        )
        hook.chmod(0o755)
        await self._git(self.bare.parent, "clone", "--quiet", str(self.bare), str(self.clone))
        await self._git(self.clone, "checkout", "--quiet", "-B", "main")
        # So that a user can commit here who has never told Git a name.
        for name, value in (("user.name", _NAME), ("user.email", _EMAIL)):
            await self._git(self.clone, "config", name, value)

    async def push(self, files: Mapping[str, str | None], message: str) -> Push:
        """Write ``files`` (``None`` removes one), commit and push."""
        for name, text in files.items():
            path = self.clone / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        await self._git(self.clone, "add", "--all")
        await self._git(self.clone, "commit", "--quiet", "--message", message)
        return await self._push()

    async def revert(self) -> Push:
        """Take the last commit back by another one."""
        await self._git(self.clone, "revert", "--no-edit", "HEAD")
        return await self._push()

    async def _push(self) -> Push:
        commit = await self._git(self.clone, "rev-parse", "HEAD")
        began = self._clock.now()
        await self._git(self.clone, "push", "--quiet", "--set-upstream", "origin", "main")
        return Push(commit=commit, began_at_ms=int(began.timestamp() * 1000))

    async def _git(self, folder: Path, *arguments: str) -> str:
        said = await self._processes.run(
            f"git {arguments[0]}",
            "git",
            *arguments,
            folder=folder,
            timeout_s=GIT_TIMEOUT_S,
            environment=_environment(),
        )
        return said.decode().strip()


def files(folder: Path) -> dict[str, str]:
    """The text files of a folder, by their path in it."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _environment() -> dict[str, str]:
    # Variables such as GIT_DIR are set when the demo itself runs inside a hook: none is inherited.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    quiet = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
    return inherited | quiet
