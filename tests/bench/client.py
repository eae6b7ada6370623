"""The native load client: built on the spot, started, told what to wait for.

The client is C because what it stands for, a fleet of Envoys, must cost far less than the server that
is measured. Its events and commands are described at the top of ``load/load.c``; here each becomes a
value. Whoever starts it stops it: :func:`running` kills the process on every way out.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from mesh.errors import Misconfigured, Unavailable

_SOURCES = Path(__file__).with_name("load")
_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")
# One number for each stream.
_LINE_MAX = 1 << 21
_LIBRARIES = ("-lssl", "-lcrypto")


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """All streams have what they asked for. ``took``: seconds from each stream's own connect."""

    streams: int
    began: float
    ended: float
    responses: int
    resources: int
    bytes: int
    closed: int
    took: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What came after a change. Times are of the monotonic clock; ``names`` are the resources', 16 at most.

    ``None``: nobody was sent anything.
    """

    streams: int
    responses: int
    resources: int
    removed: int
    bytes: int
    names: tuple[str, ...]
    first: float | None = None
    p50: float | None = None
    p99: float | None = None
    last: float | None = None


def build(cache: Path) -> Path:
    """The client's binary, compiled unless these very sources already were.

    :raises Misconfigured: when the compiler or the headers of OpenSSL are missing, with the cure.
    """
    sources = sorted(_SOURCES.glob("*.[ch]"))
    digest = hashlib.blake2b(repr(_FLAGS).encode(), digest_size=8)
    for source in sources:
        digest.update(source.read_bytes())
    binary = cache / f"load-{digest.hexdigest()}"
    if binary.exists():
        return binary
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise Misconfigured("no C compiler for the load client", hint="sudo apt-get install gcc libc6-dev")
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = binary.with_suffix(".new")
    code = [str(source) for source in sources if source.suffix == ".c"]
    made = subprocess.run(
        [compiler, *_FLAGS, *code, "-o", str(unfinished), *_LIBRARIES],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if made.returncode:
        hint = made.stderr.strip()
        if "openssl/" in made.stderr or "-lssl" in made.stderr:
            hint = "sudo apt-get install libssl-dev"
        raise Misconfigured(f"could not compile the load client in {_SOURCES}", hint=hint)
    for outdated in cache.glob("load-*[0-9a-f]"):
        outdated.unlink()
    unfinished.rename(binary)
    return binary


class LoadClient:
    """One running client. Owned by one task: it is asked one thing at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.events: list[dict[str, Any]] = []
        """What it told beside the answers: streams that were closed, and single responses if traced."""

    @property
    def pid(self) -> int:
        return self._process.pid

    async def current(self, within: timedelta) -> Current:
        """The next time that every stream is current."""
        event = await self._event("current", within)
        values = {name: event[name] for name in Current.__slots__}
        return Current(**{**values, "took": tuple(event["took"])})

    async def begin(
        self,
        label: str,
        *,
        streams: int,
        type_name: str = "any",
        quiet: timedelta = timedelta(milliseconds=100),
    ) -> float:
        """Open a round; the moment from which responses are counted."""
        await self._tell(f"round {label} {streams} {type_name} {int(quiet.total_seconds() * 1000)}")
        return float((await self._event("begun", timedelta(seconds=10)))["at"])

    async def end(self, within: timedelta) -> Round:
        """The round, once as many streams as expected have acknowledged something and it is quiet."""
        return _round(await self._event("round", within))

    async def count(self) -> Round:
        """The round as it stands."""
        await self._tell("count")
        return _round(await self._event("round", timedelta(seconds=10)))

    async def reconnect(self) -> None:
        """Every stream goes, and comes back with the versions it holds."""
        await self._tell("reconnect")

    async def _tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        await self._process.stdin.drain()

    async def _event(self, kind: str, within: timedelta) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(within.total_seconds()):
                while line := await self._process.stdout.readline():
                    event: dict[str, Any] = json.loads(line)
                    if event["event"] == kind:
                        return event
                    self.events.append(event)
        except TimeoutError:
            limit = f"within {within.total_seconds():g} s"
            raise Unavailable(
                f"load client did not report {kind!r} {limit}{self._last_closed()}",
                hint="see the log of the control plane",
            ) from None
        raise Unavailable(f"load client ended while waiting for {kind!r}{self._last_closed()}")

    def _last_closed(self) -> str:
        reasons = [event["reason"] for event in self.events if event["event"] == "closed"]
        return f"; last stream closed: {reasons[-1]}" if reasons else ""


def _round(event: dict[str, Any]) -> Round:
    values: dict[str, Any] = {name: event.get(name) for name in Round.__slots__}
    return Round(**{**values, "names": tuple(event["names"])})


@asynccontextmanager
async def running(
    binary: Path, *arguments: str | Path | int, trace: bool = False
) -> AsyncIterator[LoadClient]:
    """The client, until the block is left. Its standard error is ours."""
    words: Sequence[str] = [str(argument) for argument in arguments]
    process = await asyncio.create_subprocess_exec(
        str(binary), *words, *(["--trace"] if trace else []),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE_MAX,
    )  # fmt: skip
    try:
        yield LoadClient(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
