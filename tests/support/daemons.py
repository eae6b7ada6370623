"""``meshwright serve`` as a process: started, asked, ended, and started again at the same ports.

Nothing is known of it but what any operator knows: its commands, its ports, its log and what it says
of itself. Every wait has an end, and every program ends with the block that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from mesh.clock import SystemClock
from reconciler.demo.control_plane import MESHWRIGHT, ControlPlane, Ports, admin_socket
from reconciler.demo.processes import Processes, Program, ours

T = TypeVar("T")

LIMIT_S = 30.0
_BEAT = timedelta(milliseconds=20)
_ASK = aiohttp.ClientTimeout(total=5)


class Unanswered(AssertionError):
    """What was waited for did not come."""


async def until(awaited: str, found: Callable[[], Awaitable[T | None]], limit_s: float = LIMIT_S) -> T:
    """The first thing that ``found`` finds; ``None`` and ``False`` are nothing."""
    clock = SystemClock()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            while not (it := await found()):
                await clock.sleep(_BEAT)
            return it
    raise Unanswered(f"waited {limit_s:g} s for {awaited}")


@dataclass(frozen=True, slots=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str


async def meshwright(*words: object, limit_s: float = LIMIT_S) -> Said:
    """Run one command of ours to its end."""
    process = await asyncio.create_subprocess_exec(
        *MESHWRIGHT,
        *(str(word) for word in words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=ours(),
    )
    try:
        async with asyncio.timeout(limit_s):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Said(process.returncode or 0, out.decode(), err.decode())


class NamedProcesses(Processes):
    """Remembers its programs by name, so that a test can hurt one of them."""

    def __init__(self, logs: Path) -> None:
        super().__init__(logs)
        self.named: dict[str, Program] = {}

    async def start(self, name: str, *command: Any, **words: Any) -> Program:
        program = await super().start(name, *command, **words)
        self.named[name] = program
        return program


class Daemon:
    """The control plane of one state directory. Owned by the test that runs it."""

    def __init__(self, url: str, state: Path, processes: NamedProcesses) -> None:
        self.url, self.state = url, state
        self.ports = Ports.free()
        self.processes = processes
        self.program: Program | None = None

    async def start(self, *more: object) -> Program:
        """Start it; ``more`` are further options, which win over ours."""
        options = {
            "--repo": self.url,
            "--state": self.state,
            "--listen-address": "127.0.0.1",
            "--token-port": self.ports.token,
            "--xds-port": self.ports.xds,
            "--est-port": self.ports.est,
            "--metrics-port": self.ports.metrics,
            "--poll": 0.5,
        }
        words = [str(word) for word in (*(word for pair in options.items() for word in pair), *more)]
        self.program = await self.processes.start(
            "control-plane", *MESHWRIGHT, "serve", *words, folder=self.state.parent, environment=ours()
        )
        return self.program

    @property
    def is_running(self) -> bool:
        return self.program is not None and self.program.process.returncode is None

    async def end(self, number: signal.Signals = signal.SIGTERM, limit_s: float = 10.0) -> int:
        """Send a signal; the exit code."""
        assert self.program is not None
        self.program.process.send_signal(number)
        return await self.ended(limit_s)

    async def ended(self, limit_s: float = LIMIT_S) -> int:
        """Wait until it ends by itself; the exit code."""
        assert self.program is not None
        async with asyncio.timeout(limit_s):
            return await self.program.process.wait()

    @property
    def log(self) -> str:
        """All it ever wrote, over all its lives."""
        assert self.program is not None
        return self.program.log.read_text()

    async def until_ready(self) -> None:
        async def is_ready() -> bool:
            assert self.program is not None
            if self.program.process.returncode is not None:
                raise Unanswered(f"the control plane ended: {self.log[-2000:]}")
            return (await self.ready())[0] == 200

        await until("the control plane to be ready", is_ready)

    async def ready(self) -> tuple[int, str]:
        """``/ready``: status and text; 0 when nobody answers."""
        try:
            async with self._public() as session, session.get("/ready") as response:
                return response.status, await response.text()
        except aiohttp.ClientConnectionError:
            return 0, ""

    async def metrics(self) -> dict[str, float]:
        """Every sample, named as Prometheus writes it: ``name{label="value"}``."""
        async with self._public() as session, session.get("/metrics") as response:
            text = await response.text()
        return {
            sample.name + _labels(sample.labels): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def pushes(self) -> dict[str, float]:
        """Responses written since it started, by type; types without any are left out."""
        name = "pilot_xds_pushes"
        return {
            key.removeprefix(f'{name}{{type="').removesuffix('"}'): value
            for key, value in (await self.metrics()).items()
            if key.startswith(name) and value
        }

    async def status(self) -> dict[str, Any] | None:
        """``meshwright status --output json``; ``None`` when nobody answers."""
        return await self.ask("/status")

    async def proxies(self) -> dict[str, Any]:
        """``meshwright proxies --output json``, by name."""
        answer = await self.ask("/proxies") or {"proxies": []}
        return {row["name"]: row for row in answer["proxies"]}

    async def ask(self, path: str) -> Any:
        connector = aiohttp.UnixConnector(path=str(admin_socket(self.state)))
        try:
            async with (
                aiohttp.ClientSession("http://meshwright", connector=connector, timeout=_ASK) as session,
                session.get(path) as response,
            ):
                return await response.json()
        except (aiohttp.ClientConnectionError, FileNotFoundError):
            return None

    async def until_status(
        self, awaited: str, holds: Callable[[dict[str, Any]], object], limit_s: float = LIMIT_S
    ) -> dict[str, Any]:
        """The first status that is as awaited."""

        async def found() -> dict[str, Any] | None:
            status = await self.status()
            return status if status is not None and holds(status) else None

        try:
            return await until(awaited, found, limit_s)
        except Unanswered as error:
            raise Unanswered(f"{error}; it says {await self.status()}") from None

    @asynccontextmanager
    async def as_demo(self) -> AsyncIterator[ControlPlane]:
        """The same as the demo's machines know it."""
        connector = aiohttp.UnixConnector(path=str(admin_socket(self.state)))
        async with aiohttp.ClientSession(connector=connector) as session:
            yield ControlPlane(self.state, self.ports, self.processes, SystemClock(), session)

    def _public(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(f"http://127.0.0.1:{self.ports.metrics}", timeout=_ASK)


def _labels(labels: dict[str, str]) -> str:
    said = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"{{{said}}}" if said else ""


def is_live(status: dict[str, Any], commit: str, proxies: int) -> bool:
    """Whether that many proxies are connected and each has acknowledged the commit."""
    live = status["live"]
    return bool((live["revision"], live["acknowledged"], live["connected"]) == (commit, proxies, proxies))


def running_in(folder: Path) -> list[str]:
    """The command lines of processes that have to do with a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found
