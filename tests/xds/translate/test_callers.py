"""What callers meet at a real Envoy: mutual TLS, authorization, a gateway's certificates, access logs."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.kinds.gateway import Server
from mesh.names import ObjectKey
from mesh.services import Protocol
from mesh.views import (
    AccessLog,
    Authorization,
    GatewayServer,
    GatewayView,
    HostView,
    InboundView,
    MutualTls,
    Passthrough,
)
from mesh.world import Credential
from tests.support.authorization import a_policy, a_rule
from tests.support.byte_servers import an_echo
from tests.support.envoys import Running, application, needs_envoy, running
from tests.support.served import MESH_HTTP, MESH_TCP, Callers, anonymous, ask, becomes, free_port, served
from tests.support.views import (
    SETTINGS,
    a_cluster,
    a_table,
    a_virtual_host,
    an_endpoint,
    an_endpoints_view,
    an_inbound_port,
    an_inbound_view,
    an_outbound_view,
)
from xds import translate
from xds.memo import Memo
from xds.translate import Resources

HERE = "127.0.7.3"


def found_in(*facets: Resources) -> list[Any]:
    return [resource for facet in facets for made in facet.values() for resource in made]


def a_host(view: InboundView, **fields: Any) -> HostView:
    made = HostView(inbound=view, address=HERE, http_proxy_port=0, passthrough=Passthrough.ALLOW_ANY)
    return replace(made, **fields)


@contextlib.contextmanager
def a_workload(view: InboundView, callers: Callers, folder: Path) -> Iterator[Running]:
    """The ports of a workload at ``HERE``, as its proxy binds them without capture."""
    memo = Memo()
    facets = (
        translate.inbound_resources(view, memo),
        translate.host_resources(a_host(view), memo),
        translate.trust_resources(callers.roots, memo),
    )
    with running(served(found_in(*facets), folder), folder) as started:
        yield started


class Door:
    """A workload, and the callers at its door."""

    def __init__(self, port: int, callers: Callers) -> None:
        self.address, self.callers = (HERE, port), callers

    def status(self, path: str = "/", account: str = "productpage", **asked: Any) -> int:
        context = self.callers.context(account, asked.pop("namespace", "bookinfo"))
        return ask(self.address, path, context=context, **asked).status

    def is_open(self, **asked: Any) -> bool:
        try:
            return ask(self.address, **asked).status == 200
        except OSError:
            return False


@contextlib.contextmanager
def a_door(folder: Path, **fields: Any) -> Iterator[Door]:
    """A workload with one HTTP port; ``fields`` are its inbound view's or its port's."""
    callers = Callers(folder)
    of_port = {name: fields.pop(name) for name in ("mutual_tls",) if name in fields}
    with application("reviews") as app:
        view = an_inbound_view(an_inbound_port(app.port, **of_port), **fields)
        with a_workload(view, callers, folder):
            yield Door(app.port, callers)


@needs_envoy
def test_strict_takes_callers_of_the_mesh_alone(tmp_path: Path) -> None:
    """No plain text, no TLS without a certificate, no certificate of another mesh."""
    (elsewhere := tmp_path / "elsewhere").mkdir()
    with a_door(tmp_path) as door:
        assert door.status() == 200
        assert not door.is_open()
        assert not door.is_open(context=anonymous(MESH_HTTP))
        assert not door.is_open(context=Callers(elsewhere).context("productpage"))
        assert door.status() == 200


@needs_envoy
def test_the_application_learns_who_called_and_cannot_be_lied_to(tmp_path: Path) -> None:
    with a_door(tmp_path, mutual_tls=MutualTls.PERMISSIVE) as door:
        forged = {"x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/bookinfo/sa/root"}
        plain = ask(door.address, headers=forged).json
        known = ask(door.address, context=door.callers.context("productpage")).json
    assert "x-forwarded-client-cert" not in plain["headers"]
    assert known["headers"]["x-forwarded-client-cert"].endswith(
        "URI=spiffe://cluster.local/ns/bookinfo/sa/productpage"
    )


@needs_envoy
def test_permissive_takes_both_and_disable_takes_plain_text(tmp_path: Path) -> None:
    (other := tmp_path / "other").mkdir()
    with a_door(tmp_path, mutual_tls=MutualTls.PERMISSIVE) as door:
        assert door.is_open()
        assert door.status() == 200
    with a_door(other, mutual_tls=MutualTls.DISABLE) as door:
        assert door.is_open()
        assert not door.is_open(context=door.callers.context("productpage"))


POLICIES = Authorization(
    deny=(
        a_policy(
            a_rule(paths=["/admin/*"]), a_rule(principals=["cluster.local/ns/bookinfo/sa/mallory"]), name="no"
        ),
    ),
    allow=(
        a_policy(
            a_rule(namespaces=["bookinfo"], methods=["GET"]),
            a_rule(principals=["cluster.local/ns/web/sa/writer"], methods=["POST"], paths=["/a/{*}"]),
            name="yes",
        ),
    ),
)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with a_door(tmp_path_factory.mktemp("guarded"), authorization=POLICIES) as door:
        yield door


@needs_envoy
@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({}, 200),
        ({"method": "POST"}, 403),
        ({"path": "/admin/x"}, 403),
        ({"account": "mallory"}, 403),
        ({"namespace": "web"}, 403),
        ({"namespace": "web", "account": "writer", "method": "POST", "path": "/a/b"}, 200),
        ({"namespace": "web", "account": "writer", "method": "POST", "path": "/a/b/c"}, 403),
        ({"path": "/x/../admin/x"}, 403),
    ],
)
def test_policies_decide_by_identity_method_and_path(
    guarded: Door, asked: dict[str, Any], status: int
) -> None:
    assert guarded.status(**asked) == status


def echoed(door: Door, namespace: str) -> bytes:
    context = door.callers.context("productpage", namespace, MESH_TCP)
    with (
        socket.create_connection(door.address, timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="reviews") as secure,
    ):
        secure.sendall(b"hello")
        try:
            return secure.recv(64)
        except ConnectionResetError:
            return b""


@needs_envoy
def test_a_tcp_port_is_guarded_by_identity_and_clean_of_the_mesh(tmp_path: Path) -> None:
    """The application sees the caller's bytes and nothing else; who is not allowed is cut off."""
    callers = Callers(tmp_path)
    allow = Authorization(allow=(a_policy(a_rule(namespaces=["bookinfo"])),))
    with an_echo() as port:
        view = an_inbound_view(an_inbound_port(port, Protocol.TCP), authorization=allow)
        with a_workload(view, callers, tmp_path):
            door = Door(port, callers)
            assert echoed(door, "bookinfo") == b"hello"
            assert echoed(door, "web") == b""


