"""What a proxy is told at its start, and what a real Envoy makes of it."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from mesh.proxies import Interception, NodeId
from mesh.views import HostView, Passthrough
from tests.support.envoys import application, binary, needs_envoy, running
from tests.support.served import Callers, ask, becomes, free_port, pair_secret, served
from tests.support.views import (
    a_cluster,
    a_table,
    a_virtual_host,
    an_endpoint,
    an_endpoints_view,
    an_inbound_port,
    an_inbound_view,
    an_outbound_view,
)
from xds import envoy, translate
from xds.bootstrap import Installation, Socket, bootstrap, bootstrap_text
from xds.memo import Memo

ISTIOD = "spiffe://cluster.local/ns/istio-system/sa/istiod"
NODE = NodeId.parse("sidecar~10.0.0.7~reviews-1.bookinfo~bookinfo.svc.cluster.local")


def an_installation(**fields: Any) -> Installation:
    made = Installation(
        node=NODE,
        interception=Interception.NONE,
        control_plane=(Socket("10.0.0.1", 15012),),
        control_plane_id=ISTIOD,
    )
    return replace(made, **fields)


def cluster(name: str, **fields: Any) -> dict[str, Any]:
    found = bootstrap(an_installation(**fields))["static_resources"]["clusters"]
    return next(one for one in found if one["name"] == name)


def tls(**fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = cluster("xds-grpc", **fields)["transport_socket"]["typed_config"]
    return found


def test_a_node_says_who_it_is_and_how_it_captures_and_no_more() -> None:
    assert bootstrap(an_installation(http_proxy_port=15002))["node"] == {
        "id": "sidecar~10.0.0.7~reviews-1.bookinfo~bookinfo.svc.cluster.local",
        "cluster": "reviews-1.bookinfo",
        "metadata": {"INTERCEPTION_MODE": "NONE", "HTTP_PROXY_PORT": "15002"},
    }
    captured = an_installation(interception=Interception.REDIRECT)
    assert bootstrap(captured)["node"]["metadata"] == {"INTERCEPTION_MODE": "REDIRECT"}


def test_clusters_and_listeners_are_waited_for_without_end() -> None:
    """Else an Envoy that never met its control plane would call itself LIVE."""
    sources = bootstrap(an_installation())["dynamic_resources"]
    for one in ("cds_config", "lds_config"):
        assert sources[one]["initial_fetch_timeout"] == "0s"
    assert sources["ads_config"]["api_type"] == "DELTA_GRPC"
    assert sources["ads_config"]["set_node_on_first_message_only"] is True
    (service,) = sources["ads_config"]["grpc_services"]
    assert service["envoy_grpc"]["retry_policy"]["retry_back_off"]["max_interval"] == "5s"


def test_the_control_plane_must_prove_one_identity_and_nothing_lies_in_the_bootstrap() -> None:
    common = tls()["common_tls_context"]
    validation = common["combined_validation_context"]
    assert validation["default_validation_context"]["match_typed_subject_alt_names"] == [
        {"san_type": "URI", "matcher": {"exact": ISTIOD}}
    ]
    files = [
        common["tls_certificate_sds_secret_configs"][0],
        validation["validation_context_sds_secret_config"],
    ]
    assert [(one["name"], one["sds_config"]["path_config_source"]) for one in files] == [
        ("default", {"path": "sds/cert.yaml", "watched_directory": {"path": "sds"}}),
        ("ROOTCA", {"path": "sds/root.yaml", "watched_directory": {"path": "sds"}}),
    ]
    assert "secrets" not in bootstrap(an_installation())["static_resources"]


@pytest.mark.parametrize(
    ("sockets", "kind", "sni"),
    [
        ((Socket("10.0.0.1", 15012), Socket("10.0.0.2", 15012)), "STATIC", None),
        ((Socket("mesh.example", 15012), Socket("10.0.0.2", 15012)), "STRICT_DNS", "mesh.example"),
    ],
)
def test_every_address_of_the_control_plane_is_an_endpoint(
    sockets: tuple[Socket, ...], kind: str, sni: str | None
) -> None:
    made = cluster("xds-grpc", control_plane=sockets)
    (group,) = made["load_assignment"]["endpoints"]
    found = [one["endpoint"]["address"]["socket_address"]["address"] for one in group["lb_endpoints"]]
    assert (made["type"], found) == (kind, [socket.address for socket in sockets])
    assert tls(control_plane=sockets).get("sni") == sni


def test_the_admin_port_may_be_a_unix_socket() -> None:
    made = bootstrap(an_installation(admin="run/admin.sock"))
    assert made["admin"] == {"address": {"pipe": {"path": "run/admin.sock"}}}
    (group,) = cluster("prometheus_stats", admin="run/admin.sock")["load_assignment"]["endpoints"]
    assert group["lb_endpoints"] == [{"endpoint": {"address": {"pipe": {"path": "run/admin.sock"}}}}]


class ControlPlane:
    """Answers every first request of a type with nothing. Owned by the test that started it."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []

    def stream(self, requests: Iterator[bytes], _: object) -> Iterator[bytes]:
        ask_for = envoy.message("envoy.service.discovery.v3.DeltaDiscoveryRequest")
        answer = envoy.message("envoy.service.discovery.v3.DeltaDiscoveryResponse")
        for body in requests:
            request = ask_for.FromString(body)
            if request.HasField("node"):
                self.nodes.append(request.node)
            if not request.response_nonce:
                yield envoy.serialised(answer(type_url=request.type_url, nonce="1"))


