"""A real Envoy serves what the enrolment program writes, and follows its renewals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from ca import minting
from mesh.clock import SystemClock
from tests.support.certificates import ServedEst, a_caller, a_key, a_request, served_est
from tests.support.envoys import binary, needs_envoy

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "playbooks" / "files" / "meshwright_enrol.py"
LIMIT_SECONDS = 20
LOOK = timedelta(milliseconds=20)


def bootstrap(port: int, sds: Path) -> str:
    """One TLS listener that wants a client certificate; secrets by the fixed paths of the program."""

    def secret(name: str, file: str) -> dict[str, object]:
        watched = {"path": str(sds / file), "watched_directory": {"path": str(sds)}}
        return {"name": name, "sds_config": {"path_config_source": watched, "resource_api_version": "V3"}}

    typed = "type.googleapis.com/envoy.extensions"
    manager = {
        "@type": f"{typed}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{typed}.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
                }
            ]
        },
    }
    tls = {
        "@type": f"{typed}.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [secret("default", "cert.yaml")],
            "validation_context_sds_secret_config": secret("ROOTCA", "root.yaml"),
        },
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {
                "filters": [
                    {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
                ],
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
            }
        ],
    }
    return json.dumps({"node": {"id": "n", "cluster": "c"}, "static_resources": {"listeners": [listener]}})


@contextlib.asynccontextmanager
async def envoy(folder: Path, port: int) -> AsyncIterator[None]:
    (folder / "envoy.json").write_text(bootstrap(port, folder / "machine" / "sds"))
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(str(binary()), "-c", str(folder / "envoy.json"), "--use-dynamic-base-id", "--concurrency", "1"),
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            process.terminate()
            await process.wait()


async def enrolment(*arguments: str, stdin: str = "") -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), *arguments, stdin=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(LIMIT_SECONDS):
        await process.communicate(stdin.encode())
    assert process.returncode == 0


def client(est: ServedEst, folder: Path) -> ssl.SSLContext:
    """Another workload of the mesh."""
    key = a_key()
    chain = est.issuer.issue(a_request(key), a_caller("productpage", "web-1"))
    (folder / "client.pem").write_bytes(minting.key_pem(key) + chain.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=est.credentials.roots_pem.decode())
    context.load_cert_chain(folder / "client.pem")
    return context


async def request(port: int, context: ssl.SSLContext) -> tuple[bytes, int]:
    """The status line, and the serial number of the certificate that was shown."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        status = await reader.readline()
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
    return status, x509.load_der_x509_certificate(shown).serial_number


def serial_on_disk(folder: Path) -> int:
    chain = (folder / "machine/certs/..data/cert.pem").read_bytes()
    return x509.load_pem_x509_certificate(chain).serial_number


@needs_envoy
async def test_envoy_serves_each_renewal_and_no_request_fails(tmp_path: Path) -> None:
    """Requests go on during three renewals, each on a connection of its own."""
    clock = SystemClock()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with served_est(tmp_path) as est:
        at = ("--server", est.url, "--dir", str(tmp_path / "machine"))
        token = est.tokens.create(
            a_caller(), timedelta(hours=1), root_hash=est.authority.root_hash, now=clock.now()
        )
        await enrolment("enrol", *at, "--token-file", "-", stdin=token)
        context = client(est, tmp_path)
        async with envoy(tmp_path, port), asyncio.timeout(LIMIT_SECONDS):
            while True:
                with contextlib.suppress(ConnectionRefusedError):
                    answers = [await request(port, context)]
                    break
                await clock.sleep(LOOK)
            assert answers[0][1] == serial_on_disk(tmp_path)
            for _ in range(3):
                renewal = asyncio.create_task(enrolment("renew", *at, "--force"))
                while not renewal.done() or answers[-1][1] != serial_on_disk(tmp_path):
                    answers.append(await request(port, context))
                    await clock.sleep(LOOK)
                await renewal

    assert {status for status, _ in answers} == {b"HTTP/1.1 200 OK\r\n"}
    assert len({serial for _, serial in answers}) == 4
