"""A cluster over real HTTP: what is believed when connections, versions and servers come and go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from aiohttp import web

from mesh.errors import Misconfigured
from mesh.latest import Latest
from registries.kubernetes import connection, reflector
from registries.kubernetes.access import Credentials, Server
from registries.kubernetes.client import Limits
from registries.kubernetes.hearing import Hearing
from registries.kubernetes.registry import KubernetesRegistry
from registries.registry import Freshness, State
from tests.support.clock import FakeClock
from tests.support.cluster_objects import Object, a_node, a_pod, a_service, a_slice, an_endpoint
from tests.support.cluster_registries import GivenAccess, Witness, answered, heard, running, serving, until
from tests.support.cluster_server import PATHS, ClusterServer, status

ALL = tuple(PATHS)


async def with_reviews(server: ClusterServer, *pods: int) -> None:
    """A Service, and these of its Pods ready."""
    names = [(f"reviews-{number}", f"10.1.0.{number}") for number in pods]
    await server.put("pod", *(a_pod(name, address=address) for name, address in names))
    await server.put("slice", a_slice(*(an_endpoint(name, address) for name, address in names)))
    await server.put("service", a_service())


@asynccontextmanager
async def a_mesh(*pods: int) -> AsyncIterator[tuple[ClusterServer, KubernetesRegistry]]:
    """A cluster, and a registry that listens to it and is live."""
    async with ClusterServer() as server:
        await with_reviews(server, *(pods or (1,)))
        async with running(GivenAccess(server.credentials)) as registry:
            await heard(registry, State.LIVE)
            yield server, registry


# The first answer


@pytest.mark.parametrize("late", ALL)
async def test_nothing_is_answered_before_every_kind_was_listed_once(late: str) -> None:
    """Proxies that came to a fresh control plane lost inbound clusters: Pods were late (istio#58125)."""
    async with ClusterServer() as server:
        await with_reviews(server, 1)

        def not_yet(request: web.Request) -> web.StreamResponse | None:
            return status(503, "starting") if request.path == PATHS[late] else None

        server.faults.append(not_yet)
        async with running(GivenAccess(server.credentials)) as registry:
            await until(lambda: all(server.watches(kind) for kind in ALL if kind != late))
            assert registry.answer.value is None
            assert registry.freshness.value.state is State.WAITING
            assert registry.freshness.value.error == (
                f"the API server answered 503 to the GET of {PATHS[late]}: starting"
            )
            server.faults.clear()

            assert serving(await answered(registry)) == ["10.1.0.1"]
            assert (await heard(registry, State.LIVE)).error == ""


async def test_a_half_read_list_withdraws_nothing() -> None:
    """A catalogue that was still empty at the start has cost live services (consul-k8s#280)."""
    async with a_mesh(1) as (server, registry):
        many = [a_service(f"s{number}") for number in range(700)]
        await server.put("service", *many)
        await answered(registry, lambda answer: answer.services == 701)

        def away(request: web.Request) -> web.StreamResponse | None:
            return status(429, "busy") if "watch" in request.query else None

        def stuck(request: web.Request) -> web.StreamResponse | None:
            return status(500, "broken") if "continue" in request.query else None

        server.faults.append(away)
        server.cut("service")
        await server.put("service", a_service("one-more"))
        server.compact()
        server.faults[:] = [stuck]
        await heard(registry, State.STALE, "broken")
        assert registry.answer.value is not None
        assert registry.answer.value.services >= 701
        server.faults.clear()

        await answered(registry, lambda answer: answer.services == 702)
        await heard(registry, State.LIVE)


# Lists and watches


async def test_what_happens_in_the_cluster_is_answered() -> None:
    async with a_mesh(1) as (server, registry):
        await server.put("pod", a_pod("reviews-2", address="10.1.0.2"))
        both = a_slice(an_endpoint("reviews-1", "10.1.0.1"), an_endpoint("reviews-2", "10.1.0.2"))
        await server.put("slice", both)
        await answered(registry, lambda answer: serving(answer) == ["10.1.0.1", "10.1.0.2"])
        await server.delete("service", "shop", "reviews")

        await answered(registry, lambda answer: answer.services == 0)


async def test_a_watch_begins_at_the_version_of_the_list_and_goes_on_from_the_last_word() -> None:
    """Never at the version of an object (kubernetes_asyncio#135, client-python#819)."""
    async with a_mesh(1) as (server, registry):
        listed = server.version
        assert server.watched_from("node") == [listed]
        await server.put("node", a_node())
        happened = server.version
        await until(lambda: registry.counters.heard["Node"].events == 1)
        server.end("node")
        await until(lambda: len(server.watched_from("node")) == 2)
        assert server.watched_from("node")[1] == happened
        await server.put("pod", a_pod("other-1", address="10.1.0.8"))
        await until(lambda: server.watches("node") == 1)
        await server.bookmark("node")
        marked = server.version
        await until(lambda: registry.counters.heard["Node"].bookmarks == 1)
        server.cut("node")
        await until(lambda: len(server.watched_from("node")) == 3)

        assert server.watched_from("node")[2] == marked
        assert server.lists("node") == 1


async def test_a_version_that_is_too_old_is_listed_again_and_what_has_gone_meanwhile_is_withdrawn() -> None:
    async with a_mesh(1, 2) as (server, registry):
        hold = asyncio.Event()

        def away(request: web.Request) -> web.StreamResponse | None:
            return None if hold.is_set() or "watch" not in request.query else status(429, "busy")

        server.faults.append(away)
        server.cut()
        await until(lambda: not any(server.watches(kind) for kind in ALL))
        await server.put("slice", a_slice(an_endpoint("reviews-1", "10.1.0.1")))
        await server.delete("pod", "shop", "reviews-2")
        server.compact()
        hold.set()

        answer = await answered(registry, lambda answer: serving(answer) == ["10.1.0.1"])
        assert sorted(answer.said("shop").workloads) == ["reviews-1"]
        assert server.lists("pod") == 2


async def test_a_list_whose_pages_got_too_old_is_begun_again() -> None:
    async with ClusterServer() as server:
        await server.put("service", *(a_service(f"s{number}") for number in range(600)))
        refused = 0

        def too_old(request: web.Request) -> web.StreamResponse | None:
            nonlocal refused
            if "continue" in request.query and refused < 2:
                refused += 1
                return status(410, "The provided continue parameter is too old")
            return None

        server.faults.append(too_old)
        async with running(GivenAccess(server.credentials)) as registry:
            assert (await answered(registry)).services == 600
            assert server.lists("service") == 3


async def test_a_list_whose_pages_lead_back_to_themselves_is_given_up() -> None:
    asked = 0

    def same(request: web.Request) -> web.StreamResponse | None:
        nonlocal asked
        if request.path != PATHS["service"]:
            return None
        asked += 1
        items = [{"metadata": {"namespace": "shop", "name": f"s{asked}"}, "spec": {}}]
        return web.json_response({"metadata": {"resourceVersion": "1", "continue": "same"}, "items": items})

    async with ClusterServer() as server:
        server.faults.append(same)
        async with running(GivenAccess(server.credentials)) as registry:
            waiting = await heard(registry, State.WAITING, "does not end")
            assert waiting.error == "the API server's list of Service objects does not end"
            assert waiting.hint == "expected at most 1000000 within 0:10:00, each page once"
            assert registry.answer.value is None
            server.faults.clear()
            await answered(registry)


async def test_a_list_that_is_ever_longer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflector, "OBJECTS_MAX", 1000)
    async with ClusterServer() as server:
        await server.put("service", *(a_service(f"s{number}") for number in range(1600)))
        async with running(GivenAccess(server.credentials)) as registry:
            await heard(registry, State.WAITING, "the API server's list of Service objects does not end")


