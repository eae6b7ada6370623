"""The child process that speaks to the remote, under a wall clock.

Every word with the outside is spoken by the ``git`` program, in a session of its own that is
killed whole when its time is up. A library call cannot be killed: a remote that trickles one byte
a second never runs into libgit2's time-outs (libgit2#5585; tried).

The program also knows ssh, credential helpers and proxies, so the operator's own git settings
count. What could surprise is shut: prompts, hooks, submodules, background maintenance, transport
helpers (``ext::`` runs a command), and every ``GIT_…`` variable that points at another repository
or traces secrets. What the remote says goes into errors only after :func:`clean`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import selectors
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from mesh.errors import Misconfigured, Unavailable

SCHEMES = ("file", "ssh", "https", "git")
OUTPUT_MAX = 1 << 20
MESSAGE_MAX = 300
FIRST_FETCH_FACTOR = 10

# The operator's way to hand in credentials and certificates. All other GIT_… variables stay out.
OPERATORS_VARIABLES = frozenset(
    {
        "GIT_ASKPASS", "GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "GIT_SSL_CERT", "GIT_SSL_KEY",
        "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM",
    }
)  # fmt: skip

SETTINGS = (
    "protocol.allow=never",
    *(f"protocol.{scheme}.allow=always" for scheme in SCHEMES),
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "fetch.recurseSubmodules=false",
    "gc.autoDetach=false",  # maintenance dies with its session instead of outliving it
    "maintenance.autoDetach=false",
)

_SCP_LIKE = re.compile(r"^(?:[\w.+-]+@)?[A-Za-z0-9_][\w.-]*:(?!:)(?!//)\S+$")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s]+@")
# git marks its reasons; ssh gives its verdict at the end of a long banner, and bare.
_TELLING = re.compile(
    r"^(?:fatal|error|ssh): |^Host key verification failed|Permission denied"
    r"|Connection (?:refused|closed|reset)"
)
_BRANCH = re.compile(r"^(?![-./])(?!.*(?:\.\.|@\{|//|\.lock(?:/|$)|/\.))[^\x00-\x20\x7f~^:?*\[\\]+(?<![./])$")


@dataclass(frozen=True, slots=True)
class Remote:
    """One branch of one repository elsewhere. Shows itself without credentials.

    Credentials belong into a helper or an ssh key all the same: git hands the URL to its own
    helpers on their command lines, where every user of the machine can read it.
    """

    url: str = field(repr=False)
    branch: str

    @classmethod
    def parse(cls, url: str, branch: str) -> Self:
        """Refuses what git would take for an option or for a command to run."""
        if not _BRANCH.match(branch):
            raise Misconfigured(f"not a branch name: {branch!r}", hint="give it as in `git branch`: main")
        if url.startswith("-") or "::" in url.partition("/")[0] or not url.isprintable():
            raise Misconfigured(f"not the URL of a repository: {redacted(url)!r}", hint=_URL_HINT)
        if "://" not in url and not _SCP_LIKE.match(url):
            return cls(str(Path(url).expanduser().absolute()), branch)
        if "://" not in url:
            return cls(url, branch)
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES or (parts.hostname or "").startswith("-"):
            raise Misconfigured(f"not the URL of a repository: {redacted(url)!r}", hint=_URL_HINT)
        return cls(url, branch)

    @property
    def shown(self) -> str:
        return redacted(self.url)

    def __str__(self) -> str:
        return f"{self.branch!r} of {self.shown}"


_URL_HINT = "use a path, file://, ssh://, git@host:path, https:// or git://"


def redacted(url: str) -> str:
    """The URL as it may be shown: no user, no password, no query."""
    return _CREDENTIALS.sub("***@", url).partition("?")[0] if "://" in url else url


def clean(said: str, url: str) -> str:
    """What git and the remote said, as one bounded line that holds no secret and no control character.

    git hides passwords in most messages, not in all; and what the remote says is the remote's.
    """
    if "://" in url:
        parts = urlsplit(url)
        secrets = {parts.query, parts.password or "", unquote(parts.password or "")}
        # In https://<token>@host the user is the secret. For ssh it is a name.
        secrets |= {parts.username or "", unquote(parts.username or "")} if parts.scheme == "https" else set()
        said = said.replace(url, redacted(url))
        for secret in sorted(secrets - {""}, key=len, reverse=True):
            said = said.replace(secret, "***")
    said = _CREDENTIALS.sub("***@", said)
    lines = [" ".join(line.split()) for line in said.splitlines()]
    telling = [line for line in lines if _TELLING.search(line)] or lines
    text = "; ".join(line for line in telling if line)
    return "".join(c for c in text if c.isprintable())[:MESSAGE_MAX] or "no reason was given"


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """The child's environment: ours, without what redirects git and without anything that asks."""
    kept = {k: v for k, v in own.items() if not k.startswith("GIT_") or k in OPERATORS_VARIABLES}
    ssh = own.get("GIT_SSH_COMMAND", "ssh")
    return kept | {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": f"{ssh} -o BatchMode=yes -o ConnectTimeout=10",
        "SSH_ASKPASS_REQUIRE": "never",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """The ``git`` program at work in one local repository for one remote."""

    folder: Path
    remote: Remote
    time_limit: timedelta = timedelta(seconds=30)

    async def tips(self, *patterns: str) -> dict[str, str]:
        """The remote's refs that match, and the commit of each. Empty when there are none."""
        said = await self._run(self.time_limit, "ls-remote", "--", self.remote.url, *patterns)
        return {ref: commit for commit, _, ref in (line.partition("\t") for line in said.splitlines())}

    async def fetch(self, refspec: str, *, is_first: bool = False) -> None:
        # What is cut off is not kept, so the first fetch, which brings everything, gets longer:
        # else a large repository would never arrive.
        limit = self.time_limit * (FIRST_FETCH_FACTOR if is_first else 1)
        options = ("--quiet", "--force", "--no-tags", "--no-write-fetch-head")
        await self._run(limit, "fetch", *options, "--", self.remote.url, refspec)

    async def _run(self, limit: timedelta, *arguments: str) -> str:
        settings = [word for setting in SETTINGS for word in ("-c", setting)]
        command = ["git", f"--git-dir={self.folder}", *settings, *arguments]
        starting = asyncio.ensure_future(asyncio.to_thread(_start, command, environment(os.environ)))
        try:
            child = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # It takes milliseconds; a child that nobody knows would outlive us.
            await asyncio.wait([starting])
            if starting.exception() is None:
                with starting.result() as child:
                    _kill(child)
            raise
        except FileNotFoundError as error:
            raise Misconfigured("the program 'git' is not installed", hint="apt install git") from error
        listening = asyncio.ensure_future(asyncio.to_thread(_listen, child))
        try:
            async with asyncio.timeout(limit.total_seconds()):
                out, err = await asyncio.shield(listening)
        except TimeoutError as error:
            late = f"not finished within {limit.total_seconds():g} s"
            raise Unavailable(f"could not fetch {self.remote}: {late}") from error
        finally:
            if not listening.done():
                # Its end closes the pipes, and so the thread ends too.
                _kill(child)
                await asyncio.wait([listening])
        if child.returncode != 0:
            raise Unavailable(f"could not fetch {self.remote}: {clean(err, self.remote.url)}")
        return out


def _start(command: list[str], variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the child in a session of its own: no terminal to ask on, and one group to kill.

    Not through the event loop: that would fork, which copies the tables of all our memory and holds the
    loop meanwhile (10 % of the control plane's time under steady commits). This does not.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=variables,
        start_new_session=True,
    )


def _listen(child: subprocess.Popen[bytes]) -> tuple[str, str]:
    """What the child says until it ends, on both pipes at once.

    The first megabyte of each is kept; the rest is read and dropped, so that the child is never blocked.
    """
    out, err = bytearray(), bytearray()
    with selectors.DefaultSelector() as ready, child:
        for pipe, kept in ((child.stdout, out), (child.stderr, err)):
            if pipe is not None:
                ready.register(pipe, selectors.EVENT_READ, kept)
        while ready.get_map():
            for key, _ in ready.select():
                if chunk := os.read(key.fd, 1 << 16):
                    key.data.extend(chunk[: OUTPUT_MAX - len(key.data)])
                else:
                    ready.unregister(key.fileobj)
    return out.decode(errors="replace"), err.decode(errors="replace")


def _kill(child: subprocess.Popen[bytes]) -> None:
    """The whole session goes: ssh, remote helpers and maintenance are children of the child."""
    with contextlib.suppress(ProcessLookupError):  # nobody of the session is left
        os.killpg(child.pid, signal.SIGKILL)