@needs_envoy
def test_a_port_of_unknown_protocol_is_read_as_what_it_looks_like(tmp_path: Path) -> None:
    callers = Callers(tmp_path)
    with an_echo() as port:
        port_of = an_inbound_port(port, Protocol.UNKNOWN, mutual_tls=MutualTls.PERMISSIVE)
        with a_workload(an_inbound_view(port_of), callers, tmp_path) as started:
            assert echoed(Door(port, callers), "bookinfo") == b"hello"
            with socket.create_connection((HERE, port), timeout=10) as plain:
                plain.sendall(b"\x00\x01raw")
                assert plain.recv(64) == b"\x00\x01raw"
            assert started.stat(f"http.inbound_0.0.0.0_{port}.downstream_cx_total") == 0


@needs_envoy
def test_a_port_that_another_proxy_has_is_refused_and_not_shared(tmp_path: Path) -> None:
    """Envoy says so; the other ports of that machine are served."""
    (first := tmp_path / "first").mkdir()
    (second := tmp_path / "second").mkdir()
    callers, taken, free = Callers(tmp_path), free_port(HERE), free_port(HERE)
    with (
        a_workload(an_inbound_view(an_inbound_port(taken)), callers, first),
        a_workload(an_inbound_view(an_inbound_port(taken), an_inbound_port(free)), callers, second) as late,
    ):
        assert set(late.listeners) == {f"{HERE}_{free}"}
    assert "Address already in use" in (second / "envoy.log").read_text()


