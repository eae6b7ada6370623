"""Opens registries as the Mesh document and the operator's settings say."""

from __future__ import annotations

import os
from pathlib import Path

from mesh.clock import Clock
from mesh.config import Config
from mesh.kinds.registry import Registry as Settings
from mesh.kinds.registry_kubernetes import Kubernetes
from mesh.latest import Latest
from reconciler.gateway_secrets import OpenSecrets
from registries.consul import ConsulRegistry
from registries.kubernetes.access import Access
from registries.kubernetes.accounts import InCluster, Kubeconfig
from registries.kubernetes.objects import Key
from registries.kubernetes.reading import Reading
from registries.kubernetes.registry import KubernetesRegistry
from registries.kubernetes.secrets import Secrets
from registries.registry import Registry
from registries.source import Common, OpenRegistry


def common(config: Config) -> Common:
    """What the mesh says for all registries."""
    said = config.mesh_config
    return Common(
        root_namespace=said.root_namespace,
        export_to=said.default_service_export_to,
        discovery_selectors=said.discovery_selectors,
    )


def opener(directory: Path | None, clock: Clock) -> OpenRegistry:
    """``directory``: where the operator keeps the credentials that ``secretRef`` names."""

    def open_registry(settings: Settings, said: Common) -> Registry:
        if settings.kubernetes is not None:
            reading = _reading(settings, settings.kubernetes, said)
            return KubernetesRegistry(
                reading, kubernetes_access(settings.kubernetes, directory, clock), clock
            )
        if settings.consul is not None:
            return ConsulRegistry(settings.name, settings.consul, credentials=directory, clock=clock)
        raise TypeError(
            f"registry {settings.name!r} is of no kind: the check of the Mesh document lets none by"
        )

    return open_registry


def secrets_opener(directory: Path | None, clock: Clock) -> OpenSecrets:
    """The certificates of gateways that a cluster keeps. ``directory`` as for :func:`opener`."""

    def open_secrets(name: str, settings: Kubernetes, wanted: Latest[frozenset[Key]]) -> Secrets:
        return Secrets(name, kubernetes_access(settings, directory, clock), wanted, clock)

    return open_secrets


def kubernetes_access(settings: Kubernetes, directory: Path | None, clock: Clock) -> Access:
    """How the API server of a cluster is reached."""
    if settings.in_cluster:
        return InCluster(
            os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "")
        )
    return Kubeconfig(directory, settings.secret_ref, clock, context=settings.context)


def _reading(settings: Settings, cluster: Kubernetes, said: Common) -> Reading:
    return Reading(
        registry=settings.name,
        cluster_domain=cluster.cluster_domain,
        trust_domain=cluster.trust_domain,
        external_ips=cluster.external_ips,
        export_to=said.export_to,
        root_namespace=said.root_namespace,
        discovery_selectors=said.discovery_selectors,
    )
