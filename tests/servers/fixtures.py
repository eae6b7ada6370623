"""What tests ask for by name: a running Consul, a running Kubernetes API, each up and clean.

One of each serves the whole run, because to start one takes seconds; a test may hurt it as it likes,
it is healed for the next. Where a program is not on this machine, the test is skipped by name.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mesh.errors import Misconfigured
from tests.servers.consul import ConsulAgent
from tests.servers.kubernetes import KubernetesApi
from tests.servers.programs import find


@pytest.fixture(scope="session")
def has_consul() -> None:
    """For tests that start agents of their own."""
    _needs("consul")


@pytest.fixture(scope="session")
def has_kubernetes() -> None:
    """For tests that start clusters of their own."""
    _needs("etcd", "kube-apiserver")


@pytest.fixture(scope="session")
def _run_consul(has_consul: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulAgent]:
    with ConsulAgent(tmp_path_factory.mktemp("consul")) as agent:
        yield agent


@pytest.fixture
def consul_agent(_run_consul: ConsulAgent) -> Iterator[ConsulAgent]:
    """A single server without ACLs, with nothing in its catalogue but itself."""
    _run_consul.heal()
    yield _run_consul
    _run_consul.heal()
    _run_consul.clear()


@pytest.fixture(scope="session")
def _run_kubernetes(
    has_kubernetes: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KubernetesApi]:
    with KubernetesApi(tmp_path_factory.mktemp("kubernetes")) as cluster:
        yield cluster


@pytest.fixture
def kubernetes_api(_run_kubernetes: KubernetesApi) -> KubernetesApi:
    """A cluster that is up. What others left in namespaces of their own was removed."""
    _run_kubernetes.heal()
    return _run_kubernetes


@pytest.fixture
def namespace(kubernetes_api: KubernetesApi) -> Iterator[str]:
    """A fresh one, removed with all that is in it."""
    name = kubernetes_api.namespace()
    yield name
    kubernetes_api.heal()
    kubernetes_api.remove_namespace(name)


def _needs(*programs: str) -> None:
    try:
        for program in programs:
            find(program)
    except Misconfigured as error:
        pytest.skip(f"{error}: {error.hint}")