@contextlib.contextmanager
def a_control_plane(callers: Callers) -> Iterator[tuple[ControlPlane, Socket]]:
    """A gRPC server that proves to be ``istio-system/istiod`` of the callers' authority."""
    made = ControlPlane()
    chain, key = callers.pair("istiod-1", "istio-system")
    roots = "".join(callers.roots).encode()
    credentials = grpc.ssl_server_credentials(
        [(key.read_bytes(), chain.read_bytes())], root_certificates=roots, require_client_auth=True
    )
    handler = grpc.stream_stream_rpc_method_handler(made.stream)
    service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
    with ThreadPoolExecutor(max_workers=4) as threads:
        server = grpc.server(threads)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {"DeltaAggregatedResources": handler}),)
        )
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        try:
            yield made, Socket("127.0.0.1", port)
        finally:
            server.stop(None).wait(timeout=5)


@dataclass(frozen=True, slots=True)
class Started:
    """An Envoy that may or may not be ready."""

    installation: Installation

    def status(self, socket: Socket, path: str) -> int:
        """0 when nobody answers."""
        try:
            return ask((socket.address, socket.port), path, timeout=0.5).status
        except OSError:
            return 0

    @property
    def is_ready(self) -> bool:
        return self.status(self.installation.readiness, "/healthz/ready") == 200

    def stat(self, name: str) -> int:
        admin = self.installation.admin
        assert isinstance(admin, Socket)
        try:
            found = ask((admin.address, admin.port), f"/stats?filter=^{name}$").text
        except OSError:
            return 0
        return int(found.rpartition(": ")[2] or 0)


@contextlib.contextmanager
def started(folder: Path, callers: Callers, control_plane: Socket, expected: str) -> Iterator[Started]:
    """An Envoy in a folder like a machine's, with the files that enrolment leaves there."""
    roots = {"trusted_ca": {"inline_string": "".join(callers.roots)}}
    (folder / "sds").mkdir()
    for name, secret in (
        ("cert.yaml", pair_secret(*callers.pair("reviews"))),
        ("root.yaml", {"@type": envoy.SECRET, "name": "ROOTCA", "validation_context": roots}),
    ):
        (folder / "sds" / name).write_text(json.dumps({"resources": [secret]}))
    ports = [Socket("127.0.0.1", free_port()) for _ in range(3)]
    installation = an_installation(
        control_plane=(control_plane,),
        control_plane_id=expected,
        admin=ports[0],
        metrics=ports[1],
        readiness=ports[2],
    )
    (folder / "bootstrap.json").write_text(bootstrap_text(installation))
    with (folder / "envoy.log").open("wb") as log:
        command = [str(binary()), "-c", "bootstrap.json", "--disable-hot-restart", "--concurrency", "1"]
        process = subprocess.Popen([*command, "-l", "warning"], cwd=folder, stdout=log, stderr=log)
        try:
            yield Started(installation)
        finally:
            process.terminate()
            process.wait(timeout=10)


