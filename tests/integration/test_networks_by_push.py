"""A push that says where the networks are: from then on a proxy of ours is the gateway between them."""

from __future__ import annotations

import pytest

from reconciler.demo import places
from tests.support.daemons import until
from tests.support.live_meshes import (
    FILES,
    FRONT,
    GATEWAY,
    INGRESS,
    INGRESS_1,
    MESH,
    LiveMesh,
    workload,
)

pytestmark = pytest.mark.envoy

NETWORKS = """\
  meshNetworks:
    networks:
      far:
        gateways:
        - {address: 127.0.80.1, port: 15443}
"""
DOOR = """\
  - port: {number: 15443, name: tls, protocol: TLS}
    bind: 127.0.80.1
    tls: {mode: AUTO_PASSTHROUGH}
    hosts: ["*.local"]
"""
PASSED_ON = "cluster.outbound_.9080_._.orders.shop.svc.cluster.local.upstream_cx_total"


async def test_a_push_puts_a_gateway_between_two_networks_and_another_takes_it_away(mesh: LiveMesh) -> None:
    """Nothing is restarted, and the application's calls go on succeeding all the while."""
    changed = ("mesh.yaml", "ingress.yaml", "gateway.yaml", "shop/front.yaml", "shop/orders.yaml")
    before = {name: FILES[name] for name in changed}
    service = before["shop/orders.yaml"].partition("---\n")[2]
    assert PASSED_ON not in await mesh.statistics(INGRESS_1)

    async with mesh.load() as load:
        await mesh.push_live(
            {
                "ingress.yaml": f"{INGRESS}  network: far\n",
                "gateway.yaml": GATEWAY + DOOR,
                "shop/front.yaml": workload("front", "shop", "127.0.80.10", 19080) + "  network: near\n",
                "shop/orders.yaml": workload("orders", "shop", "127.0.80.20", 19081)
                + "  network: far\n---\n"
                + service,
            }
        )
        await load.goes_on()
        await mesh.push_live({"mesh.yaml": MESH + NETWORKS})
        await load.goes_on()
        passed = (await mesh.statistics(INGRESS_1))[PASSED_ON]
        assert passed > 0
        assert await endpoints(mesh, FRONT) == {here(mesh, "127.0.80.1:15443")}
        assert await endpoints(mesh, INGRESS_1) == {here(mesh, "127.0.80.20:19081")}

        await mesh.push_live(before)
        await load.goes_on()

    assert load.failed == {}

    async def is_forgotten() -> bool:
        return PASSED_ON not in await mesh.statistics(INGRESS_1)

    await until("the gateway to pass on nothing", is_forgotten)


def here(mesh: LiveMesh, place: str) -> str:
    """An address and port of the files, where this mesh has them."""
    return places.move(place, mesh.place_step)


async def endpoints(mesh: LiveMesh, name: str) -> set[str]:
    """Where this proxy reaches orders, by mutual TLS that it speaks itself."""
    lines = (await mesh.admin(name, "/clusters")).splitlines()
    mark = "outbound|9080||orders.shop.svc.cluster.local::"
    return {line.split("::")[1] for line in lines if line.startswith(mark) and "::weight::" in line}
