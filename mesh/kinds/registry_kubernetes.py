"""Kubernetes as a registry: one cluster, how it is reached, and what of it is read."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from mesh.kinds.kind import Flag, Kind, Text
from mesh.kinds.rules import dns_label, domain, wrong
from mesh.places import Place
from mesh.problems import Problem


class Kubernetes(Kind):
    """One cluster. Exactly one of ``secretRef`` and ``inCluster`` says how it is reached."""

    secret_ref: Text = ""
    """The name of a folder of the operator's that holds a ``kubeconfig``."""
    context: Text = ""
    """The context of the kubeconfig; its current one when not said."""
    in_cluster: Flag = False
    """The ServiceAccount of the Pod that the control plane runs in."""
    cluster_domain: Text = "cluster.local"
    trust_domain: Text = ""
    """That of the cluster's workloads, when it is not the mesh's: they are called, and are no members."""
    external_ips: Flag = Field(default=False, alias="externalIPs")
    """Whether Services may claim addresses by ``externalIPs``: who may write one then captures that address
    on every machine of the mesh (CVE-2020-8554)."""
    gateway_secrets: Flag = False
    """Whether ``credentialName`` of a Gateway may mean a Secret of the cluster: who may write one there then
    decides which certificate gateways of that namespace show."""


def check(kubernetes: Kubernetes, where: Place, at: str) -> Iterator[Problem]:
    """What the settings of one cluster show by themselves."""
    if bool(kubernetes.secret_ref) == kubernetes.in_cluster:
        yield from wrong(where, at, "expected exactly one of secretRef, inCluster")
    if kubernetes.secret_ref:
        yield from wrong(where, f"{at}.secretRef", dns_label(kubernetes.secret_ref))
    if kubernetes.context and not kubernetes.secret_ref:
        yield from wrong(
            where, f"{at}.context", "it is the name of a context of the kubeconfig: say secretRef"
        )
    yield from wrong(where, f"{at}.clusterDomain", domain(kubernetes.cluster_domain))
    if kubernetes.trust_domain:
        yield from wrong(where, f"{at}.trustDomain", domain(kubernetes.trust_domain))
