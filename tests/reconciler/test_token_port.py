"""Which clusters judge tokens, and what is known of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from aiohttp import web

from mesh.kinds.registry import Registry
from mesh.kinds.registry_consul import Consul
from mesh.kinds.registry_kubernetes import Kubernetes
from mesh.latest import Latest
from reconciler.token_port import REVIEWS_MAX, ApiServer, PodClusters
from registries.kubernetes.access import Credentials, Server
from registries.sources import Configured
from tests.support.clock import FakeClock


@dataclass(slots=True)
class Discovery:
    """An API server that says who issues its tokens. Is its own access."""

    status: int = 200
    issuer: object = "https://one.example"
    asked: list[str] = field(default_factory=list)
    url: str = ""

    async def read(self, *, is_refused: bool = False) -> Credentials:
        return Credentials(server=Server(url=self.url))

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        return web.json_response({"issuer": self.issuer}, status=self.status)


@asynccontextmanager
async def served(discovery: Discovery) -> AsyncIterator[Discovery]:
    app = web.Application()
    app.router.add_get("/{path:.*}", discovery.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        discovery.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield discovery
    finally:
        await runner.cleanup()


async def test_an_issuer_is_learnt_once_an_hour() -> None:
    clock = FakeClock()
    async with served(Discovery()) as discovery:
        judge = ApiServer(discovery, clock)
        assert [await judge.issuer(), await judge.issuer()] == ["https://one.example"] * 2
        assert discovery.asked == ["/.well-known/openid-configuration"]

        discovery.issuer = "https://new.example"
        await clock.advance(timedelta(hours=1))
        assert await judge.issuer() == "https://new.example"


async def test_an_issuer_that_is_not_told_is_asked_for_again_after_a_minute() -> None:
    clock = FakeClock()
    async with served(Discovery(status=403)) as discovery:
        judge = ApiServer(discovery, clock)
        assert [await judge.issuer(), await judge.issuer()] == ["", ""]
        assert len(discovery.asked) == 1

        discovery.status = 200
        await clock.advance(timedelta(minutes=1))
        assert await judge.issuer() == "https://one.example"


async def test_what_was_learnt_stays_while_the_cluster_is_away() -> None:
    """Else its Pods could not be told from those of others meanwhile."""
    clock = FakeClock()
    async with served(Discovery()) as discovery:
        judge = ApiServer(discovery, clock)
        await judge.issuer()
        discovery.status = 500
        await clock.advance(timedelta(hours=2))

        assert await judge.issuer() == "https://one.example"


async def test_an_answer_that_is_no_text_is_none() -> None:
    async with served(Discovery(issuer=["https://one.example"])) as discovery:
        assert await ApiServer(discovery, FakeClock()).issuer() == ""


async def test_a_crowd_of_callers_learns_an_issuer_by_one_question() -> None:
    async with served(Discovery()) as discovery:
        judge = ApiServer(discovery, FakeClock())
        issuers = await asyncio.gather(*(judge.issuer() for _ in range(50)))

        assert set(issuers) == {"https://one.example"}
        assert len(discovery.asked) == 1


@dataclass(slots=True)
class Crowded:
    """An API server that never answers a review; counts those that have reached it. Is its own access."""

    asked: int = 0

    async def read(self, *, is_refused: bool = False) -> Credentials:
        self.asked += 1
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_crowd_of_tokens_reaches_a_cluster_few_at_a_time() -> None:
    access = Crowded()
    judge = ApiServer(access, FakeClock())
    reviews = [asyncio.ensure_future(judge.review("a.b.c", "meshwright-ca")) for _ in range(50)]
    await asyncio.wait(reviews, timeout=0.05)
    for review in reviews:
        review.cancel()
    await asyncio.gather(*reviews, return_exceptions=True)

    assert access.asked == REVIEWS_MAX


def configured(*registries: Registry) -> Latest[Configured | None]:
    return Latest(Configured(registries))


def test_before_anything_is_accepted_no_cluster_is_known(tmp_path: Path) -> None:
    assert PodClusters(Latest(None), tmp_path, FakeClock())() == ()


def test_clusters_are_the_kubernetes_registries_of_the_mesh(tmp_path: Path) -> None:
    east = Registry(name="east", kubernetes=Kubernetes(secret_ref="east", trust_domain="east.example"))
    latest = configured(Registry(name="dc1", consul=Consul()), east)
    clusters = PodClusters(latest, tmp_path, FakeClock())

    assert [(one.name, one.trust_domain) for one in clusters()] == [("east", "east.example")]


def test_what_is_known_of_a_cluster_ends_with_its_settings(tmp_path: Path) -> None:
    """The same name may lead to another cluster."""
    latest = configured(Registry(name="east", kubernetes=Kubernetes(secret_ref="east")))
    clusters = PodClusters(latest, tmp_path, FakeClock())
    (first,), (again,) = clusters(), clusters()
    latest.publish(Configured((Registry(name="east", kubernetes=Kubernetes(secret_ref="other")),)))
    (changed,) = clusters()

    assert first.judge is again.judge
    assert changed.judge is not first.judge
