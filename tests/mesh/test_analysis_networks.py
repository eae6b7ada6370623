from __future__ import annotations

import pytest

from tests.support.documents import read, said, written

DOOR = written(
    "ServiceEntry",
    """
    hosts: [door.edge.svc.cluster.local]
    location: MESH_INTERNAL
    resolution: STATIC
    ports: [{number: 15443, name: tls, protocol: TLS}, {number: 443, name: https, protocol: HTTPS}]
    workloadSelector: {labels: {app: door}}
    """,
    "door",
    "edge",
)
AT = "spec.meshNetworks.networks.far.gateways[1]"


@pytest.mark.parametrize(
    ("gateway", "messages"),
    [
        ("{registryServiceName: door.edge.svc.cluster.local, port: 15443}", []),
        (
            "{registryServiceName: door.edge.svc.cluster.local, port: 8443}",
            [f"error IST0101 {AT}.port: no port 8443 at 'door.edge.svc.cluster.local'"],
        ),
        (
            "{registryServiceName: gone.edge.svc.cluster.local, port: 15443}",
            [
                (
                    f"info MW0011 {AT}.registryServiceName: no service 'gone.edge.svc.cluster.local'"
                    " is known, so network 'far' is not entered by it"
                )
            ],
        ),
    ],
)
def test_a_gateway_that_is_a_service_must_be_one(gateway: str, messages: list[str]) -> None:
    """An information only: a registry may know it, or come to know it."""
    networks = (
        f"meshNetworks: {{networks: {{far: {{gateways: [{{address: 192.0.2.1, port: 1}}, {gateway}]}}}}}}"
    )

    assert [said(problem) for problem in read(written("Mesh", networks), DOOR).problems] == messages