async def test_a_wall_clock_that_is_set_back_does_not_silence_the_registry() -> None:
    clock, freshness = FakeClock(), Latest(Freshness())
    hearing = Hearing(["Pod"], clock, freshness)
    hearing.listed("Pod")
    hearing.watching("Pod")
    hearing.answered()
    clock.jump(-timedelta(hours=1))
    await clock.advance(timedelta(seconds=10))
    hearing.heard("Pod")

    assert freshness.value.state is State.LIVE
    assert (freshness.value.heard_at, freshness.value.heard) == (clock.now(), 10.0)


async def test_a_server_that_was_away_may_have_another_history_and_is_listed_again() -> None:
    async with a_mesh(1) as (server, registry):
        await server.stop()
        stale = await heard(registry, State.STALE)
        await until(lambda: all(one.failures for one in registry.counters.heard.values()))
        assert stale.error.startswith("the API server at http://127.0.0.1:")
        assert registry.answer.value is not None
        assert serving(registry.answer.value) == ["10.1.0.1"]
        await server.start()
        await heard(registry, State.LIVE)

        assert all(server.lists(kind) == 2 for kind in ALL)


async def test_a_watch_that_was_cut_goes_on_without_alarm_and_without_a_list() -> None:
    async with a_mesh(1) as (server, registry):
        async with Witness(registry, "10.1.0.1").watching() as witness:
            for _ in range(5):
                server.cut()
                await until(lambda: all(server.watches(kind) == 1 for kind in ALL))
            await server.put("slice", a_slice(an_endpoint(), an_endpoint(None, "192.0.2.9")))
            await answered(registry, lambda answer: len(serving(answer)) == 2)

        assert witness.gaps == []
        assert registry.freshness.value.state is State.LIVE
        assert all(server.lists(kind) == 1 for kind in ALL)


