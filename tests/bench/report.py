"""What was measured, as values, as a table and as JSON.

Times are milliseconds unless a name says otherwise. Quantiles are of the nearest rank.
"""

from __future__ import annotations

import json
import math
import os
import platform
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Self

from tests.bench.meshes import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a time was distributed."""

    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        ranked = sorted(seconds)
        p50, p99 = (ranked[math.ceil(share * len(ranked)) - 1] for share in (0.5, 0.99))
        return cls(p50=_ms(p50), p99=_ms(p99), max=_ms(ranked[-1]))

    def __str__(self) -> str:
        return f"p50 {self.p50:g} ms, p99 {self.p99:g} ms, max {self.max:g} ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """The fleet's first connection to a control plane that has just become ready.

    ``each`` is from a stream's own connect to its last resource, ``all_ms`` from the first connect to
    the last resource of all.
    """

    each: Spread
    all_ms: float
    resources: int
    bytes: int
    cpu_ms_per_stream: float
    loop_stall_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One small commit, again and again. ``to_last_ack`` is from the bell after the push.

    ``streams`` is how many were sent something each time; ``translations`` how often each function of
    translation ran per commit. CPU is the control plane's own; its children (they fetch) stand apart.
    """

    rounds: int
    to_last_ack: Spread
    streams: int
    deliveries: int
    resources_per_delivery: float
    bytes_per_delivery: int
    cpu_us_per_delivery: int
    client_cpu_us_per_delivery: int
    cpu_ms_per_round: float
    children_cpu_ms_per_round: float
    translations: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """The control plane is ended and started again while the fleet keeps trying to reconnect.

    ``ready_ms`` and ``all_current_ms`` are from the start of the new process. ``resources`` should be 0.
    """

    ready_ms: float
    all_current_ms: float
    resources: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Resident megabytes of the control plane: connected, after the changes, at most; and once restarted."""

    connected_mb: float
    changed_mb: float
    max_mb: float
    restarted_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that one run found. ``broken`` are the promises that did not hold."""

    size: Size
    machine: Mapping[str, str | int]
    ready_ms: float
    connect: Connect
    endpoint_change: Change
    route_change: Change
    idle_cpu_percent: float
    loop_stall_ms: float
    memory: Memory
    restart: Restart

    @property
    def broken(self) -> tuple[str, ...]:
        return tuple(_broken(self))

    def as_json(self) -> str:
        return json.dumps({"ok": not self.broken, "broken": self.broken, **asdict(self)}, indent=2)

    def as_table(self) -> str:
        rows = list(_rows(self))
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {value}" for name, value in rows]
        return "\n".join([*lines, *(f"BROKEN: {promise}" for promise in self.broken)])


def machine() -> dict[str, str | int]:
    """Where it was measured."""
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpus[0].partition(":")[2].strip() if cpus else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        **{name: metadata.version(name) for name in ("grpcio", "protobuf", "uvloop")},
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _broken(report: Report) -> Iterator[str]:
    if report.endpoint_change.resources_per_delivery != 1:
        yield "one endpoint's change sends each stream one resource"
    if report.route_change.resources_per_delivery != 1:
        yield "one route's change sends each stream one resource"
    if report.restart.resources:
        yield "a restart sends nothing that proxies already have"


def _rows(report: Report) -> Iterator[tuple[str, str]]:
    size, connect, memory, restart = report.size, report.connect, report.memory, report.restart
    yield "mesh", f"{size.services} services x {size.endpoints} endpoints, {size.workloads} workloads"
    yield "", f"in {size.namespaces} namespaces, {size.streams} streams over mutual TLS"
    yield "machine", f"{report.machine['cores']} cores, {report.machine['cpu']}"
    yield "", f"Python {report.machine['python']}, grpcio {report.machine['grpcio']}"
    yield "start to ready", f"{report.ready_ms:g} ms"
    yield "connect to current", f"{connect.each}; the whole fleet {connect.all_ms:g} ms"
    yield "", f"{connect.resources} resources, {connect.bytes / 1e6:.1f} MB"
    yield "", f"{connect.cpu_ms_per_stream:g} ms of CPU per stream"
    for name, change in (("endpoint", report.endpoint_change), ("VirtualService", report.route_change)):
        yield f"{name} change to last ACK", f"{change.to_last_ack} ({change.rounds} commits)"
        yield "", f"{change.streams} streams, {change.bytes_per_delivery} bytes each"
        yield (
            "",
            f"{change.cpu_us_per_delivery} us of CPU per push ({change.cpu_ms_per_round:g} ms per commit)",
        )
        yield "", f"{change.client_cpu_us_per_delivery} us of the client's CPU per push"
        ran = ", ".join(f"{function} {times:g}" for function, times in change.translations.items())
        yield "", f"translations per commit: {ran or 'none'}"
    yield (
        "longest stall of the loop",
        f"{report.loop_stall_ms:g} ms ({connect.loop_stall_ms:g} until connected)",
    )
    yield "idle", f"{report.idle_cpu_percent:g} % of a core"
    yield (
        "resident memory",
        f"{memory.connected_mb:g} MB connected, {memory.changed_mb:g} MB after the changes",
    )
    yield "", f"{memory.max_mb:g} MB at most, {memory.restarted_mb:g} MB once restarted"
    yield "restart", f"ready after {restart.ready_ms:g} ms, all current after {restart.all_current_ms:g} ms"
    yield "", f"{restart.resources} resources sent again, {restart.bytes} bytes"
