"""One run of the benchmark: a control plane, a fleet, and one thing after another done to them.

Every wait is bounded by the plan's ``limit``, and whatever was started is ended on every way out.
Progress goes to standard error; the answer is the :class:`Report`.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from mesh.clock import Clock
from mesh.errors import Unavailable
from reconciler.demo.control_plane import Ports
from reconciler.demo.processes import Processes
from reconciler.demo.repository import Repository
from tests.bench import client, meshes
from tests.bench.client import LoadClient
from tests.bench.control_plane import ControlPlane, Metrics, serving
from tests.bench.identities import Fleet
from tests.bench.meshes import Size
from tests.bench.report import Change, Connect, Memory, Report, Restart, Spread, machine
from tests.bench.usage import usage
from xds import names

CACHE = Path(__file__).parents[2] / ".cache" / "bench"
_IDLE = timedelta(seconds=3)
# A second push for the same commit would come within this time, and so fall into its round.
_QUIET = timedelta(milliseconds=150)

Edit = Callable[[Size, int], Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do, and how long any single part of it may take."""

    size: Size
    rounds: int = 20
    limit: timedelta = timedelta(seconds=120)


async def run(plan: Plan, folder: Path, clock: Clock) -> Report:
    """The whole benchmark, in an empty folder."""
    binary = client.build(CACHE)
    progress(f"issuing {plan.size.streams} certificates")
    fleet = Fleet(folder / "state", folder / "fleet", clock)
    fleet.enrol(meshes.proxies(plan.size))
    async with Processes(folder / "logs") as tools:
        repository = Repository(folder, tools, clock)
        # Nobody listens at this bell: it is rung at the moment from which time is counted.
        await repository.create(bell=folder / "bell")
        await repository.push(meshes.files(plan.size), "the mesh")
        return await _Bench(plan, folder, repository, clock).run(binary, fleet)


class _Bench:
    """The parts of a run, in order. Owned by the one task that measures."""

    def __init__(self, plan: Plan, folder: Path, repository: Repository, clock: Clock) -> None:
        self._plan, self._folder, self._repository, self._clock = plan, folder, repository, clock
        self._ports = Ports.free()

    async def run(self, binary: Path, fleet: Fleet) -> Report:
        where = ("127.0.0.1", self._ports.xds, fleet.roots, fleet.streams, "--secret", names.TRUST_BUNDLE)
        async with self._control_plane() as control:
            ready_ms = await self._ready(control)
            async with client.running(binary, *where) as load:
                connect = await self._connect(control, load)
                connected = control.usage()
                endpoint_change = await self._changes(control, load, "eds", meshes.moved_endpoint)
                route_change = await self._changes(control, load, "rds", meshes.changed_route)
                changed, metrics = control.usage(), await control.metrics()
                idle = await self._idle(control)
                progress("restarting the control plane")
                await control.stop(self._plan.limit)
                async with self._control_plane() as again:
                    restart = await self._restart(again, load)
                    restarted = again.usage()
        return Report(
            size=self._plan.size,
            machine=machine(),
            ready_ms=ready_ms,
            connect=connect,
            endpoint_change=endpoint_change,
            route_change=route_change,
            idle_cpu_percent=idle,
            loop_stall_ms=_stall_ms(metrics),
            memory=Memory(
                connected_mb=round(connected.resident_mb, 1),
                changed_mb=round(changed.resident_mb, 1),
                max_mb=round(changed.resident_max_mb, 1),
                restarted_mb=round(restarted.resident_mb, 1),
            ),
            restart=restart,
        )

    @asynccontextmanager
    async def _control_plane(self) -> AsyncIterator[ControlPlane]:
        async with (
            Processes(self._folder / "logs") as processes,
            serving(
                self._repository.url, self._folder / "state", self._ports, processes, self._clock
            ) as control,
        ):
            yield control

    async def _ready(self, control: ControlPlane) -> float:
        progress("starting the control plane")
        began = self._clock.monotonic()
        await control.until_ready(self._plan.limit)
        return round((self._clock.monotonic() - began) * 1000, 1)

    async def _connect(self, control: ControlPlane, load: LoadClient) -> Connect:
        progress(f"connecting {self._plan.size.streams} streams")
        before = control.usage()
        current = await load.current(self._plan.limit)
        cpu = control.usage().cpu - before.cpu
        return Connect(
            each=Spread.of(current.took),
            all_ms=round((current.ended - current.began) * 1000, 1),
            resources=current.resources,
            bytes=current.bytes,
            cpu_ms_per_stream=round(cpu * 1000 / current.streams, 2),
            loop_stall_ms=_stall_ms(await control.metrics()),
        )

    async def _changes(self, control: ControlPlane, load: LoadClient, type_name: str, edit: Edit) -> Change:
        size, rounds = self._plan.size, self._plan.rounds
        progress(f"{rounds} commits of one line ({edit.__name__})")
        used, ran = control.usage(), _translations(await control.metrics())
        client_used = usage(load.pid).cpu
        last_acks, told = [], []
        for turn in range(rounds):
            await self._repository.push(edit(size, turn), f"{edit.__name__} {turn}")
            began = await load.begin(f"{type_name}-{turn}", streams=size.streams, quiet=_QUIET)
            await control.poll()
            seen = await load.end(self._plan.limit)
            if seen.last is None:
                raise Unavailable(f"nobody was sent anything after {edit.__name__} {turn}")
            last_acks.append(seen.last - began)
            told.append(seen)
        now_used, now_ran = control.usage(), _translations(await control.metrics())
        deliveries = sum(one.responses for one in told)
        return Change(
            rounds=rounds,
            to_last_ack=Spread.of(last_acks),
            streams=max(one.streams for one in told),
            deliveries=deliveries,
            resources_per_delivery=sum(one.resources for one in told) / deliveries,
            bytes_per_delivery=sum(one.bytes for one in told) // deliveries,
            cpu_us_per_delivery=round((now_used.cpu - used.cpu) * 1e6 / deliveries),
            client_cpu_us_per_delivery=round((usage(load.pid).cpu - client_used) * 1e6 / deliveries),
            cpu_ms_per_round=round((now_used.cpu - used.cpu) * 1000 / rounds, 1),
            children_cpu_ms_per_round=round((now_used.children - used.children) * 1000 / rounds, 1),
            translations={
                function: (times - ran.get(function, 0)) / rounds
                for function, times in sorted(now_ran.items())
                if times != ran.get(function, 0)
            },
        )

    async def _idle(self, control: ControlPlane) -> float:
        progress("idling")
        before = control.usage()
        await self._clock.sleep(_IDLE)
        spent = control.usage().cpu - before.cpu
        return round(100 * spent / _IDLE.total_seconds(), 1)

    async def _restart(self, again: ControlPlane, load: LoadClient) -> Restart:
        began = self._clock.monotonic()
        ready_ms = await self._ready(again)
        current = await load.current(self._plan.limit)
        return Restart(
            ready_ms=ready_ms,
            all_current_ms=round((current.ended - began) * 1000, 1),
            resources=current.resources,
            bytes=current.bytes,
        )


def progress(text: str) -> None:
    """A line for the person who waits."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


def _stall_ms(metrics: Metrics) -> float:
    return round(metrics.value("meshwright_loop_stall_seconds_max") * 1000, 1)


def _translations(metrics: Metrics) -> dict[str, float]:
    return metrics.by("function", "meshwright_translations_total")
