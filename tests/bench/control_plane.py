"""The control plane under measurement: a process of its own, and what it says of itself."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from mesh.clock import Clock
from mesh.errors import Unavailable
from reconciler.demo.control_plane import MESHWRIGHT, Ports, admin_socket
from reconciler.demo.processes import Processes, Program, ours
from tests.bench.usage import Usage, usage

# Nothing is looked for by time: every change is announced, as a Git host's webhook does it.
_POLL_S = 3600
_BEAT = timedelta(milliseconds=20)
_ASK_S = 30.0


@dataclass(frozen=True, slots=True)
class Metrics:
    """One reading of ``/metrics``: samples by name and labels."""

    samples: Mapping[tuple[str, tuple[tuple[str, str], ...]], float]

    def value(self, name: str) -> float:
        """Of a metric without labels."""
        if (name, ()) not in self.samples:
            raise Unavailable(f"the control plane has no metric {name}")
        return self.samples[name, ()]

    def by(self, label: str, name: str) -> dict[str, float]:
        """Of every child of a metric, by one label."""
        return {dict(labels)[label]: value for (of, labels), value in self.samples.items() if of == name}


@dataclass(slots=True)
class ControlPlane:
    """A running control plane. Owned by the task that measures."""

    program: Program
    ports: Ports
    clock: Clock
    _admin: aiohttp.ClientSession = field(repr=False)
    _public: aiohttp.ClientSession = field(repr=False)

    def usage(self) -> Usage:
        return usage(self.program.process.pid)

    async def poll(self) -> None:
        """Have it look at the repository now. Returns as soon as it has heard."""
        await self._ask(self._admin, "POST", "http://meshwright/poll")

    async def metrics(self) -> Metrics:
        text = await self._ask(self._public, "GET", f"http://127.0.0.1:{self.ports.metrics}/metrics")
        return Metrics(
            {
                (sample.name, tuple(sorted(sample.labels.items()))): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
        )

    async def until_ready(self, within: timedelta) -> None:
        """Return when ``/ready`` says yes."""
        ends, reason = self.clock.monotonic() + within.total_seconds(), ""
        while self.clock.monotonic() < ends:
            if self.program.process.returncode is not None:
                raise Unavailable(
                    f"the control plane ended with status {self.program.process.returncode}",
                    hint=f"its last words are in {self.program.log}",
                )
            try:
                await self._ask(self._public, "GET", f"http://127.0.0.1:{self.ports.metrics}/ready")
            except Unavailable as error:
                reason = str(error)
                await self.clock.sleep(_BEAT)
            else:
                return
        raise Unavailable(
            f"the control plane was not ready after {within.total_seconds():g} s: {reason}",
            hint=f"its log is {self.program.log}",
        )

    async def stop(self, within: timedelta) -> None:
        """SIGTERM, and until it has ended."""
        self.program.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self.program.process.wait()
        except TimeoutError:
            raise Unavailable(
                f"the control plane did not end within {within.total_seconds():g} s of SIGTERM",
                hint=f"its log is {self.program.log}",
            ) from None

    async def _ask(self, session: aiohttp.ClientSession, method: str, url: str) -> str:
        try:
            async with asyncio.timeout(_ASK_S), session.request(method, url) as response:
                text = await response.text()
                if response.status >= 300:
                    raise Unavailable(f"{method} {url} was answered with {response.status}: {text.strip()}")
                return text
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"the control plane did not answer {method} {url}: {error!r}") from error


@asynccontextmanager
async def serving(
    url: str, state: Path, ports: Ports, processes: Processes, clock: Clock
) -> AsyncIterator[ControlPlane]:
    """A control plane that serves the repository at ``url``; ended with ``processes``."""
    options = {
        "--repo": url,
        "--branch": "main",
        "--state": state,
        "--listen-address": "127.0.0.1",
        "--token-port": ports.token,
        "--xds-port": ports.xds,
        "--est-port": ports.est,
        "--metrics-port": ports.metrics,
        "--poll": _POLL_S,
    }
    words = [str(word) for pair in options.items() for word in pair]
    program = await processes.start(
        "control-plane", *MESHWRIGHT, "serve", *words, folder=state.parent, environment=ours()
    )
    connector = aiohttp.UnixConnector(path=str(admin_socket(state)))
    async with aiohttp.ClientSession(connector=connector) as admin, aiohttp.ClientSession() as public:
        yield ControlPlane(program, ports, clock, admin, public)
