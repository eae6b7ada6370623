"""The registry against a real kube-apiserver on a real etcd."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.clock import SystemClock
from mesh.errors import Refused
from mesh.kinds.registry import Registry
from mesh.kinds.registry_kubernetes import Kubernetes
from mesh.latest import Latest
from reconciler.registering import opener
from registries.kept import KeptAnswers
from registries.kubernetes import InCluster, Reading, Reviewed, TokenReviews
from registries.kubernetes.client import Limits
from registries.kubernetes.reflector import Pace
from registries.registry import State
from registries.sources import Configured, Sources
from tests.servers.kubernetes import KubernetesApi
from tests.servers.kubernetes_objects import a_manifest
from tests.support.cluster_registries import (
    PATIENCE_S,
    QUICK,
    GivenAccess,
    Witness,
    answered,
    heard,
    named_access,
    running,
    serving,
    until,
)
from tests.support.cluster_states import told

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "kubernetes"
OFTEN = Pace(
    backoff_first=timedelta(milliseconds=20),
    backoff_max=timedelta(milliseconds=500),
    steady=timedelta(milliseconds=20),
    watch_min=timedelta(seconds=1),
)
AUDIENCE = "meshwright-ca"


@pytest.fixture(scope="module")
def forgetful(has_kubernetes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    """A second cluster, which answers watches from etcd, so that what was compacted is gone at once."""
    folder = tmp_path_factory.mktemp("forgetful")
    with KubernetesApi(folder, name="west", flags=("--watch-cache=false",)) as cluster:
        yield cluster


def a_running_pod(cluster: KubernetesApi, namespace: str, number: int) -> None:
    """A Pod with an address, and a sidecar."""
    labels = {"app": "reviews", "security.istio.io/tlsMode": "istio"}
    spec = {"nodeName": "node-1", "containers": [{"name": "app", "image": "app"}]}
    pod = a_manifest("Pod", f"reviews-{number}", namespace, metadata={"labels": labels}, spec=spec)
    cluster.apply(pod)
    address = f"10.1.0.{number}"
    cluster.patch_status(pod, {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]})


def a_slice(cluster: KubernetesApi, namespace: str, *numbers: int) -> dict[str, Any]:
    """What the controller would write for these Pods."""
    return a_manifest(
        "EndpointSlice",
        "reviews-1",
        namespace,
        group="discovery.k8s.io/v1",
        metadata={"labels": {"kubernetes.io/service-name": "reviews"}},
        addressType="IPv4",
        ports=[{"name": "http", "port": 8080, "protocol": "TCP"}],
        endpoints=[
            {
                "addresses": [f"10.1.0.{number}"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "targetRef": {"kind": "Pod", "name": f"reviews-{number}", "namespace": namespace},
            }
            for number in numbers
        ],
    )


def reviews(cluster: KubernetesApi, namespace: str, *numbers: int) -> None:
    """The Service, its Pods, and their slice."""
    ports = [{"name": "http", "port": 9080}]
    cluster.apply(
        a_manifest("Service", "reviews", namespace, spec={"selector": {"app": "reviews"}, "ports": ports})
    )
    for number in numbers:
        a_running_pod(cluster, namespace, number)
    cluster.apply(a_slice(cluster, namespace, *numbers))


async def test_a_service_with_its_pods_is_answered_and_followed(
    kubernetes_api: KubernetesApi, namespace: str, tmp_path: Path
) -> None:
    reviews(kubernetes_api, namespace, 1, 2)
    async with running(named_access(tmp_path, kubernetes_api.kubeconfig)) as registry:
        first = await answered(registry)
        assert serving(first, namespace=namespace) == ["10.1.0.1", "10.1.0.2"]
        assert sorted(first.said(namespace).workloads) == ["reviews-1", "reviews-2"]
        assert first.said(namespace).workloads["reviews-1"].mutual_tls
        await asyncio.to_thread(kubernetes_api.apply, a_slice(kubernetes_api, namespace, 2))

        await answered(registry, lambda answer: serving(answer, namespace=namespace) == ["10.1.0.2"])
        await heard(registry, State.LIVE)


async def test_a_killed_api_server_withdraws_nothing_and_is_followed_again(
    kubernetes_api: KubernetesApi, namespace: str, tmp_path: Path
) -> None:
    """istio#60612: an informer that failed once was never tried again."""
    reviews(kubernetes_api, namespace, 1)
    async with running(named_access(tmp_path, kubernetes_api.kubeconfig)) as registry:
        await heard(registry, State.LIVE)
        async with Witness(registry, "10.1.0.1", namespace=namespace).watching() as witness:
            await asyncio.to_thread(kubernetes_api.kill_api_server)
            found = await heard(registry, State.STALE)
            # Refused or reset, as the last packets had it.
            assert found.error.startswith(f"the API server at {kubernetes_api.url} does not answer: ")
            await asyncio.to_thread(kubernetes_api.start_api_server)
            await heard(registry, State.LIVE)
            await asyncio.to_thread(reviews, kubernetes_api, namespace, 1, 2)
            await answered(registry, lambda answer: len(serving(answer, namespace=namespace)) == 2)

        assert witness.gaps == []