CONTROL_PLANE = "spiffe://cluster.local/ns/istio-system/sa/istiod-1"


@needs_envoy
def test_a_proxy_is_ready_once_its_control_plane_has_answered(tmp_path: Path) -> None:
    """Its windows show readiness and metrics, and nothing else of the admin port."""
    callers = Callers(tmp_path)
    with (
        a_control_plane(callers) as (control_plane, socket),
        started(tmp_path, callers, socket, CONTROL_PLANE) as proxy,
    ):
        assert becomes(lambda: proxy.is_ready)
        (node,) = control_plane.nodes
        assert node.id == str(NODE)
        metrics, readiness = proxy.installation.metrics, proxy.installation.readiness
        assert proxy.status(metrics, "/stats/prometheus") == 200
        for outside, path in ((metrics, "/"), (metrics, "/quitquitquit"), (readiness, "/config_dump")):
            assert proxy.status(outside, path) == 404
        assert (tmp_path / "envoy.log").read_text() == "", "Envoy warns of what the bootstrap says"


@needs_envoy
def test_a_proxy_that_never_met_its_control_plane_is_not_ready(tmp_path: Path) -> None:
    callers = Callers(tmp_path)
    with started(tmp_path, callers, Socket("127.0.0.1", free_port()), CONTROL_PLANE) as proxy:
        assert becomes(lambda: proxy.stat("cluster.xds-grpc.upstream_cx_connect_fail") > 0)
        assert not proxy.is_ready


@needs_envoy
def test_a_workload_of_the_mesh_cannot_stand_in_for_the_control_plane(tmp_path: Path) -> None:
    """Its certificate is of the right authority, its name is not the expected one."""
    callers = Callers(tmp_path)
    with (
        a_control_plane(callers) as (control_plane, socket),
        started(tmp_path, callers, socket, ISTIOD) as proxy,
    ):
        assert becomes(lambda: proxy.stat("cluster.xds-grpc.ssl.fail_verify_san") > 0)
        assert control_plane.nodes == []
        assert not proxy.is_ready


@needs_envoy
def test_metrics_name_clusters_and_ports_in_labels_and_stay_few(tmp_path: Path) -> None:
    """What a dashboard asks for is there, and of a cluster's hundred statistics about twenty are kept."""
    callers, memo, name = Callers(tmp_path), Memo(), "outbound|9080||reviews.bookinfo.svc.cluster.local"
    port = free_port("127.0.7.4")
    table = a_table(a_virtual_host("reviews"), name="http_proxy")
    with application("reviews") as app:
        view = an_inbound_view(an_inbound_port(app.port))
        host = HostView(
            inbound=view, address="127.0.7.4", http_proxy_port=port, passthrough=Passthrough.ALLOW_ANY
        )
        facets = (
            translate.outbound_resources(an_outbound_view(a_cluster(), tables=(table,)), memo),
            translate.endpoint_resources(
                an_endpoints_view(**{name: (an_endpoint("127.0.0.1", app.port),)}), memo
            ),
            translate.inbound_resources(view, memo),
            translate.host_resources(host, memo),
            translate.trust_resources(callers.roots, memo),
        )
        resources = [one for facet in facets for made in facet.values() for one in made]
        with_statistics = {
            **served(resources, tmp_path),
            "stats_config": bootstrap(an_installation())["stats_config"],
        }
        with running(with_statistics, tmp_path) as proxy:
            ask(("127.0.0.1", port), "http://reviews/")
            ask(("127.0.7.4", app.port), context=callers.context("productpage"))
            lines = ask(proxy.admin, "/stats/prometheus").text.splitlines()
    mine, theirs, door = (
        f'cluster_name="{name}"',
        f'cluster_name="inbound|{app.port}||"',
        f'http_conn_manager_prefix="inbound_0.0.0.0_{app.port}"',
    )
    for wanted in (
        f"envoy_cluster_upstream_rq_total{{{mine}}} 1",
        f'envoy_cluster_upstream_rq{{response_code="200",{theirs}}} 1',
        f'envoy_http_downstream_rq{{response_code_class="2xx",{door}}} 1',
    ):
        assert wanted in lines, wanted
    of_cluster = {line.partition("{")[0] for line in lines if name in line}
    assert len(of_cluster) < 25
