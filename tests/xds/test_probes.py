"""The kubelet's probes through a real Envoy: they say of the application what they would say without it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from ca.credentials import server_credentials
from mesh.clock import SystemClock
from tests.support.certificates import an_issuer
from tests.support.envoys import Running, application, needs_envoy, running
from tests.support.served import becomes, free_port
from xds.probes import Means, Probe, clusters, listener

NOT_SERVING, SERVING = b"\x08\x02", b"\x08\x01"  # grpc.health.v1.HealthCheckResponse


def a_probe(means: Means, port: int, target: str = "", *, name: str = "livez", period_s: int = 1) -> Probe:
    return Probe(path=f"/app-health/app/{name}", means=means, port=port, target=target, period_s=period_s)


@contextlib.contextmanager
def an_envoy(folder: Path, *probes: Probe) -> Iterator[Running]:
    static = {"clusters": list(clusters(probes)), "listeners": [listener(probes, "127.0.0.1", 0)]}
    with running({"static_resources": static}, folder) as envoy:
        yield envoy


def asked(envoy: Running, probe: Probe) -> int:
    """What the kubelet is told."""
    return envoy.get(probe.path, "10.0.0.7:15020", listener="probes").status


@needs_envoy
def test_an_http_probe_is_the_applications_own_answer(tmp_path: Path) -> None:
    with application("app") as app:
        probe = a_probe(Means.HTTP, app.port, "/healthz?deep=1")
        with an_envoy(tmp_path, probe) as envoy:
            assert asked(envoy, probe) == 200
            assert app.asked[-1]["path"] == "/healthz?deep=1"
            app.failures = 1
            assert asked(envoy, probe) == 503


@needs_envoy
def test_nothing_of_the_application_but_its_probes_can_be_seen_there(tmp_path: Path) -> None:
    with application("app") as app:
        probe = a_probe(Means.HTTP, app.port, "/healthz")
        with an_envoy(tmp_path, probe) as envoy:
            seen = [
                envoy.get(path, "app", listener="probes").status
                for path in (
                    "/",
                    "/healthz",
                    f"{probe.path}/..",
                    f"{probe.path}/../../secret",
                    "/app-health/app",
                )
            ]

            assert seen == [404] * 5
            assert app.asked == []


@needs_envoy
def test_an_https_probe_verifies_nobody_as_the_kubelet_does_not(tmp_path: Path) -> None:
    credentials = server_credentials(an_issuer(SystemClock()), ["elsewhere.example"])
    (tmp_path / "pair.pem").write_bytes(credentials.key_pem + credentials.chain_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    with application("app", context=context) as app:
        probe = a_probe(Means.HTTPS, app.port, "/healthz")
        with an_envoy(tmp_path, probe) as envoy:
            assert asked(envoy, probe) == 200


@needs_envoy
def test_a_tcp_probe_says_whether_the_application_listens_and_not_whether_envoy_does(
    tmp_path: Path,
) -> None:
    port = free_port()
    probe = a_probe(Means.TCP, port)
    with an_envoy(tmp_path, probe) as envoy:
        assert asked(envoy, probe) == 503
        with socket.create_server(("127.0.0.1", port)):
            assert becomes(lambda: asked(envoy, probe) == 200)
        assert becomes(lambda: asked(envoy, probe) == 503)


@needs_envoy
async def test_a_grpc_probe_asks_for_its_service(tmp_path: Path) -> None:
    services: list[bytes] = []
    answer = SERVING

    async def check(request: bytes, _context: Any) -> bytes:
        services.append(request)
        return answer

    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(check)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    probe = a_probe(Means.GRPC, port, "shop.Orders")

    def watched() -> None:
        nonlocal answer
        with an_envoy(tmp_path, probe) as envoy:
            assert becomes(lambda: asked(envoy, probe) == 200)
            answer = NOT_SERVING
            assert becomes(lambda: asked(envoy, probe) == 503)

    try:
        await asyncio.to_thread(watched)
    finally:
        await server.stop(0)
    assert services[0] == b"\x0a\x0bshop.Orders"


def test_a_path_that_is_no_probes_is_refused() -> None:
    """It becomes a route: what is not one of our two prefixes is a mistake of ours."""
    with pytest.raises(ValueError, match="not a path of a probe: '/'"):
        Probe(path="/", means=Means.TCP, port=80)
