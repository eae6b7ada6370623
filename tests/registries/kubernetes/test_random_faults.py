"""Random changes under random faults: afterwards the answer is that of a registry which has just begun."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from aiohttp import web

from registries.registry import State
from tests.support.cluster_objects import a_node, a_pod, a_service, a_slice, an_endpoint
from tests.support.cluster_registries import GivenAccess, Witness, answered, heard, running, until
from tests.support.cluster_server import PATHS, ClusterServer, status
from tests.support.cluster_states import told

STEPS = 60
STAYS = "10.9.9.9"
APPS = ("a", "b", "c")


async def change(server: ClusterServer, chance: random.Random) -> None:
    """One thing happens in the cluster: a rollout, mostly."""
    app, number = chance.choice(APPS), chance.randrange(4)
    pod, address = f"{app}-{number}", f"10.1.0.{chance.randrange(1, 9)}"
    uid = chance.choice(("u1", "u2"))
    match chance.randrange(6):
        case 0:
            await server.put("service", a_service(app))
        case 1 | 2:
            await server.put("pod", a_pod(pod, address=address, uid=uid, is_ready=chance.random() < 0.5))
        case 3 | 4:
            ready = chance.random() < 0.7
            endpoint = an_endpoint(pod, address, uid=uid, ready=ready, serving=ready, terminating=False)
            await server.put("slice", a_slice(endpoint, service=app, name=f"{app}-{number}"))
        case 5:
            kind = chance.choice(("service", "pod", "slice"))
            name = app if kind == "service" else pod
            if server.has(kind, "shop", name):
                await server.delete(kind, "shop", name)


def a_fault(server: ClusterServer, chance: random.Random) -> Callable[[], None]:
    """Something that goes wrong with the server, once."""
    kind = chance.choice((*PATHS, None))

    def refuse(code: int) -> None:
        left = chance.randrange(1, 4)

        def refused(request: web.Request) -> web.StreamResponse | None:
            nonlocal left
            if left and (kind is None or request.path == PATHS[kind]):
                left -= 1
                return status(code, "by chance", **{"Retry-After": "0"})
            return None

        server.faults[:] = [refused]
        server.cut(kind)

    return chance.choice(
        (
            lambda: server.cut(kind),
            lambda: server.end(kind or "pod"),
            server.compact,
            lambda: refuse(410),
            lambda: refuse(500),
            lambda: refuse(429),
            lambda: refuse(403),
        )
    )


@pytest.mark.parametrize("seed", range(12))
async def test_after_any_faults_the_answer_is_that_of_a_fresh_read_and_what_stays_never_went(
    seed: int,
) -> None:
    """istio#52110, #54539, #60612, kubernetes_asyncio#135: endpoints lost, and dead ones kept."""
    chance = random.Random(seed)
    async with ClusterServer() as server:
        await server.put("node", a_node())
        await server.put("service", a_service())
        await server.put("pod", a_pod(address=STAYS))
        await server.put("slice", a_slice(an_endpoint(address=STAYS)))
        async with running(GivenAccess(server.credentials)) as registry:
            await heard(registry, State.LIVE)
            async with Witness(registry, STAYS).watching() as witness:
                for step in range(STEPS):
                    await change(server, chance)
                    if chance.random() < 0.2:
                        a_fault(server, chance)()
                    if step % 20 == 19:
                        await until(lambda: all(server.watches(kind) for kind in PATHS))
                server.faults.clear()
                await until(lambda: all(server.watches(kind) == 1 for kind in PATHS))
                async with running(GivenAccess(server.credentials)) as afresh:
                    expected = told(await answered(afresh))

                await answered(registry, lambda answer: told(answer) == expected)
                await heard(registry, State.LIVE)

            assert witness.gaps == []