async def test_an_api_server_that_hangs_is_noticed_though_its_connections_stay_open(
    kubernetes_api: KubernetesApi, namespace: str, tmp_path: Path
) -> None:
    reviews(kubernetes_api, namespace, 1)
    limits = Limits(silence=0.5, agreement=0.5, answer=0.5)
    access = named_access(tmp_path, kubernetes_api.kubeconfig)
    async with running(access, limits=limits) as registry:
        await heard(registry, State.LIVE)
        async with Witness(registry, "10.1.0.1", namespace=namespace).watching() as witness:
            await asyncio.to_thread(kubernetes_api.suspend)
            found = await heard(registry, State.STALE)
            assert found.error.endswith("does not answer: it did not answer in time")
            await asyncio.to_thread(kubernetes_api.resume)
            await heard(registry, State.LIVE)

        assert witness.gaps == []


async def test_watches_that_end_again_and_again_miss_nothing(
    kubernetes_api: KubernetesApi, namespace: str, tmp_path: Path
) -> None:
    reviews(kubernetes_api, namespace, 1)
    access = named_access(tmp_path, kubernetes_api.kubeconfig)
    async with running(access, pace=OFTEN) as registry:
        await heard(registry, State.LIVE)
        async with Witness(registry, "10.1.0.1", namespace=namespace).watching() as witness:
            for number in range(2, 30):
                await asyncio.to_thread(a_running_pod, kubernetes_api, namespace, number)
                manifest = a_slice(kubernetes_api, namespace, 1, number)
                await asyncio.to_thread(kubernetes_api.apply, manifest)
            await until(lambda: registry.counters.heard["EndpointSlice"].watches >= 3)
            await answered(
                registry, lambda answer: serving(answer, namespace=namespace) == ["10.1.0.1", "10.1.0.29"]
            )

        assert witness.gaps == []
        assert {one.lists for one in registry.counters.heard.values()} == {1}


async def test_after_a_compaction_of_etcd_everything_is_listed_again_and_nothing_withdrawn(
    forgetful: KubernetesApi, tmp_path: Path
) -> None:
    namespace = await asyncio.to_thread(forgetful.namespace)
    await asyncio.to_thread(reviews, forgetful, namespace, 1)
    async with running(named_access(tmp_path, forgetful.kubeconfig), pace=OFTEN) as registry:
        await heard(registry, State.LIVE)
        async with Witness(registry, "10.1.0.1", namespace=namespace).watching() as witness:
            for number in range(5):
                await asyncio.to_thread(a_running_pod, forgetful, namespace, 2 + number)
            await asyncio.to_thread(forgetful.compact)
            await until(lambda: registry.counters.heard["Node"].lists >= 2)
            await asyncio.to_thread(forgetful.apply, a_slice(forgetful, namespace, 1, 6))
            await answered(registry, lambda answer: len(serving(answer, namespace=namespace)) == 2)

        assert witness.gaps == []


async def test_a_cluster_that_comes_back_empty_is_believed_though_its_versions_begin_anew(
    forgetful: KubernetesApi, tmp_path: Path
) -> None:
    """That so much went at once is the guard's business, not the registry's."""
    namespace = await asyncio.to_thread(forgetful.namespace)
    await asyncio.to_thread(reviews, forgetful, namespace, 1)
    async with running(named_access(tmp_path, forgetful.kubeconfig), pace=OFTEN) as registry:
        await answered(registry, lambda answer: serving(answer, namespace=namespace) == ["10.1.0.1"])
        await asyncio.to_thread(forgetful.restart_with_empty_etcd)

        await answered(registry, lambda answer: serving(answer, namespace=namespace) == [])
        await heard(registry, State.LIVE)


async def test_two_clusters_are_read_side_by_side_while_one_of_them_dies(
    kubernetes_api: KubernetesApi, namespace: str, forgetful: KubernetesApi, tmp_path: Path
) -> None:
    reviews(kubernetes_api, namespace, 1)
    other = await asyncio.to_thread(forgetful.namespace)
    await asyncio.to_thread(reviews, forgetful, other, 2)
    far = Reading(registry="west")
    async with (
        running(named_access(tmp_path / "east", kubernetes_api.kubeconfig)) as east,
        running(named_access(tmp_path / "west", forgetful.kubeconfig), reading=far) as west,
    ):
        await answered(east, lambda answer: serving(answer, namespace=namespace) == ["10.1.0.1"])
        await answered(west, lambda answer: serving(answer, namespace=other) == ["10.1.0.2"])
        await heard(east, State.LIVE)
        await asyncio.to_thread(forgetful.kill_api_server)
        await heard(west, State.STALE)
        await asyncio.to_thread(kubernetes_api.apply, a_slice(kubernetes_api, namespace))

        await answered(east, lambda answer: serving(answer, namespace=namespace) == [])
        assert east.freshness.value.state is State.LIVE
    await asyncio.to_thread(forgetful.start_api_server)