@needs_envoy
def test_a_request_leaves_istios_line_in_the_access_log(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    settings = replace(SETTINGS, access_log=AccessLog(path=str(log)))
    with a_door(tmp_path, settings=settings) as door:
        door.status("/shelf")
        port = door.address[1]
    (line,) = log.read_text().splitlines()
    assert '"GET /shelf HTTP/1.1" 200 - via_upstream - "-" 0 ' in line
    assert f'"127.0.0.1:{port}" inbound|{port}|| ' in line
    assert line.endswith(" reviews default")


@needs_envoy
def test_a_json_log_has_istios_keys(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    settings = replace(SETTINGS, access_log=AccessLog(path=str(log), json=True))
    with a_door(tmp_path, settings=settings) as door:
        door.status("/shelf")
    found = json.loads(log.read_text())
    assert (found["path"], found["response_code"], found["route_name"]) == ("/shelf", 200, "default")


@needs_envoy
def test_applications_reach_services_through_the_http_proxy(tmp_path: Path) -> None:
    """An absolute URL is routed by its own host; the service sees an ordinary request."""
    memo, port = Memo(), free_port()
    table = a_table(a_virtual_host("reviews"), name="http_proxy")
    name = "outbound|9080||reviews.bookinfo.svc.cluster.local"
    with application("reviews") as app:
        facets = (
            translate.outbound_resources(an_outbound_view(a_cluster(), tables=(table,)), memo),
            translate.endpoint_resources(
                an_endpoints_view(**{name: (an_endpoint("127.0.0.1", app.port),)}), memo
            ),
            translate.host_resources(a_host(an_inbound_view(), http_proxy_port=port), memo),
        )
        resources = [one for one in found_in(*facets) if not one.name.startswith(HERE)]
        with running(served(resources, tmp_path), tmp_path):
            answer = ask(("127.0.0.1", port), "http://reviews.bookinfo.svc.cluster.local/shelf")
    assert (answer.status, answer.json["path"]) == (200, "/shelf")


def a_server(port: int, host: str, protocol: str = "HTTPS", **fields: Any) -> GatewayServer:
    by_name = {"mode": "SIMPLE", "credentialName": host}
    tls = fields.pop("tls", by_name if protocol == "HTTPS" else None)
    written = {"port": {"number": port, "protocol": protocol, "name": protocol.lower()}, "hosts": [host]}
    made = GatewayServer(
        port=port,
        bind="127.0.0.1",
        server=Server.model_validate(written | ({"tls": tls} if tls else {})),
        routes=f"https.{port}.{host}" if tls else f"http.{port}",
        sni_hosts=(host,) if tls else (),
        source=ObjectKey("Gateway", "bookinfo", "edge"),
        secret=f"kubernetes://{host}" if tls else "",
    )
    return replace(made, **fields)


@needs_envoy
def test_a_gateway_shows_the_certificate_of_the_host_that_was_asked_for(tmp_path: Path) -> None:
    """Two HTTPS servers on one port and a plain one beside them; from outside nobody is believed."""
    callers, memo, secure, plain = Callers(tmp_path), Memo(), free_port(), free_port()
    hosts = ("a.example", "b.example")
    servers = (*(a_server(secure, host) for host in hosts), a_server(plain, "*", "HTTP"))
    tables = tuple(
        a_table(a_virtual_host("reviews", domains=("*",)), name=server.routes, fallback=None)
        for server in servers
    )
    view = GatewayView(settings=SETTINGS, servers=servers, tables=tables)
    pairs = {host: callers.pair(host.partition(".")[0]) for host in hosts}
    credentials = {
        host: Credential(chain.read_bytes(), key.read_bytes()) for host, (chain, key) in pairs.items()
    }
    name = "outbound|9080||reviews.bookinfo.svc.cluster.local"
    with application("reviews") as app:
        facets = (
            translate.outbound_resources(an_outbound_view(a_cluster()), memo),
            translate.endpoint_resources(
                an_endpoints_view(**{name: (an_endpoint("127.0.0.1", app.port),)}), memo
            ),
            translate.gateway_resources(view, memo, credentials),
        )
        with running(served(found_in(*facets), tmp_path), tmp_path):
            for host in hosts:
                assert f"sa/{host[0]}".encode() in shown(secure, host)
            with pytest.raises(OSError):
                shown(secure, "c.example")
            forged = {"x-forwarded-client-cert": "URI=spiffe://forged", "x-forwarded-for": "8.8.8.8"}
            answer = ask(("127.0.0.1", plain), headers=forged)
    seen = answer.json["headers"]
    assert answer.headers["server"] == "istio-envoy"
    assert "x-forwarded-client-cert" not in seen
    assert seen["x-forwarded-for"].startswith("8.8.8.8,")


@needs_envoy
def test_a_gateway_denies_what_a_policy_denies(tmp_path: Path) -> None:
    memo, port = Memo(), free_port()
    server = a_server(port, "*", "HTTP")
    table = a_table(a_virtual_host("reviews", domains=("*",)), name=server.routes, fallback=None)
    denied = Authorization(deny=(a_policy(a_rule(paths=["/admin", "/admin/*"])),))
    view = GatewayView(settings=SETTINGS, servers=(server,), tables=(table,), authorization=denied)
    name = "outbound|9080||reviews.bookinfo.svc.cluster.local"
    with application("reviews") as app:
        facets = (
            translate.outbound_resources(an_outbound_view(a_cluster()), memo),
            translate.endpoint_resources(
                an_endpoints_view(**{name: (an_endpoint("127.0.0.1", app.port),)}), memo
            ),
            translate.gateway_resources(view, memo),
        )
        with running(served(found_in(*facets), tmp_path), tmp_path):
            paths = ("/", "/admin", "/admin/users", "/x/../admin", "/administration")
            answers = {path: ask(("127.0.0.1", port), path) for path in paths}
    assert {path: answer.status for path, answer in answers.items()} == {
        "/": 200,
        "/admin": 403,
        "/admin/users": 403,
        "/x/../admin": 403,
        "/administration": 200,
    }
    assert answers["/admin"].text == "RBAC: access denied"


@needs_envoy
def test_a_certificate_in_the_gateways_files_is_renewed_without_a_restart(tmp_path: Path) -> None:
    callers, memo, port = Callers(tmp_path), Memo(), free_port()
    (tls := tmp_path / "tls").mkdir()
    chain, key = tls / "site.pem", tls / "site.key"

    def install(account: str) -> None:
        for made, path in zip(callers.pair(account), (key, chain)[::-1], strict=True):
            made.rename(path)

    install("old")
    files = {"mode": "SIMPLE", "serverCertificate": str(chain), "privateKey": str(key)}
    server = a_server(port, "a.example", secret="file-cert:site", tls=files)
    table = a_table(a_virtual_host("reviews", domains=("*",)), name=server.routes, fallback=None)
    view = GatewayView(settings=SETTINGS, servers=(server,), tables=(table,))
    with running(served(found_in(translate.gateway_resources(view, memo)), tmp_path), tmp_path):
        assert b"sa/old" in shown(port, "a.example")
        install("new")
        assert becomes(lambda: b"sa/new" in shown(port, "a.example"))


def shown(port: int, server_name: str) -> bytes:
    """The certificate that a gateway shows, as DER."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
        anonymous(("h2", "http/1.1")).wrap_socket(connection, server_hostname=server_name) as secure,
    ):
        found = secure.getpeercert(binary_form=True)
        assert found is not None
        return found
