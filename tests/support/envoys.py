"""The real Envoy: where it is, whether it takes what we made, and one that runs.

What we make is meant for ADS. For tests without a control plane it is put into a static bootstrap:
an EDS cluster becomes a static one that carries its assignment, a route table goes inline. Each Envoy
gets a folder of its own, which is also its working directory, because certificates are found there.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.clock import SystemClock
from xds import envoy
from xds.names import TRUST_BUNDLE, WORKLOAD_CERTIFICATE
from xds.resources import Resource
from xds.translate.transport import SDS_DIRECTORY

ROOT = Path(__file__).parents[2]
Literal = dict[str, Any]


def binary() -> Path | None:
    """Envoy as the operator named it, or as ``make test`` and ``make demo`` brought it."""
    said = os.environ.get("MESHWRIGHT_ENVOY")
    found = Path(said) if said else ROOT / ".cache" / "envoy" / "bin" / "envoy"
    return found if found.exists() else None


_Test = TypeVar("_Test", bound=Callable[..., object])


def needs_envoy(test: _Test) -> _Test:
    """Marks a test that starts a real Envoy; it is skipped by name where there is none."""
    is_missing = pytest.mark.skipif(
        binary() is None, reason="no Envoy: set MESHWRIGHT_ENVOY, or run 'make test'"
    )
    return pytest.mark.envoy(is_missing(test))


def refusal(resources: Iterable[Resource], folder: Path) -> str:
    """Why Envoy refuses these resources, in its own words; empty when it takes them all."""
    bootstrap = as_bootstrap(resources)
    process = subprocess.run(
        [*_command(bootstrap, folder), "--mode", "validate", "--log-level", "error"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return "" if process.returncode == 0 else process.stdout + process.stderr


def as_bootstrap(resources: Iterable[Resource]) -> Literal:
    """Every resource in the place where a static bootstrap can carry it."""
    static: dict[str, list[Literal]] = {"clusters": [_control_plane()], "listeners": [], "secrets": []}
    for at, resource in enumerate(resources):
        literal = envoy.as_dict(resource.message)
        match resource.type_url:
            case envoy.CLUSTER:
                static["clusters"].append(_with_roots_from_file(literal))
            case envoy.ENDPOINTS:
                name = f"assignment-{at}"
                literal["cluster_name"] = name
                static["clusters"].append(
                    {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": literal}
                )
            case envoy.LISTENER:
                static["listeners"].append(literal)
            case envoy.ROUTES:
                static["listeners"].append(a_listener(f"table-{at}", literal))
            case envoy.SECRET:
                static["secrets"].append(literal)
    ads = {"api_type": "DELTA_GRPC", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]}
    return {
        "static_resources": static,
        "dynamic_resources": {"ads_config": {**ads, "transport_api_version": "V3"}},
    }


def _with_roots_from_file(literal: Any) -> Any:
    """The same with the trust bundle from a file.

    A static cluster is made before Envoy's ADS client, and Envoy 1.40 crashes when its secrets ask for it.
    Clusters that come over ADS find it there.
    """
    if isinstance(literal, list):
        return [_with_roots_from_file(inner) for inner in literal]
    if not isinstance(literal, dict):
        return literal
    if literal.get("name") == TRUST_BUNDLE:
        return {**literal, "sds_config": {"path_config_source": {"path": f"{SDS_DIRECTORY}/roots.yaml"}}}
    return {key: _with_roots_from_file(inner) for key, inner in literal.items()}


def _control_plane() -> Literal:
    """A control plane that nobody answers for."""
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "name": "xds-grpc",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2,
        },
    }


def a_listener(name: str, table: Literal, *, codec: str = "AUTO") -> Literal:
    """A listener on a free port that routes by a table, with the filters that routes can ask for."""
    filters = [
        ("envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault"),
        ("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
    ]
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network."
        "http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": codec,
        "route_config": table,
        "http_filters": [
            {"name": filter_name, "typed_config": {"@type": f"type.googleapis.com/{config}"}}
            for filter_name, config in filters
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [chain],
    }


def a_static_cluster(cluster: Resource, assignment: Resource) -> Literal:
    """An EDS cluster and its assignment as one static cluster: the rest of it acts as it is."""
    literal = envoy.as_dict(cluster.message)
    literal.pop("eds_cluster_config")
    literal["type"] = "STATIC"
    literal["load_assignment"] = envoy.as_dict(assignment.message)
    return literal


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True, slots=True)
class Running:
    """One running Envoy."""

    admin: tuple[str, int]
    listeners: Mapping[str, tuple[str, int]]

    def get(
        self,
        path: str = "/",
        host: str = "reviews",
        *,
        listener: str = "main",
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        return _ask(self.listeners[listener], method, path, {"Host": host, **(headers or {})})

    def stat(self, name: str) -> int:
        """The value of one counter or gauge; 0 when Envoy has none of that name."""
        answer = _ask(self.admin, "GET", f"/stats?format=json&filter=^{name}$", {})
        return next((int(stat["value"]) for stat in answer.json["stats"] if stat.get("name") == name), 0)


@contextlib.contextmanager
def running(bootstrap: Literal, folder: Path) -> Iterator[Running]:
    """An Envoy with this bootstrap, until the block ends."""
    admin = folder / "admin-address"
    log = (folder / "envoy.log").open("wb")
    command = [*_command(bootstrap, folder), "--admin-address-path", str(admin), "--log-level", "warning"]
    process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        yield _started(process, admin, folder / "envoy.log")
    finally:
        log.close()
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)


def _command(bootstrap: Literal, folder: Path) -> list[str]:
    found = binary()
    assert found is not None, "guard the module with needs_envoy()"
    _write_certificate(folder)
    file = folder / "bootstrap.json"
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    node = {"id": "sidecar~127.0.0.1~reviews-v1.bookinfo~bookinfo.svc.cluster.local", "cluster": "reviews"}
    file.write_text(json.dumps({"node": node, "admin": {"address": address}, **bootstrap}))
    return [str(found), "-c", str(file), "--disable-hot-restart", "--concurrency", "1"]


def _started(process: subprocess.Popen[bytes], admin: Path, log: Path) -> Running:
    """The addresses of a process that has just been started. Bounded: ten seconds."""
    pause = threading.Event()
    for _ in range(200):
        assert process.poll() is None, log.read_text()
        if admin.exists() and (text := admin.read_text()):
            host, _, port = text.rpartition(":")
            address = (host, int(port))
            if _ask(address, "GET", "/ready", {}).status == 200:
                return Running(address, _listeners(address))
        pause.wait(0.05)
    raise AssertionError(f"Envoy did not become ready:\n{log.read_text()}")


def _listeners(admin: tuple[str, int]) -> dict[str, tuple[str, int]]:
    listed = _ask(admin, "GET", "/listeners?format=json", {}).json["listener_statuses"]
    sockets = {one["name"]: one["local_address"]["socket_address"] for one in listed}
    return {name: (socket["address"], socket["port_value"]) for name, socket in sockets.items()}


def _ask(address: tuple[str, int], method: str, path: str, headers: Mapping[str, str]) -> Answer:
    connection = http.client.HTTPConnection(*address, timeout=10)
    try:
        connection.request(method, path, headers=dict(headers))
        response = connection.getresponse()
        text = response.read().decode()
        return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, text)
    finally:
        connection.close()


def _write_certificate(folder: Path) -> None:
    """What ``transport.SDS_DIRECTORY`` holds on a machine: the workload's certificate and its key."""
    chain, key = _self_signed()
    secret = {
        "@type": envoy.SECRET,
        "name": WORKLOAD_CERTIFICATE,
        "tls_certificate": {
            "certificate_chain": {"inline_string": chain},
            "private_key": {"inline_string": key},
        },
    }
    roots = {
        "@type": envoy.SECRET,
        "name": TRUST_BUNDLE,
        "validation_context": {"trusted_ca": {"inline_string": chain}},
    }
    directory = folder / SDS_DIRECTORY
    directory.mkdir(exist_ok=True)
    (directory / "cert.yaml").write_text(json.dumps({"resources": [secret]}))
    (directory / "roots.yaml").write_text(json.dumps({"resources": [roots]}))