async def test_a_second_cluster_is_added_while_the_mesh_runs_and_nothing_of_the_first_is_withdrawn(
    kubernetes_api: KubernetesApi, namespace: str, forgetful: KubernetesApi, tmp_path: Path
) -> None:
    other = await asyncio.to_thread(forgetful.namespace)
    await asyncio.to_thread(reviews, kubernetes_api, namespace, 1)
    await asyncio.to_thread(reviews, forgetful, other, 2)
    for name, cluster in (("east", kubernetes_api), ("west", forgetful)):
        folder = tmp_path / "keys" / name
        folder.mkdir(parents=True)
        cluster.kubeconfig(folder / "kubeconfig").chmod(0o600)
    east, west = (Registry(name=name, kubernetes=Kubernetes(secret_ref=name)) for name in ("east", "west"))
    configured = Latest[Configured | None](None)
    configured.publish(Configured((east,)))
    clock = SystemClock()
    file = KeptAnswers(tmp_path / "registries.sqlite")
    sources = Sources(configured, opener(tmp_path / "keys", clock), file, clock)
    task = asyncio.create_task(sources.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await sources.is_ready.wait()
            version, before = sources.answers.version, sources.answers.value
            assert [(one.registry, serving(one, namespace=namespace)) for one in before] == [
                ("east", ["10.1.0.1"])
            ]
            configured.publish(Configured((east, west)))
            answers = before
            while [one.registry for one in answers] != ["east", "west"]:
                version, answers = await sources.answers.newer_than(version)
                assert serving(answers[0], namespace=namespace) == ["10.1.0.1"]
            assert serving(answers[1], namespace=other) == ["10.1.0.2"]
            await asyncio.to_thread(reviews, kubernetes_api, namespace, 1, 3)
            while serving(answers[0], namespace=namespace) != ["10.1.0.1", "10.1.0.3"]:
                version, answers = await sources.answers.newer_than(version)
                assert serving(answers[1], namespace=other) == ["10.1.0.2"]
    finally:
        task.cancel()
        await asyncio.wait([task])
        file.close()


def granted(cluster: KubernetesApi, *files: str) -> None:
    """Apply manifests of the example."""
    for file in files:
        cluster.apply(*yaml.safe_load_all((EXAMPLES / file).read_text()))


async def test_the_read_only_account_of_the_example_suffices_and_its_token_may_be_replaced(
    kubernetes_api: KubernetesApi, namespace: str, tmp_path: Path
) -> None:
    """istio#58047: rotated credentials were not picked up."""
    granted(kubernetes_api, "read-only.yaml")
    reviews(kubernetes_api, namespace, 1)
    token = tmp_path / "token"
    token.write_text(kubernetes_api.token_for("meshwright", "meshwright"))
    access = named_access(
        tmp_path, lambda path: kubernetes_api.kubeconfig(path, auth={"tokenFile": str(token)})
    )
    account = a_manifest("ServiceAccount", "meshwright", "meshwright")
    async with running(access, pace=OFTEN) as registry:
        await heard(registry, State.LIVE)
        async with Witness(registry, "10.1.0.1", namespace=namespace).watching() as witness:
            await asyncio.to_thread(kubernetes_api.delete, account)  # its tokens go with it
            # The server believes a token that it has seen for ten more seconds, or until it is started anew.
            await asyncio.to_thread(kubernetes_api.kill_api_server)
            await asyncio.to_thread(kubernetes_api.start_api_server)
            found = await heard(registry, State.STALE, "Unauthorized")
            assert found.error.endswith("Unauthorized")
            await asyncio.to_thread(granted, kubernetes_api, "read-only.yaml")
            token.write_text(await asyncio.to_thread(kubernetes_api.token_for, "meshwright", "meshwright"))
            await heard(registry, State.LIVE)

        assert witness.gaps == []


async def test_a_program_of_the_kubeconfig_hands_out_the_token(
    kubernetes_api: KubernetesApi, tmp_path: Path
) -> None:
    granted(kubernetes_api, "read-only.yaml")
    printed = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": kubernetes_api.token_for("meshwright", "meshwright")},
    }
    program = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", f"print({json.dumps(json.dumps(printed))})"],
        "interactiveMode": "Never",
    }
    access = named_access(tmp_path, lambda path: kubernetes_api.kubeconfig(path, auth={"exec": program}))
    async with running(access) as registry:
        await heard(registry, State.LIVE)


