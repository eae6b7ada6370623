"""What a Mesh document may say of a cluster, and of the namespaces that are read."""

from __future__ import annotations

import pytest

from tests.support.documents import problems_of


def a_registry(kubernetes: str) -> str:
    return f"registries: [{{name: east, kubernetes: {{{kubernetes}}}}}]"


def selecting(expression: str) -> str:
    return f"meshConfig: {{discoverySelectors: [{{matchExpressions: [{{{expression}}}]}}]}}"


AT = "spec.registries[0].kubernetes"
SELECTOR = "spec.meshConfig.discoverySelectors[0].matchExpressions[0]"


@pytest.mark.parametrize(
    ("spec", "messages"),
    [
        (a_registry("secretRef: east"), []),
        (a_registry("inCluster: true, clusterDomain: east.example, trustDomain: east.example"), []),
        (a_registry("secretRef: east, context: admin, externalIPs: true, gatewaySecrets: true"), []),
        (a_registry(""), [f"{AT}: expected exactly one of secretRef, inCluster"]),
        (
            a_registry("secretRef: east, inCluster: true"),
            [f"{AT}: expected exactly one of secretRef, inCluster"],
        ),
        (a_registry("secretRef: ../ca"), [f"{AT}.secretRef: not a DNS label: '../ca'"]),
        (
            a_registry("inCluster: true, context: admin"),
            [f"{AT}.context: it is the name of a context of the kubeconfig: say secretRef"],
        ),
        (
            a_registry("secretRef: east, clusterDomain: 'a b'"),
            [f"{AT}.clusterDomain: not a host name: 'a b' (label 'a b')"],
        ),
        (
            a_registry("secretRef: east, trustDomain: 'a/b'"),
            [f"{AT}.trustDomain: not a host name: 'a/b' (label 'a/b')"],
        ),
        (selecting("key: mesh, operator: Exists"), []),
        (selecting("key: mesh, operator: In, values: [a]"), []),
        (
            selecting("key: mesh, operator: Equals, values: [a]"),
            [f"{SELECTOR}.operator: expected one of In, NotIn, Exists, DoesNotExist, found 'Equals'"],
        ),
        (selecting("key: mesh, operator: NotIn"), [f"{SELECTOR}.values: NotIn needs at least one value"]),
        (
            selecting("key: mesh, operator: DoesNotExist, values: [a]"),
            [f"{SELECTOR}.values: DoesNotExist takes no values"],
        ),
    ],
)
def test_what_one_document_shows_of_a_cluster(spec: str, messages: list[str]) -> None:
    found = problems_of("Mesh", spec)

    assert [text.removeprefix("error IST0106 ") for text in found] == messages
