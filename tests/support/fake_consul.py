"""A Consul over real HTTP that breaks in every way a test asks for. For faults and for counting.

It knows four paths, blocks on indexes as Consul does, and keeps one index per service.
``tests/integration/test_consul_indexes.py`` holds it and the real one to the same.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Entry = dict[str, Any]
Fault = Callable[[web.Request], web.Response | None]
_WAIT_MAX_S = 5.0


def an_entry(
    node: str, service_id: str, name: str, *, port: int = 80, status: str = "passing", **service: Any
) -> Entry:
    """An instance as ``health/service`` shows it: its address is the node's unless one is given."""
    own = {"Node": node, "CheckID": f"service:{service_id}", "Status": status}
    return {
        "Node": {"Node": node, "Address": "10.9.0.1", "Datacenter": "dc1", "ModifyIndex": 1, "Meta": None},
        "Service": {"ID": service_id, "Service": name, "Port": port, "Tags": None, "Meta": None, **service},
        "Checks": [{**own, "ServiceName": name, "ServiceID": service_id}],
    }


@dataclass(slots=True)
class FakeConsul:
    """Owned by its test."""

    index: int = 10
    url: str = ""
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    """By the beginning of a path: what is answered there instead, if anything."""
    is_stuck: bool = False
    """Takes requests and answers none."""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    _indexes: dict[str, int] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, entry: Entry) -> None:
        """Register an instance, or change it."""
        service = entry["Service"]
        before = self.entries.get((entry["Node"]["Node"], service["ID"]))
        self.entries[entry["Node"]["Node"], service["ID"]] = entry
        is_registration = before is None or before["Service"] != service
        of = ["services"] if is_registration else []
        if (before["Checks"] if before else []) != entry["Checks"]:
            of.append("checks")
        if before is None or before["Node"] != entry["Node"]:
            of.append("nodes")
        self._move(service["Service"], *of)

    def remove(self, node: str, service_id: str) -> None:
        entry = self.entries.pop((node, service_id))
        self._move(entry["Service"]["Service"], "services", "checks")

    def start_over(self, index: int) -> None:
        """As a server does whose data is gone: every index is this one."""
        self.index = index
        self._indexes = dict.fromkeys(self._indexes, index)
        self._wake()

    def count(self, beginning: str) -> int:
        return sum(path.startswith(beginning) for path, _ in self.asked)

    def counts(self) -> Counter[str]:
        """Requests by kind; probes are those whose filter leaves the body empty."""
        return Counter(
            "probe" if "Service.ID" in query.get("filter", "") else path for path, query in self.asked
        )

    def _move(self, *of: str) -> None:
        self.index += 1
        self._indexes.update(dict.fromkeys(of, self.index))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, dict(request.query)))
        self.headers.append(dict(request.headers))
        if self.is_stuck:
            await asyncio.Event().wait()
        for beginning, fault in list(self.faults.items()):
            if request.path.startswith(beginning) and (instead := fault(request)) is not None:
                return instead
        kind, _, name = request.path.removeprefix("/v1/").rpartition("/")
        of = {"catalog": name, "health/state": "checks", "health/service": name}[kind]
        after = int(request.query.get("index", 0))
        if after:
            await self._newer_than(after, of, request.query["wait"])
        body = self._body(kind, name)
        if request.query.get("filter", "").startswith("Service.ID"):
            body = []
        return web.json_response(body, headers={"X-Consul-Index": str(self._indexes.get(of, self.index))})

    async def _newer_than(self, after: int, of: str, wait: str) -> None:
        try:
            async with asyncio.timeout(min(float(wait.removesuffix("ms")) / 1000, _WAIT_MAX_S)):
                while self._indexes.get(of, self.index) == after:
                    await self._changed.wait()
        except TimeoutError:
            return

    def _body(self, kind: str, name: str) -> Any:
        entries = [self.entries[key] for key in sorted(self.entries)]
        match kind, name:
            case "catalog", "services":
                found = {entry["Service"]["Service"]: entry["Service"]["Tags"] or [] for entry in entries}
                return {"consul": [], **found}
            case "catalog", _:
                return [entry["Node"] for entry in entries]
            case "health/state", _:
                return [
                    check for entry in entries for check in entry["Checks"] if check["Status"] != "passing"
                ]
            case _:
                return [entry for entry in entries if entry["Service"]["Service"].lower() == name]


@asynccontextmanager
async def fake_consul() -> AsyncIterator[FakeConsul]:
    fake = FakeConsul()
    application = web.Application()
    application.router.add_get("/v1/{rest:.*}", fake.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    fake.url = f"http://{host}:{port}"
    try:
        yield fake
    finally:
        await runner.cleanup()


def refusing(status: int, text: str) -> Fault:
    return lambda _: web.Response(status=status, text=text)


def showing(body: Any, index: int, **headers: str) -> Fault:
    """Another body or index than the true ones, at once."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: web.json_response(body, headers={"X-Consul-Index": str(index), **named})