async def test_a_pod_of_the_cluster_uses_its_own_account(
    kubernetes_api: KubernetesApi, tmp_path: Path
) -> None:
    granted(kubernetes_api, "read-only.yaml")
    (tmp_path / "token").write_text(kubernetes_api.token_for("meshwright", "meshwright"))
    shutil.copy(kubernetes_api.ca.file, tmp_path / "ca.crt")
    async with running(InCluster("127.0.0.1", str(kubernetes_api.port), tmp_path)) as registry:
        await heard(registry, State.LIVE)


async def test_an_account_without_rights_is_told_what_to_grant(
    kubernetes_api: KubernetesApi, namespace: str, tmp_path: Path
) -> None:
    kubernetes_api.service_account("nobody", namespace)
    token = kubernetes_api.token_for(namespace, "nobody")
    access = named_access(tmp_path, lambda path: kubernetes_api.kubeconfig(path, token=token))
    async with running(access, pace=QUICK) as registry:
        found = await heard(registry, State.STALLED)

        assert found.error.startswith("the API server answered 403 to the GET of /api")
        assert token not in found.error
        assert found.hint == (
            "grant what examples/kubernetes/read-only.yaml grants to the account of the kubeconfig"
        )


async def test_a_token_of_a_pod_is_reviewed_for_our_audience_only(
    kubernetes_api: KubernetesApi, namespace: str, tmp_path: Path
) -> None:
    granted(kubernetes_api, "read-only.yaml", "token-reviews.yaml")
    own = kubernetes_api.token_for("meshwright", "meshwright")
    reviews_of = TokenReviews(named_access(tmp_path, lambda path: kubernetes_api.kubeconfig(path, token=own)))
    kubernetes_api.service_account("web", namespace)
    spec = {"serviceAccountName": "web", "containers": [{"name": "app", "image": "app"}]}
    made = kubernetes_api.apply(a_manifest("Pod", "web-1", namespace, spec=spec))
    ours = kubernetes_api.token_for(namespace, "web", AUDIENCE, pod="web-1")
    others = kubernetes_api.token_for(namespace, "web", "vault")

    assert await reviews_of.review(ours, AUDIENCE) == Reviewed(
        namespace=namespace, account="web", pod="web-1", uid=made["metadata"]["uid"]
    )
    for token in (others, own, "nonsense"):
        with pytest.raises(Refused, match=r"^the ServiceAccount token is refused: ") as refused:
            await reviews_of.review(token, AUDIENCE)
        assert token not in str(refused.value)


async def test_a_server_with_the_certificate_of_somebody_else_is_not_spoken_to(
    kubernetes_api: KubernetesApi, forgetful: KubernetesApi, tmp_path: Path
) -> None:
    access = named_access(tmp_path, kubernetes_api.kubeconfig)
    known = await access.read()
    imposter = replace(known, server=replace(known.server, url=forgetful.url))
    async with running(GivenAccess(imposter)) as registry:
        found = await heard(registry, State.WAITING, "certificate")

        assert found.error == (
            f"the API server at {forgetful.url} does not answer: its certificate is not accepted"
        )
        assert found.hint == "check certificate-authority-data and the server's name"


async def test_fifty_changes_a_second_end_where_a_fresh_read_ends_and_each_is_seen(
    kubernetes_api: KubernetesApi, namespace: str, tmp_path: Path
) -> None:
    """Random changes of who is ready; a second registry then reads everything anew.

    Each is waited for with a bound; how long it takes is measured by ``python -m tests.bench.registries``.
    """
    chance, clock = random.Random(7), SystemClock()
    numbers = range(1, 21)
    await asyncio.to_thread(reviews, kubernetes_api, namespace, *numbers)
    access = named_access(tmp_path, kubernetes_api.kubeconfig)
    async with running(access) as registry:
        await heard(registry, State.LIVE)
        before = registry.counters.joins
        for _ in range(200):
            chosen = sorted(chance.sample(numbers, chance.randint(1, 20)))
            began = clock.monotonic()
            await asyncio.to_thread(kubernetes_api.apply, a_slice(kubernetes_api, namespace, *chosen))
            expected = sorted(f"10.1.0.{number}" for number in chosen)
            await answered(registry, lambda answer: sorted(serving(answer, namespace=namespace)) == expected)  # noqa: B023
            await clock.sleep(timedelta(seconds=max(0.0, began + 0.02 - clock.monotonic())))
        joins = registry.counters.joins - before
        async with running(named_access(tmp_path / "afresh", kubernetes_api.kubeconfig)) as afresh:
            fresh = await answered(afresh)

        assert registry.answer.value is not None
        assert told(registry.answer.value) == told(fresh)
        assert joins <= 210  # one for each change; a few for what else lives in the cluster