def write_authority(file: Path) -> None:
    """Some authority's certificate, where a file must be one."""
    file.write_text(_self_signed()[0])


@functools.cache
def _self_signed() -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    uri = x509.UniformResourceIdentifier("spiffe://cluster.local/ns/bookinfo/sa/reviews")
    now = SystemClock().now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem).decode(), private.decode()


@dataclass
class Application:
    """A small HTTP program that says who it is and what it was asked.

    Owned by the test that started it; ``asked`` is appended to by the server's threads. ``failures`` is how
    many of the next requests are answered with 503, ``pause`` how many seconds it thinks before it answers.
    """

    name: str
    asked: list[Literal] = field(default_factory=list)
    failures: int = 0
    pause: float = 0.0
    port: int = 0


class _Server(ThreadingHTTPServer):
    def server_bind(self) -> None:
        """The base class would ask DNS for the address's name, and wait for the answer."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Callers that break off are what some tests are about: the tests say what must come of it."""


@contextlib.contextmanager
def application(
    name: str, address: tuple[str, int] = ("127.0.0.1", 0), context: ssl.SSLContext | None = None
) -> Iterator[Application]:
    """An application, on a free port of the loopback if nothing else is said, until the block ends."""
    made = Application(name)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {key.lower(): value for key, value in self.headers.items()}
            asked = {"application": name, "path": self.path, "method": self.command, "headers": headers}
            made.asked.append(asked)
            if made.pause:
                threading.Event().wait(made.pause)
            status = 503 if made.failures > 0 else 200
            made.failures -= 1 if made.failures else 0
            body = json.dumps(asked).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("x-application", name)
            self.end_headers()
            # A caller may have lost its patience meanwhile.
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 (the base class's names)

        def log_message(self, *_: object) -> None:
            """Tests read ``asked``."""

    server = _Server(address, Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
