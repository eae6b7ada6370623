"""The Kubernetes API that tests talk to does what they ask of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers.door import Answered, Door
from tests.servers.kubernetes import KubernetesApi
from tests.servers.kubernetes_objects import a_manifest, path_of
from tests.servers.processes import DidNotStart

PODS = "/api/v1/pods"


def a_pod(namespace: str) -> dict[str, Any]:
    spec = {"nodeName": "node-1", "containers": [{"name": "app", "image": "app"}]}
    return a_manifest("Pod", "reviews-1", namespace, spec=spec)


def bearer(cluster: KubernetesApi, token: str) -> Door:
    return Door(port=cluster.port, context=cluster.ca.context(), headers={"Authorization": f"Bearer {token}"})


def test_objects_are_applied_patched_read_and_deleted(kubernetes_api: KubernetesApi, namespace: str) -> None:
    service = a_manifest("Service", "reviews", namespace, spec={"ports": [{"port": 9080}]})
    assert kubernetes_api.apply(service)["spec"]["clusterIP"]

    kubernetes_api.patch(service, {"metadata": {"labels": {"app": "reviews"}}})
    found = kubernetes_api.get(service)
    assert found is not None
    assert found["metadata"]["labels"] == {"app": "reviews"}

    kubernetes_api.delete(service)
    assert kubernetes_api.get(service) is None


def test_the_status_of_a_pod_is_what_a_test_says(kubernetes_api: KubernetesApi, namespace: str) -> None:
    kubernetes_api.apply(a_pod(namespace))

    stored = kubernetes_api.patch_status(
        a_pod(namespace), {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}
    )

    assert stored["status"]["podIP"] == "10.0.0.1"


def test_a_pod_stays_terminating_for_its_grace(kubernetes_api: KubernetesApi, namespace: str) -> None:
    kubernetes_api.apply(a_pod(namespace))

    kubernetes_api.delete(a_pod(namespace), grace_s=30)
    found = kubernetes_api.get(a_pod(namespace))
    assert found is not None
    assert "deletionTimestamp" in found["metadata"]

    kubernetes_api.delete(a_pod(namespace))
    assert kubernetes_api.get(a_pod(namespace)) is None


def test_a_namespace_is_removed_with_all_that_is_in_it(kubernetes_api: KubernetesApi) -> None:
    name = kubernetes_api.namespace(labels={"team": "books"})
    kubernetes_api.apply(a_pod(name))

    kubernetes_api.remove_namespace(name)

    assert kubernetes_api.get(a_manifest("Namespace", name)) is None
    assert kubernetes_api.ask("GET", PODS)["items"] == []


def test_an_account_may_do_what_its_rules_say(kubernetes_api: KubernetesApi, namespace: str) -> None:
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    kubernetes_api.service_account("mesh", namespace, rules=[rule])

    door = bearer(kubernetes_api, kubernetes_api.token_for(namespace, "mesh"))

    assert door.ask("GET", PODS)["kind"] == "PodList"
    with pytest.raises(Answered, match="cannot list resource"):
        door.ask("GET", "/api/v1/nodes")


def test_a_token_for_another_audience_is_no_key_to_the_api(
    kubernetes_api: KubernetesApi, namespace: str
) -> None:
    kubernetes_api.service_account("mesh", namespace)
    token = kubernetes_api.token_for(namespace, "mesh", "meshwright-ca", 600)

    with pytest.raises(Answered, match="401"):
        bearer(kubernetes_api, token).ask("GET", PODS)


def test_a_kubeconfig_names_the_cluster_and_its_user(kubernetes_api: KubernetesApi, tmp_path: Path) -> None:
    written = yaml.safe_load(kubernetes_api.kubeconfig(tmp_path / "config", user="ops").read_text())

    assert written["clusters"][0]["cluster"]["server"] == kubernetes_api.url
    assert set(written["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}


def test_it_keeps_everything_over_a_restart_and_forgets_what_etcd_forgot(
    kubernetes_api: KubernetesApi, namespace: str
) -> None:
    before = kubernetes_api.ask("GET", PODS)["metadata"]["resourceVersion"]
    kubernetes_api.apply(a_pod(namespace))
    kubernetes_api.patch(a_pod(namespace), {"metadata": {"labels": {"app": "reviews"}}})

    kubernetes_api.compact()
    kubernetes_api.kill_api_server()
    kubernetes_api.start_api_server()

    assert kubernetes_api.get(a_pod(namespace)) is not None
    event = kubernetes_api.ask("GET", PODS, watch="1", resourceVersion=before, timeoutSeconds=1)
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


def test_it_can_hang(kubernetes_api: KubernetesApi) -> None:
    kubernetes_api.suspend()
    with pytest.raises(TimeoutError):
        kubernetes_api.ask("GET", "/readyz", timeout_s=0.3)

    kubernetes_api.resume()
    assert kubernetes_api.ask("GET", "/readyz") == "ok"


def test_it_can_lose_everything(kubernetes_api: KubernetesApi, namespace: str) -> None:
    kubernetes_api.apply(a_pod(namespace))

    kubernetes_api.restart_with_empty_etcd()

    assert kubernetes_api.ask("GET", PODS)["items"] == []


@pytest.mark.parametrize(
    ("kind", "group", "path"),
    [
        ("Namespace", "v1", "/api/v1/namespaces/x"),
        ("Endpoints", "v1", "/api/v1/namespaces/default/endpoints/x"),
        (
            "EndpointSlice",
            "discovery.k8s.io/v1",
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/x",
        ),
        ("Ingress", "networking.k8s.io/v1", "/apis/networking.k8s.io/v1/namespaces/default/ingresses/x"),
        (
            "NetworkPolicy",
            "networking.k8s.io/v1",
            "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies/x",
        ),
        ("Gateway", "networking.istio.io/v1", "/apis/networking.istio.io/v1/namespaces/default/gateways/x"),
    ],
)
def test_every_kind_has_its_path(kind: str, group: str, path: str) -> None:
    assert path_of(a_manifest(kind, "x", group=group)) == path


@pytest.mark.usefixtures("has_kubernetes")
def test_an_api_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(DidNotStart, match="unknown flag: --no-such-flag"):
        KubernetesApi(tmp_path, flags=["--no-such-flag"]).__enter__()
