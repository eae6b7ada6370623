"""Pods prove themselves by tokens of a real API server, and their proxies answer with what they got."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from prometheus_client import CollectorRegistry

from ca import minting
from ca.accounts import AUDIENCE
from ca.authority import Authority
from ca.counters import Counters
from ca.credentials import server_credentials
from ca.issuance import Issuer
from ca.istio import CertificateService
from ca.profile import Profile
from ca.tokens import JoinTokens
from mesh.clock import SystemClock
from mesh.documents import parse_file
from mesh.errors import Refused
from mesh.kinds.registry import Registry
from mesh.kinds.registry_kubernetes import Kubernetes
from mesh.latest import Latest
from reconciler.demo.control_plane import admin_socket, serving
from reconciler.demo.processes import Processes
from reconciler.demo.proxies import CONTROL_PLANE, Machine
from reconciler.demo.repository import Repository
from reconciler.demo.workloads import LOOPBACK, ProxyPorts, Workload
from reconciler.enrolling import run
from reconciler.enrolling.door import Server
from reconciler.enrolling.files import Files
from reconciler.enrolling.run import Pod
from reconciler.inject import Sidecar, inject
from reconciler.settings import Settings
from reconciler.token_port import PodClusters, open_token_port
from registries.sources import Configured
from tests.servers.kubernetes import KubernetesApi
from tests.servers.kubernetes_objects import a_manifest, path_of
from tests.support.certificates import TRUST_DOMAIN, an_authority
from tests.support.config import a_mesh, a_service, a_workload, document
from tests.support.config import a_port as a_port_of
from tests.support.envoys import application, binary, needs_envoy
from tests.support.injected_pods import InjectedPod, running, status
from tests.support.scenarios_places import claimed
from tests.support.served import becomes, free_port

INJECTED = Path(__file__).parents[1] / "reconciler" / "inject" / "expect"
EXAMPLE = Path(__file__).parents[2] / "examples" / "kubernetes"


def rights() -> list[Any]:
    """What the example grants to the account of a registry."""
    return [
        rule
        for name in ("read-only.yaml", "token-reviews.yaml")
        for one in parse_file(name, (EXAMPLE / name).read_bytes())[0]
        if one.data["kind"] == "ClusterRole"
        for rule in one.data["rules"]
    ]


def a_cluster(api: KubernetesApi, folder: Path, namespace: str, **settings: str) -> Registry:
    """A registry whose account may review tokens; its credentials lie in ``folder``."""
    (folder / "main").mkdir(parents=True)
    api.service_account("meshwright", namespace, rules=rights())
    api.kubeconfig(folder / "main" / "kubeconfig", token=api.token_for(namespace, "meshwright"))
    return Registry(name="main", kubernetes=Kubernetes(secret_ref="main", **settings))


def a_pod(api: KubernetesApi, namespace: str, name: str = "orders-1", account: str = "orders") -> None:
    api.apply(
        a_manifest("ServiceAccount", account, namespace),
        a_manifest(
            "Pod",
            name,
            namespace,
            spec={"serviceAccountName": account, "containers": [{"name": "app", "image": "app"}]},
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """Port 15011 of a control plane that has nothing else."""

    number: int
    authority: Authority
    registry: CollectorRegistry

    def pod(self, folder: Path, token: str, *, cluster: str = "") -> Pod:
        """A Pod that was given this token."""
        folder.mkdir(exist_ok=True)
        (folder / "token").write_text(token)
        return Pod(
            servers=(Server(host="127.0.0.1", port=self.number, identity=CONTROL_PLANE),),
            token_file=folder / "token",
            files=Files(folder / "run"),
            root=minting.pem(*self.authority.roots).decode(),
            cluster=cluster,
        )

    def count(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"citadel_server_{name}")


@asynccontextmanager
async def a_port(folder: Path, *clusters: Registry) -> AsyncIterator[Port]:
    clock = SystemClock()
    latest = Latest(an_authority(clock.now()))
    issuer = Issuer(latest, Profile(), clock)
    registry = CollectorRegistry()
    configured = Latest[Configured | None](Configured(clusters))
    service = CertificateService(
        issuer=issuer,
        tokens=JoinTokens(folder / "tokens"),
        clusters=PodClusters(configured, folder, clock),
        counters=Counters(registry, latest),
        clock=clock,
    )
    settings = Settings(repo="", state=folder, listen_address="127.0.0.1", token_port=free_port())
    async with AsyncExitStack() as doors:
        await open_token_port(settings, service, Latest(server_credentials(issuer)), doors)
        yield Port(number=settings.token_port, authority=latest.value, registry=registry)


async def test_a_pod_gets_the_identity_that_its_cluster_confirms(
    kubernetes_api: KubernetesApi, namespace: str, tmp_path: Path
) -> None:
    a_pod(kubernetes_api, namespace)
    token = kubernetes_api.token_for(namespace, "orders", AUDIENCE, pod="orders-1")
    async with a_port(tmp_path, a_cluster(kubernetes_api, tmp_path, namespace)) as port:
        pod = port.pod(tmp_path / "pod", token)
        issued = await run.enrol(pod, SystemClock())

        names = issued.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        identity = f"spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/orders"
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == [identity]
        (machine,) = issued.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert machine.value == "orders-1"
        assert pod.files.current() == issued.certificate
        assert port.count("success_cert_issuance_count") == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"audience": "https://kubernetes.default.svc", "pod": "orders-1"},
            "the token is not for audience 'meshwright-ca'",
        ),
        ({"pod": None}, "the token of ServiceAccount {namespace}/orders is not bound to a Pod"),
    ],
)
async def test_a_token_for_something_else_is_refused(
    kubernetes_api: KubernetesApi,
    namespace: str,
    tmp_path: Path,
    asked: Mapping[str, str | None],
    message: str,
) -> None:
    a_pod(kubernetes_api, namespace)
    token = kubernetes_api.token_for(namespace, "orders", **{"audience": AUDIENCE, **asked})  # type: ignore[arg-type]
    async with a_port(tmp_path, a_cluster(kubernetes_api, tmp_path, namespace)) as port:
        with pytest.raises(Refused) as refused:
            await run.enrol(port.pod(tmp_path / "pod", token), SystemClock())

        said = message.format(namespace=namespace)
        assert str(refused.value) == f"127.0.0.1:{port.number} answered UNAUTHENTICATED: {said}"
        assert port.count("authentication_failure_count") == 1


async def test_the_token_of_a_pod_that_is_gone_is_worth_nothing(
    kubernetes_api: KubernetesApi, namespace: str, tmp_path: Path
) -> None:
    a_pod(kubernetes_api, namespace)
    token = kubernetes_api.token_for(namespace, "orders", AUDIENCE, pod="orders-1")
    kubernetes_api.delete(a_manifest("Pod", "orders-1", namespace), grace_s=0)
    async with a_port(tmp_path, a_cluster(kubernetes_api, tmp_path, namespace)) as port:
        with pytest.raises(Refused, match="UNAUTHENTICATED: the ServiceAccount token is refused"):
            await run.enrol(port.pod(tmp_path / "pod", token), SystemClock())


async def test_a_cluster_of_another_trust_domain_gets_no_certificates_of_this_one(
    kubernetes_api: KubernetesApi, namespace: str, tmp_path: Path
) -> None:
    a_pod(kubernetes_api, namespace)
    token = kubernetes_api.token_for(namespace, "orders", AUDIENCE, pod="orders-1")
    cluster = a_cluster(kubernetes_api, tmp_path, namespace, trust_domain="other.example")
    async with a_port(tmp_path, cluster) as port:
        with pytest.raises(Refused) as refused:
            await run.enrol(port.pod(tmp_path / "pod", token), SystemClock())

        assert str(refused.value) == (
            f"127.0.0.1:{port.number} answered PERMISSION_DENIED: the workloads of cluster 'main' are of "
            "trust domain 'other.example', this CA signs for 'cluster.local'"
        )


def a_manifest_of_a_pod(port: int) -> str:
    said = a_manifest(
        "Pod",
        "web-1",
        "bookinfo",
        metadata={
            "labels": {"app": "web"},
            "annotations": {"sidecar.istio.io/interceptionMode": "NONE"},
        },
        spec={
            "serviceAccountName": "web",
            "containers": [
                {
                    "name": "app",
                    "image": "app",
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": port}},
                    "livenessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
                }
            ],
        },
    )
    return json.dumps(said)


@pytest.fixture
def bookinfo(kubernetes_api: KubernetesApi) -> Iterator[str]:
    """The namespace, in the cluster as in the repository."""
    kubernetes_api.apply(a_manifest("Namespace", "bookinfo"))
    yield "bookinfo"
    kubernetes_api.heal()
    kubernetes_api.remove_namespace("bookinfo")


@needs_envoy
async def test_an_injected_pod_serves_its_neighbours_by_mutual_tls_and_is_probed_in_plain_text(
    kubernetes_api: KubernetesApi, bookinfo: str, tmp_path: Path
) -> None:
    """A token from the TokenRequest API becomes a certificate, and an Envoy that answers under STRICT."""
    envoy = binary()
    assert envoy is not None
    async with AsyncExitStack() as stack:
        place = stack.enter_context(claimed())
        address, client_address = place.network("10.0.0.5"), place.network("10.0.0.6")
        port, client_port = free_port(), free_port()
        app = stack.enter_context(application("web", (LOOPBACK, port)))
        tools = await stack.enter_async_context(Processes(tmp_path / "logs"))
        repository = Repository(tmp_path, tools, SystemClock())
        state = tmp_path / "state"
        await repository.create(bell=admin_socket(state))
        mesh = json.loads(a_mesh())
        mesh["spec"]["registries"] = [{"name": "main", "kubernetes": {"secretRef": "main"}}]
        files = {
            "mesh.yaml": json.dumps(mesh),
            # No API server takes an address of the loopback for an endpoint: Git's service selects the Pod.
            "web.yaml": a_service("web", ports=[a_port_of(port, name="http")]),
            "strict.yaml": document("PeerAuthentication", "strict", mtls={"mode": "STRICT"}),
            "client.yaml": a_workload("client", client_address),
        }
        await repository.push(files, "a Pod and a machine")
        a_cluster(kubernetes_api, tmp_path / "registries", bookinfo)
        control_plane = await stack.enter_async_context(
            serving(
                repository.url, state, tools, SystemClock(), "--registries-directory", tmp_path / "registries"
            )
        )
        await control_plane.until_ready(timedelta(seconds=60))

        sidecar = Sidecar(
            image="meshwright",
            control_plane=(f"127.0.0.1:{control_plane.ports.xds}",),
            enrolment=(f"127.0.0.1:{control_plane.ports.token}",),
            ca_root=(state / "ca" / "intermediate" / "root-cert.pem").read_text(),
        )
        manifest = inject([("pod.yaml", a_manifest_of_a_pod(port))], sidecar).text
        (member,) = (dict(one.data) for one in parse_file("pod.yaml", manifest.encode())[0])
        kubernetes_api.apply(a_manifest("ServiceAccount", "web", bookinfo), member)
        kubernetes_api.patch_status(member, running(address))
        pod = InjectedPod(member, tmp_path / "web-1", tools)
        await pod.start(address, kubernetes_api.token_for(bookinfo, "web", AUDIENCE, pod="web-1"))

        client = Machine(
            workload=Workload(
                name="client-1",
                namespace="bookinfo",
                address=client_address,
                labels={},
                service_account="client",
                port=client_port,
                proxy_ports=ProxyPorts(),
            ),
            folder=tmp_path / "client-1",
            envoy=envoy,
            control_plane=control_plane,
            processes=tools,
        )
        client.folder.mkdir()
        await client.enrol()
        await client.start_proxy()
        through = f"http://{LOOPBACK}:{client.workload.http_proxy_port}/"

        assert await asyncio.to_thread(becomes, lambda: status(through, f"web:{port}") == 200, 30)
        assert app.asked[-1]["headers"]["x-forwarded-client-cert"].endswith(
            f"spiffe://{TRUST_DOMAIN}/ns/bookinfo/sa/client"
        )
        # In plain text nobody comes in but by the probes.
        assert status(f"http://{address}:{port}/") == 0
        assert pod.probe("app", "readinessProbe") == 200
        assert app.asked[-1]["path"] == "/ready"
        assert await asyncio.to_thread(becomes, lambda: pod.probe("app", "livenessProbe") == 200)
        assert pod.probe("meshwright-proxy", "readinessProbe") == 200

        # At its end Envoy tells its callers to go elsewhere, and goes on answering those that come.
        code, said = await pod.told_to_end("meshwright-renew")
        assert code == 0
        assert "draining status=200" in said
        assert status(through, f"web:{port}") == 200


@pytest.mark.parametrize("name", ["annotations", "cronjob", "deployment", "list", "statefulset-probes"])
def test_what_inject_prints_is_taken_by_a_real_api_server(
    kubernetes_api: KubernetesApi, namespace: str, name: str
) -> None:
    """Field by field: the golden files alone would not notice a misspelt one."""
    text = (INJECTED / f"{name}.yaml").read_bytes()
    documents, problems = parse_file(f"{name}.yaml", text)
    assert problems == ()
    for one in documents:
        kind, group = one.data["kind"], one.data["apiVersion"]
        taken = kubernetes_api.ask(
            "POST",
            path_of(a_manifest(kind, "", namespace, group=group)).rstrip("/"),
            {**one.data, "metadata": {**one.data["metadata"], "namespace": namespace}},
            dryRun="All",
            fieldValidation="Strict",
        )
        assert taken["kind"] == kind