async def test_a_watch_that_is_silent_for_too_long_is_opened_again() -> None:
    async with ClusterServer() as server:
        await with_reviews(server, 1)
        limits = Limits(silence=0.1)
        async with running(GivenAccess(server.credentials), limits=limits) as registry:
            await until(lambda: len(server.watched_from("node")) >= 3)

            assert registry.freshness.value.state is State.LIVE
            assert server.lists("node") == 1


async def test_lines_that_trickle_in_pieces_are_events_once_they_are_whole() -> None:
    async with a_mesh(1) as (server, registry):
        await server.put("pod", a_pod("reviews-2", address="10.1.0.2"))
        both = a_slice(an_endpoint("reviews-1", "10.1.0.1"), an_endpoint("reviews-2", "10.1.0.2"))
        both["metadata"]["resourceVersion"] = str(int(server.version) + 1)
        line = json.dumps({"type": "MODIFIED", "object": both}).encode() + b"\n"
        for start in range(0, len(line), 100):
            await server.say("slice", line[start : start + 100])

        await answered(registry, lambda answer: len(serving(answer)) == 2)


async def test_a_line_that_was_cut_in_the_middle_comes_again_whole() -> None:
    async with a_mesh(1) as (server, registry):
        await server.say("slice", b'{"type": "DELETED", "object": {"metadata": {"name": "revi')
        server.cut("slice")
        await until(lambda: len(server.watched_from("slice")) == 2)

        assert registry.answer.value is not None
        assert serving(registry.answer.value) == ["10.1.0.1"]


@pytest.mark.parametrize("raw", [b"what?\n", b"[]\n", b'{"type": "ADDED"}\n'])
async def test_a_line_that_is_no_event_makes_the_kind_be_listed_again(raw: bytes) -> None:
    async with a_mesh(1) as (server, registry):
        await server.say("pod", raw)
        await until(lambda: server.lists("pod") == 2)
        await heard(registry, State.LIVE)

        assert registry.answer.value is not None
        assert serving(registry.answer.value) == ["10.1.0.1"]


async def test_a_line_without_end_is_given_up() -> None:
    async with ClusterServer() as server:
        await with_reviews(server, 1)
        limits = Limits(line_bytes=4096)
        async with running(GivenAccess(server.credentials), limits=limits) as registry:
            await heard(registry, State.LIVE)
            await server.say("pod", b"x" * 10_000)

            found = await heard(registry, State.STALE)
            assert found.error == "the API server sent a line of more than 4096 bytes"


def an_unreadable_service() -> Object:
    return {**a_service("odd"), "spec": {"ports": [{"port": "eighty"}]}}


