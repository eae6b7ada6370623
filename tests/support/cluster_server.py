"""A Kubernetes API server over real HTTP, for faults that the real one does not show on demand.

It knows lists in pages, watches with bookmarks, and versions that get too old. The contract tests in
``tests/integration/test_kubernetes_contract.py`` hold it to what the real one does.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from registries.kubernetes.access import Credentials, Server
from tests.support.cluster_objects import Object

PATHS = {
    "service": "/api/v1/services",
    "slice": "/apis/discovery.k8s.io/v1/endpointslices",
    "pod": "/api/v1/pods",
    "node": "/api/v1/nodes",
    "namespace": "/api/v1/namespaces",
}
Fault = Callable[[web.Request], web.StreamResponse | None]


@dataclass(slots=True, eq=False)
class Watch:
    """One open watch."""

    path: str
    response: web.StreamResponse
    request: web.Request
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _Shelf:
    """The objects of one path, and what happened to them."""

    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    events: list[tuple[int, bytes]] = field(default_factory=list)


class ClusterServer:
    """Owned by the test that runs it. ``asked`` is what it was asked, in order."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.tokens: set[str] = set()
        """Who may ask; empty: everybody."""
        self.faults: list[Fault] = []
        """Asked before anything else; the first answer holds."""
        self.holds: dict[str, asyncio.Event] = {}
        """Paths of which nothing is answered before the event."""
        self.reviews: Callable[[Object], Object] = lambda review: {"status": {"authenticated": False}}
        self._shelves: defaultdict[str, _Shelf] = defaultdict(_Shelf)
        self._pages: dict[str, tuple[int, list[Object]]] = {}
        self._version = 100
        self._oldest = 0
        self._watches: list[Watch] = []
        self._runner: web.AppRunner | None = None
        self._is_awake = asyncio.Event()
        self._is_awake.set()
        self.port = 0

    @property
    def credentials(self) -> Credentials:
        return Credentials(server=Server(url=f"http://127.0.0.1:{self.port}"))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """On the same port as before, if there was one."""
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        """Gone, as if killed: streams break, and nobody listens."""
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def suspend(self) -> None:
        """It takes connections and questions, and answers nothing."""
        self._is_awake.clear()

    # What happens in the cluster

    async def put(self, kind: str, *items: Object) -> None:
        for item in items:
            shelf, key = self._shelves[PATHS[kind]], _key(item)
            await self._happen(kind, "MODIFIED" if key in shelf.objects else "ADDED", item)
            shelf.objects[key] = item

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        item = self._shelves[PATHS[kind]].objects.pop((namespace, name))
        await self._happen(kind, "DELETED", item)

    def has(self, kind: str, namespace: str, name: str) -> bool:
        return (namespace, name) in self._shelves[PATHS[kind]].objects

    async def bookmark(self, kind: str) -> None:
        self._version += 1
        await self.say(kind, _line("BOOKMARK", {"metadata": {"resourceVersion": str(self._version)}}))

    async def say(self, kind: str, raw: bytes) -> None:
        """Exactly these bytes, on every watch of the kind."""
        for watch in [one for one in self._watches if one.path == PATHS[kind]]:
            await watch.response.write(raw)

    def compact(self) -> None:
        """Whatever happened before now is forgotten."""
        self._oldest = self._version
        self._pages.clear()

    def cut(self, kind: str | None = None) -> None:
        """Break the connections of watches."""
        for watch in self._gone(kind):
            if watch.request.transport is not None:
                watch.request.transport.abort()
            watch.is_over.set()

    def end(self, kind: str) -> None:
        """Let watches end in good order, as at their time limit."""
        for watch in self._gone(kind):
            watch.is_over.set()

    def _gone(self, kind: str | None) -> list[Watch]:
        """Watches that nothing is told any more."""
        gone = [one for one in self._watches if kind is None or one.path == PATHS[kind]]
        self._watches = [one for one in self._watches if one not in gone]
        return gone

    def watches(self, kind: str) -> int:
        return sum(1 for one in self._watches if one.path == PATHS[kind])

    def lists(self, kind: str) -> int:
        """How often a list was begun."""
        return sum(
            1
            for path, query in self.asked
            if path == PATHS[kind] and not query.keys() & {"watch", "continue"}
        )

    def watched_from(self, kind: str) -> list[str]:
        return [
            query["resourceVersion"] for path, query in self.asked if path == PATHS[kind] and "watch" in query
        ]

    @property
    def version(self) -> str:
        return str(self._version)

    async def _happen(self, kind: str, what: str, item: Object) -> None:
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        line = _line(what, item)
        self._shelves[PATHS[kind]].events.append((self._version, line))
        await self.say(kind, line)

    # HTTP

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, dict(request.query)))
        await self._is_awake.wait()
        if (held := self.holds.get(request.path)) is not None:
            await held.wait()
        for fault in self.faults:
            if (refused := fault(request)) is not None:
                return refused
        if (
            self.tokens
            and request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens
        ):
            return status(401, "Unauthorized")
        if request.method == "POST":
            return web.json_response(self.reviews(await request.json()), status=201)
        if "watch" in request.query:
            return await self._watch(request)
        return self._list(request)

    def _list(self, request: web.Request) -> web.Response:
        limit = int(request.query.get("limit", "500"))
        if token := request.query.get("continue"):
            if token not in self._pages:
                return status(410, "The provided continue parameter is too old")
            version, items = self._pages.pop(token)
        else:
            version, items = self._version, list(self._shelves[request.path].objects.values())
        metadata = {"resourceVersion": str(version)}
        if items[limit:]:
            metadata["continue"] = f"page-{len(self.asked)}"
            self._pages[metadata["continue"]] = version, items[limit:]
        return web.json_response({"kind": "List", "metadata": metadata, "items": items[:limit]})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        since = int(request.query["resourceVersion"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if since < self._oldest:
            await response.write(_line("ERROR", _status(410, f"too old resource version: {since}")))
            return response
        watch = Watch(request.path, response, request)
        for version, line in self._shelves[request.path].events:
            if version > since:
                await response.write(line)
        self._watches.append(watch)
        try:
            await watch.is_over.wait()
        finally:
            if watch in self._watches:
                self._watches.remove(watch)
        return response


def status(code: int, message: str, **headers: str) -> web.Response:
    """A refusal in the API's own form."""
    return web.json_response(_status(code, message), status=code, headers=headers)


def _status(code: int, message: str) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _line(what: str, item: Any) -> bytes:
    return json.dumps({"type": what, "object": item}).encode() + b"\n"
