"""Health, readiness, metrics; the unix socket the CLI talks to.

Two applications. What faces the network (15014) can only be read. The socket in the state directory is the
root of all administrative rights: its mode lets in nobody but the user the daemon runs as.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from mesh.errors import Misconfigured, Refused
from xds import envoy

TYPES = {
    "clusters": envoy.CLUSTER,
    "endpoints": envoy.ENDPOINTS,
    "listeners": envoy.LISTENER,
    "routes": envoy.ROUTES,
}


class Readiness:
    """What is still awaited, by name."""

    def __init__(self, *names: str) -> None:
        self._awaited = dict.fromkeys(names)

    @property
    def awaited(self) -> tuple[str, ...]:
        return tuple(self._awaited)

    def done(self, name: str) -> None:
        self._awaited.pop(name, None)


def public(registry: CollectorRegistry, readiness: Readiness) -> web.Application:
    """``/healthz``, ``/ready`` and ``/metrics``: read only, for anyone who can reach the port."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_request: web.Request) -> web.Response:
        if readiness.awaited:
            return web.Response(status=503, text=f"waiting for {', '.join(readiness.awaited)}\n")
        return web.Response(text="ready\n")

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/ready", ready)
    app.router.add_get("/metrics", metrics)
    return app


def private(
    *,
    status: Callable[[], dict[str, Any]],
    proxies: Callable[[], dict[str, Any]],
    resources: Callable[[str, str], list[dict[str, Any]] | None],
    poll: Callable[[], None],
    registries: Callable[[], dict[str, Any]],
    release: Callable[[str], dict[str, Any]],
) -> web.Application:
    """What the CLI asks over the socket. ``resources`` answers ``None`` for an unknown proxy.

    ``release`` raises :class:`~mesh.errors.Refused`.
    """

    async def tell_status(_request: web.Request) -> web.Response:
        return web.json_response(status())

    async def tell_proxies(_request: web.Request) -> web.Response:
        return web.json_response(proxies())

    async def tell_resources(request: web.Request) -> web.Response:
        name, kind = request.match_info["name"], request.match_info["kind"]
        if kind not in TYPES:
            return web.json_response({"error": f"no such kind of resource: {kind!r}"}, status=404)
        found = resources(name, TYPES[kind])
        if found is None:
            return web.json_response({"error": f"no proxy {name!r} is connected"}, status=404)
        return web.json_response({"proxy": name, kind: found})

    async def look(_request: web.Request) -> web.Response:
        poll()
        return web.json_response({"polled": True})

    async def tell_registries(_request: web.Request) -> web.Response:
        return web.json_response(registries())

    async def let_go(request: web.Request) -> web.Response:
        try:
            return web.json_response(release(request.match_info["name"]))
        except Refused as refused:
            return web.json_response({"error": str(refused), "hint": refused.hint}, status=409)

    app = web.Application()
    app.router.add_get("/registries", tell_registries)
    app.router.add_post("/registries/{name}/release", let_go)
    app.router.add_get("/status", tell_status)
    app.router.add_get("/proxies", tell_proxies)
    app.router.add_get("/proxies/{name}/{kind}", tell_resources)
    app.router.add_post("/poll", look)
    return app


async def serve_socket(app: web.Application, path: Path) -> web.AppRunner:
    """Listen on the socket; a stale one of a dead daemon is replaced (the state's lock was taken before).

    :raises Misconfigured: when it cannot be had.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 (one system call; the rule against blocking paths means reading)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    before = os.umask(0o177)
    try:
        await web.UnixSite(runner, str(path)).start()
    except OSError as error:
        await runner.cleanup()
        raise Misconfigured(
            f"cannot listen on {path}: {error}",
            hint="choose another directory with --state, or a shorter path",
        ) from error
    finally:
        os.umask(before)
    return runner


async def serve_port(
    app: web.Application, address: str, port: int, *, ssl_context: Any = None
) -> tuple[web.AppRunner, int]:
    """Listen on a TCP port; returns the real one.

    :raises Misconfigured: when it cannot be had.
    """
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port, ssl_context=ssl_context).start()
    except OSError as error:
        await runner.cleanup()
        # asyncio puts a sentence of its own in the place of the system's.
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise Misconfigured(
            f"cannot listen on {address}:{port}: {reason}", hint="choose another port or address"
        ) from error
    return runner, runner.addresses[0][1]