async def test_an_object_that_cannot_be_read_is_remarked_and_spoils_nothing_else() -> None:
    async with a_mesh(1) as (server, registry):
        await server.put("service", an_unreadable_service(), a_service("fine"))
        answer = await answered(registry, lambda answer: bool(answer.remarks) and answer.services == 2)
        (remark,) = answer.remarks

        assert remark.about == "unreadable Service shop/odd"
        assert remark.message == "port: expected a number, found str"
        assert remark.hint == "compare it with the API of Kubernetes; what was known of it before is kept"
        await server.delete("service", "shop", "odd")
        await answered(registry, lambda answer: answer.remarks == ())


async def test_what_is_known_of_an_object_stays_when_it_cannot_be_read_any_more() -> None:
    async with a_mesh(1) as (server, registry):
        await server.put("service", {**a_service(), "spec": []})
        answer = await answered(registry, lambda answer: bool(answer.remarks))
        assert serving(answer) == ["10.1.0.1"]
        server.compact()
        await server.put("node", a_node("another"))
        await server.say("service", b"what?\n")
        await until(lambda: server.lists("service") == 2)
        await heard(registry, State.LIVE)

        assert registry.answer.value is not None
        assert serving(registry.answer.value) == ["10.1.0.1"]


async def test_a_busy_server_is_left_alone_for_as_long_as_it_asks() -> None:
    async with a_mesh(1) as (server, registry):

        def busy(request: web.Request) -> web.StreamResponse | None:
            return status(429, "too many requests", **{"Retry-After": "30"})

        server.faults.append(busy)
        server.cut("pod")
        found = await heard(registry, State.STALE)
        asked = len(server.asked)
        assert found.error == f"the API server answered 429 to the watch of {PATHS['pod']}: too many requests"
        await server.bookmark("node")
        await until(lambda: registry.counters.heard["Node"].bookmarks == 1)

        assert len(server.asked) == asked


async def test_a_server_that_hangs_up_at_once_is_not_asked_in_a_busy_loop() -> None:
    async with ClusterServer() as server:
        slow = GivenAccess(server.credentials)
        async with running(slow) as registry:
            await heard(registry, State.LIVE)

            def at_once(request: web.Request) -> web.StreamResponse | None:
                return web.Response() if "watch" in request.query else None

            server.faults.append(at_once)
            before = len(server.asked)
            server.end("node")
            await until(lambda: len(server.asked) >= before + 6)

            assert registry.freshness.value.state is State.LIVE
            assert server.lists("node") == 1


# Who may, and for how long


async def test_a_token_that_is_refused_is_read_again_and_nothing_is_withdrawn() -> None:
    """Rotated credentials were not picked up until a restart (istio#60612, #58047, #60920)."""
    async with ClusterServer() as server:
        await with_reviews(server, 1)
        server.tokens = {"old"}
        access = GivenAccess(replace(server.credentials, token="old"))
        access.on_refusal = lambda: setattr(
            access,
            "credentials",
            replace(server.credentials, token="new"),
        )
        async with running(access) as registry:
            await heard(registry, State.LIVE)
            async with Witness(registry, "10.1.0.1").watching() as witness:
                server.tokens = {"new"}
                server.cut()
                await until(lambda: all(server.watches(kind) == 1 for kind in ALL))
                await heard(registry, State.LIVE)

            assert witness.gaps == []
            assert True in access.reads
            assert all(server.lists(kind) == 1 for kind in ALL)


async def test_credentials_that_stay_refused_are_told_and_what_is_known_is_kept() -> None:
    async with a_mesh(1) as (server, registry):
        server.tokens = {"another"}
        server.cut()
        found = await heard(registry, State.STALE)

        assert found.error.startswith("the API server answered 401 to the watch of /api")
        assert found.error.endswith(": Unauthorized")
        assert found.hint == "renew the credentials of the kubeconfig"
        assert registry.answer.value is not None
        assert serving(registry.answer.value) == ["10.1.0.1"]


