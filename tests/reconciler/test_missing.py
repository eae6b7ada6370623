"""A certificate that a Gateway names and the operator does not keep is said at its line."""

from __future__ import annotations

import json

from mesh.config import Config
from mesh.problems import Problem
from mesh.world import Credential, Credentials, Trust
from reconciler.missing import missing_credentials
from reconciler.reading import Reader, TextFile
from tests.support.catalogues import catalogue

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  selector: {istio: edge}
  servers:
    - port: {number: 80, name: http, protocol: HTTP}
      hosts: ["*"]
    - port: {number: 443, name: https, protocol: HTTPS}
      hosts: [shop.example]
      tls:
        mode: SIMPLE
        credentialName: shop-cert
"""


def a_gateway_workload(namespace: str) -> str:
    return json.dumps(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "WorkloadEntry",
            "metadata": {"name": "edge-1", "namespace": namespace},
            "spec": {"address": "10.0.0.1", "labels": {"istio": "edge"}},
        }
    )


def missing(credentials: Credentials, *workloads: str) -> list[Problem]:
    files = [TextFile("edge.yaml", GATEWAY.encode())]
    files += [TextFile(f"{at}.yaml", text.encode()) for at, text in enumerate(workloads)]
    reading = Reader()(files)
    assert isinstance(reading.config, Config)
    services = catalogue(reading.config)
    return list(missing_credentials(reading, services, Trust(credentials=credentials)))


CLUSTERS = """
apiVersion: meshwright.dev/v1alpha1
kind: Mesh
metadata: {name: mesh}
spec:
  registries:
    - {name: east, kubernetes: {secretRef: east, gatewaySecrets: true}}
    - {name: west, kubernetes: {secretRef: west}}
    - {name: far, kubernetes: {secretRef: far, gatewaySecrets: true}}
"""
KEPT = {"shop-cert": Credential(b"chain", b"key")}


def test_it_is_said_where_it_is_named_and_where_it_has_to_be_put() -> None:
    (problem,) = missing({"shop": {"other": KEPT["shop-cert"]}})
    assert str(problem) == (
        "edge.yaml:14: warning MW0013 spec.servers[1].tls.credentialName: "
        "no certificate 'shop-cert' is kept for gateways of namespace 'shop'"
    )
    assert (
        problem.hint == "put tls.crt and tls.key into shop/shop-cert below --secrets-directory, and restart"
    )


def test_the_clusters_that_may_keep_it_are_said() -> None:
    (problem,) = missing({}, CLUSTERS)
    assert problem.hint == (
        "make the Secret shop/shop-cert in east or far, "
        "or put tls.crt and tls.key into shop/shop-cert below --secrets-directory, and restart"
    )


def test_a_certificate_that_is_kept_is_not_missed() -> None:
    assert missing({"shop": KEPT}) == []


def test_it_has_to_be_kept_for_every_namespace_that_has_a_proxy_of_the_gateway() -> None:
    """Its own namespace counts only as long as no proxy is known: a proxy is given its own secrets only."""
    workloads = a_gateway_workload("ingress"), a_gateway_workload("ops")
    assert [problem.hint.split()[5] for problem in missing({"shop": KEPT, "ops": KEPT}, *workloads)] == [
        "ingress/shop-cert"
    ]
