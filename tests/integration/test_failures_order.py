"""Order and haste: what is new stands before anything points at it, and the newest wins (DESIGN D5)."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.live_meshes import FRONT, LiveMesh, routes, service

pytestmark = pytest.mark.envoy

STOREFRONT = "http://storefront.shop.svc.cluster.local/details/0"


def storefront(to: str) -> str:
    """A name that only this VirtualService knows, and the gateway's routes, both sent to one service."""
    host = f"{to}.shop.svc.cluster.local"
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: storefront, namespace: shop}}
spec:
  exportTo: ["."]
  hosts: [storefront.shop.svc.cluster.local]
  http:
  - route: [{{destination: {{host: {host}}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: door, namespace: shop}}
spec:
  exportTo: [istio-system]
  hosts: ["*"]
  gateways: [istio-system/door]
  http:
  - route: [{{destination: {{host: {host}}}}}]
"""


def behind(name: str) -> str:
    """A service of its own, whose one workload is that of orders."""
    return service(name, "shop", "istio-system").replace(f"service: {name}", "service: orders")


async def test_routes_move_to_a_brand_new_service_while_the_old_one_is_deleted(mesh: LiveMesh) -> None:
    """One commit each: there is no moment at which a request finds no cluster, or no endpoint in it."""
    before = mesh.place.files["shop/routes.yaml"]
    await mesh.push_live({"shop/routes.yaml": storefront("first"), "shop/first.yaml": behind("first")})
    assert (await mesh.ask(FRONT, STOREFRONT))[0] == "200"
    outcomes: list[str] = []
    done = asyncio.Event()

    async def visitor() -> None:
        while not done.is_set():
            outcomes.append((await mesh.ask(FRONT, STOREFRONT))[0])
            outcomes.append((await mesh.visit())[0])

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(visitor())
        for old, new in (("first", "second"), ("second", "third"), ("third", "first")):
            await mesh.push_live(
                {
                    "shop/routes.yaml": storefront(new),
                    f"shop/{new}.yaml": behind(new),
                    f"shop/{old}.yaml": None,
                }
            )
        done.set()
    await mesh.push_live({"shop/routes.yaml": before, "shop/first.yaml": None})

    assert len(outcomes) > 100
    assert {outcome for outcome in outcomes if outcome != "200"} == set()


async def test_a_storm_of_commits_ends_with_everybody_on_the_newest(mesh: LiveMesh) -> None:
    """Nothing waits in a queue: commits between the first and the last may never be served."""
    async with mesh.load() as load:
        for number in range(20):
            push = await mesh.push({"shop/routes.yaml": routes(f"storm-{number}")})
        status = await mesh.until_live(push)
        await mesh.answers("storm-19")

    assert status["live"]["refused"] == []
    assert load.failed == {}