async def test_an_account_that_may_not_list_is_told_what_it_lacks() -> None:
    async with ClusterServer() as server:

        def forbidden(request: web.Request) -> web.StreamResponse | None:
            return status(403, 'pods is forbidden: User "x"') if request.path == PATHS["pod"] else None

        server.faults.append(forbidden)
        async with running(GivenAccess(server.credentials)) as registry:
            found = await heard(registry, State.STALLED)

            assert (
                found.error
                == 'the API server answered 403 to the GET of /api/v1/pods: pods is forbidden: User "x"'
            )
            assert found.hint == (
                "grant what examples/kubernetes/read-only.yaml grants to the account of the kubeconfig"
            )
            server.faults.clear()
            await heard(registry, State.LIVE)


async def test_a_kubeconfig_that_cannot_be_used_stalls_until_it_is_mended() -> None:
    async with ClusterServer() as server:
        access = GivenAccess(Misconfigured("there are no credentials 'east'", hint="put them there"))
        async with running(access) as registry:
            found = await heard(registry, State.STALLED)
            assert (found.error, found.hint) == ("there are no credentials 'east'", "put them there")
            access.credentials = server.credentials

            assert (await heard(registry, State.LIVE)).error == ""


async def test_a_swapped_connection_replays_everything_and_wipes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rotating a cluster's secret wiped what did not change afterwards (istio#61043)."""
    monkeypatch.setattr(connection, "CREDENTIALS_READ", timedelta(milliseconds=50))
    async with ClusterServer() as server, ClusterServer() as other:
        await with_reviews(server, 1, 2)
        await with_reviews(other, 1, 2, 3)
        await other.put("pod", a_pod("reviews-2", address="10.1.0.2", uid="other"))
        there = [an_endpoint(f"reviews-{number}", f"10.1.0.{number}") for number in (1, 3)]
        await other.put("slice", a_slice(*there, an_endpoint("reviews-2", "10.1.0.2", uid="other")))
        slices = other.holds[PATHS["slice"]] = asyncio.Event()
        access = GivenAccess(server.credentials)
        async with running(access) as registry:
            before = await answered(registry, lambda answer: len(serving(answer)) == 2)
            async with Witness(registry, "10.1.0.1", "10.1.0.2").watching() as witness:
                access.credentials = other.credentials
                await until(lambda: all(other.watches(kind) for kind in ALL if kind != "slice"))
                slices.set()
                after = await answered(registry, lambda answer: len(serving(answer)) == 3)

        assert witness.gaps == []
        kept = before.said("shop").workloads["reviews-2"]
        assert after.said("shop").workloads["reviews-2"] is kept


@pytest.mark.parametrize("code", [401, 403, 410, 429, 500])
async def test_pods_and_slices_are_only_believed_together(code: int) -> None:
    """While one of the two is not heard, a rollout must not look like an outage (istio#52110)."""
    async with a_mesh(1, 2) as (server, registry):
        hold = asyncio.Event()

        def no_pods(request: web.Request) -> web.StreamResponse | None:
            is_refused = request.path == PATHS["pod"] and not hold.is_set()
            return status(code, "no pods today", **{"Retry-After": "0"}) if is_refused else None

        server.faults.append(no_pods)
        server.cut("pod")
        await until(lambda: len(server.watched_from("pod")) > 1)
        async with Witness(registry).watching() as witness:
            await server.put("pod", a_pod("reviews-7", address="10.1.0.7"))
            await server.delete("pod", "shop", "reviews-1")
            left, come = an_endpoint("reviews-2", "10.1.0.2"), an_endpoint("reviews-7", "10.1.0.7")
            await server.put("slice", a_slice(left, come))
            await until(lambda: registry.counters.heard["EndpointSlice"].events == 1)
            hold.set()
            await answered(registry, lambda answer: "10.1.0.7" in serving(answer))

        assert [found for found in witness.seen if len(found) != 2] == []


async def test_two_clusters_are_two_registries_that_do_not_wait_for_each_other() -> None:
    async with a_mesh(1) as (_, east), ClusterServer() as dead:
        await dead.stop()
        async with running(
            GivenAccess(Credentials(server=Server(url=f"http://127.0.0.1:{dead.port}")))
        ) as west:
            await heard(west, State.WAITING, "no connection")

            assert east.freshness.value.state is State.LIVE
            assert west.answer.value is None
