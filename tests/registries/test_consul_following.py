"""Listening to a Consul that breaks: what is kept, what is asked again, and how often."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from aiohttp import web

from mesh.clock import SystemClock, breathe
from mesh.kinds.registry_consul import Consul
from registries.registry import State
from tests.support.consul_registries import HASTY, content, listening, read_afresh
from tests.support.fake_consul import an_entry, fake_consul, refusing, showing

ADDRESS = [("10.9.0.1", 80)]
SERVICES = "/v1/catalog/services"
CHECKS = "/v1/health/state/any"
QUERIES = (SERVICES, CHECKS, "/v1/catalog/nodes")


async def test_nothing_is_answered_before_everything_was_read_once() -> None:
    """consul-k8s#280, #319, #4714: a half-read catalogue looks like one that has lost half."""
    async with fake_consul() as consul:
        for name in ("a", "b", "c"):
            consul.put(an_entry("n1", name, name))
        consul.faults["/v1/health/service/b"] = refusing(500, "rpc error: timeout")
        async with listening(consul.url) as heard:
            await heard.until_state(State.WAITING, "rpc error: timeout")
            assert heard.registry.answer.value is None
            consul.faults.clear()
            await heard.until_said(a=ADDRESS, b=ADDRESS, c=ADDRESS)
            assert heard.registry.answer.version == 1


@pytest.mark.parametrize("path", QUERIES)
@pytest.mark.parametrize("index", [0, 3])
async def test_an_index_that_goes_backwards_means_to_read_everything_again(path: str, index: int) -> None:
    """consul#7939, #2216, #3890: an index that is lower than before, or 0."""
    async with fake_consul() as consul:
        consul.put(an_entry("n1", "a", "a"))
        async with listening(consul.url) as heard:
            await heard.until_said(a=ADDRESS)
            await heard.until_state(State.LIVE)
            consul.faults[path] = showing({} if path == SERVICES else [], index)
            consul.put(an_entry("n1", "a", "a", status="critical"))
            consul.put(an_entry("n1", "b", "b"))
            await heard.until_state(State.STALE, f"Consul started over: the index of {path} went from ")
            assert heard.said["a"] in (ADDRESS, [])
            consul.faults.clear()
            await heard.until_said(a=[], b=ADDRESS)
            await heard.until_state(State.LIVE)

        indexes = [int(query["index"]) for _, query in consul.asked if "index" in query]
        assert min(indexes) >= 1


async def test_a_server_that_lost_its_data_is_read_anew() -> None:
    async with fake_consul() as consul:
        consul.put(an_entry("n1", "a", "a"))
        async with listening(consul.url) as heard:
            await heard.until_said(a=ADDRESS)
            consul.entries.clear()
            consul.entries["n2", "b"] = an_entry("n2", "b", "b")
            consul.start_over(2)
            await heard.until_said(b=ADDRESS)


async def test_a_server_whose_index_is_always_0_is_not_hammered() -> None:
    """consul#5358: with a wrong index each blocking query answers at once."""
    sixth = asyncio.Event()

    def zero(request: web.Request) -> web.Response | None:
        if len(consul.asked) >= 6:
            sixth.set()
        return showing({}, 0)(request)

    async with fake_consul() as consul:
        consul.faults["/v1/"] = zero
        clock = SystemClock()
        begun = clock.monotonic()
        async with listening(consul.url) as heard:
            await sixth.wait()
            await heard.until_state(
                State.WAITING, "Consul started over: the index of /v1/catalog/services went from 0 to 0"
            )

        pauses = sum(HASTY.backoff(failures, 0.0).total_seconds() for failures in range(1, 6))
        assert clock.monotonic() - begun >= pauses


async def test_a_consul_that_does_not_even_show_itself_is_not_believed() -> None:
    """consul#1960: a leader that has just been elected showed an empty catalogue."""
    async with fake_consul() as consul:
        consul.put(an_entry("n1", "a", "a"))
        async with listening(consul.url) as heard:
            await heard.until_said(a=ADDRESS)
            consul.faults[SERVICES] = showing({}, 100)
            consul.put(an_entry("n1", "b", "b"))
            await heard.until_state(State.STALE, "Consul shows no service at all, not even itself")
            assert heard.said == {"a": ADDRESS}
            consul.faults.clear()
            await heard.until_said(a=ADDRESS, b=ADDRESS)


async def test_a_leader_is_first_asked_for_all_that_its_log_says() -> None:
    """A leader that has just started would answer by as much of its log as it has read."""
    async with fake_consul() as consul:
        async with listening(consul.url) as heard:
            await heard.until_said()
        first, *others = [query for path, query in consul.asked if path == SERVICES]

        assert "consistent" in first
        assert not any("consistent" in query for query in others)


async def test_a_catalogue_that_answers_nothing_withdraws_nothing_by_itself() -> None:
    """consul#4103, #1026: the catalogue showed no services for a moment, while each of them was there."""
    async with fake_consul() as consul:
        consul.put(an_entry("n1", "a", "a"))
        async with listening(consul.url) as heard:
            await heard.until_said(a=ADDRESS)
            offer = heard.offer("a")
            consul.faults[SERVICES] = showing({"consul": []}, 100)
            consul.put(an_entry("n1", "b", "b"))  # wakes the query
            consul.put(an_entry("n1", "c", "c", status="critical"))  # is heard of by its check
            await heard.until("another service", lambda: heard.offer("c") is not None)
            assert heard.offer("a") is offer
            del consul.faults[SERVICES]


async def test_a_service_that_cannot_be_read_keeps_what_was_known_of_it() -> None:
    async with fake_consul() as consul:
        consul.put(an_entry("n1", "a", "a"))
        consul.put(an_entry("n1", "b", "b"))
        async with listening(consul.url) as heard:
            await heard.until_said(a=ADDRESS, b=ADDRESS)
            consul.faults["/v1/health/service/a"] = refusing(500, "rpc error: timeout")
            consul.put(an_entry("n1", "a", "a", port=81))
            consul.put(an_entry("n1", "b", "b", port=82))
            await heard.until_said(a=ADDRESS, b=[("10.9.0.1", 82)])
            await heard.until_state(State.STALE, f"Consul at {consul.url} answered 500: rpc error: timeout")
            consul.put(an_entry("n1", "b", "b", port=83))
            await heard.until_said(a=ADDRESS, b=[("10.9.0.1", 83)])
            assert heard.registry.freshness.value.state is State.STALE
            consul.faults.clear()
            await heard.until_said(a=[("10.9.0.1", 81)], b=[("10.9.0.1", 83)])
            await heard.until_state(State.LIVE)


async def test_a_moment_between_two_answers_is_not_left_standing() -> None:
    """A read met the instance while it was critical; no answer about checks ever showed it so."""
    async with fake_consul() as consul:
        consul.put(an_entry("n1", "a", "a"))
        sick = an_entry("n1", "a", "a", status="critical")
        async with listening(consul.url) as heard:
            await heard.until_said(a=ADDRESS)
            index = consul.index + 1
            consul.faults["/v1/health/service/a"] = lambda request: (
                None if "filter" in request.query else showing([sick], index)(request)
            )
            consul.put(an_entry("n1", "a", "a", port=81))
            await heard.until_said(a=[])
            consul.faults.clear()
            consul.put(an_entry("n1", "b", "b", status="critical"))  # the next answer about checks
            await heard.until_said(a=[("10.9.0.1", 81)], b=[])


@pytest.mark.parametrize("name", ["..", "a/../b", "a?b", "a b", "ü"])
async def test_a_name_that_is_a_path_hides_no_other_service(name: str) -> None:
    """Anybody who may register could otherwise keep the registry from ever being read in full."""
    async with fake_consul() as consul:
        consul.put(an_entry("n1", "x", name))
        consul.put(an_entry("n1", "a", "a"))
        async with listening(consul.url) as heard:
            await heard.until_said(a=ADDRESS)
            (remark,) = heard.answer.remarks
            assert (remark.about, remark.message) == (f"service {name}", f"not a host name: {name!r}")


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        (SERVICES, [], "Consul's catalogue of services is none"),
        (CHECKS, [{"Node": "n1"}], "Consul answers without Node, CheckID, Status, ServiceName"),
        ("/v1/catalog/nodes", [1], "Consul answers without Node, ModifyIndex"),
        ("/v1/health/service/a", [{"Node": {}}], "Consul answers without Node, Service"),
        ("/v1/health/service/a", {}, "Consul answers without Node, Service"),
    ],
)
async def test_what_is_not_consul_is_not_believed(path: str, body: object, error: str) -> None:
    async with fake_consul() as consul:
        consul.put(an_entry("n1", "a", "a"))
        async with listening(consul.url) as heard:
            await heard.until_said(a=ADDRESS)
            consul.faults[path] = showing(body, 100)
            consul.put(an_entry("n1", "a", "a", port=81, status="critical", Address="10.0.0.1"))
            moved = an_entry("n9", "b", "b")
            consul.put(moved)
            await heard.until_state(State.STALE, error)
            consul.faults.clear()
            await heard.until_said(a=[], b=ADDRESS)


async def test_work_is_done_per_change_and_not_per_service() -> None:
    async with fake_consul() as consul:
        for number in range(50):
            consul.put(an_entry("n1", f"s{number}", f"s{number}"))
        async with listening(consul.url) as heard:
            await heard.until("all", lambda: len(heard.said) == 50)
            others = {name: heard.offer(name) for name in heard.said if name != "s7"}
            consul.asked.clear()
            consul.put(an_entry("n1", "s7", "s7", status="critical"))
            await heard.until("the change", lambda: heard.said["s7"] == [])

            assert {name: heard.offer(name) for name in others} == others
            assert all(heard.offer(name) is offer for name, offer in others.items())
            assert consul.count("/v1/health/service/") == 1


async def test_a_storm_of_registrations_is_swept_at_a_rate() -> None:
    """Asked for one service at each change, 200 services and 200 changes would be 40,000 requests."""
    services, changes = 200, 200
    async with fake_consul() as consul:
        for number in range(services):
            consul.put(an_entry("n1", f"s{number}", f"s{number}"))
        async with listening(consul.url) as heard:
            await heard.until("all", lambda: len(heard.said) == services)
            consul.asked.clear()
            for turn in range(changes):
                name = f"s{turn * 7 % services}"
                consul.put(an_entry("n1", name, name, port=1000 + turn))
                await breathe()
            fresh = content(await read_afresh(consul.url))
            await heard.until("the end state", lambda: content(heard.answer) == fresh)

        counts = consul.counts()
        assert counts["probe"] <= 10 * services


@pytest.mark.parametrize(
    ("status", "text", "state", "error"),
    [
        (403, "ACL not found", State.STALLED, "answered 403: ACL not found"),
        (
            500,
            "rpc error making call: rpc error making call: ACL not found",
            State.STALLED,
            "answered 500: rpc error making call: rpc error making call: ACL not found",
        ),
        (
            403,
            "Permission denied: token with AccessorID 'a' lacks permission 'service:read'",
            State.STALLED,
            "lacks permission 'service:read'",
        ),
        (500, "No cluster leader", State.STALE, "answered 500: No cluster leader"),
        (429, "Your IP is issuing too many concurrent connections", State.STALE, "answered 429: Your IP is"),
        (200, "<html>a proxy</html>", State.STALE, "is not Consul: no index, or no JSON"),
        (404, "not found", State.STALE, "answered 404: not found"),
    ],
)
async def test_what_consul_answers_decides_who_has_to_act(
    status: int, text: str, state: State, error: str
) -> None:
    async with fake_consul() as consul:
        consul.put(an_entry("n1", "a", "a"))
        async with listening(consul.url) as heard:
            await heard.until_said(a=ADDRESS)
            consul.faults["/v1/"] = refusing(status, text)
            consul.put(an_entry("n1", "b", "b"))
            await heard.until_state(state, error)
            assert heard.said == {"a": ADDRESS}
            consul.faults.clear()
            await heard.until_said(a=ADDRESS, b=ADDRESS)
            await heard.until_state(State.LIVE)


async def test_instances_that_the_token_may_not_see_are_not_gone() -> None:
    async with fake_consul() as consul:
        consul.put(an_entry("n1", "a", "a"))
        async with listening(consul.url) as heard:
            await heard.until_said(a=ADDRESS)
            hidden = showing([], 99, X_Consul_Results_Filtered_By_ACLs="true")
            consul.faults["/v1/health/service/a"] = hidden
            consul.put(an_entry("n1", "a", "a", port=81))
            await heard.until_state(
                State.STALLED, "the token may see that there is 'a' in Consul, and none of its instances"
            )
            assert heard.said == {"a": ADDRESS}


async def test_an_empty_catalogue_behind_closed_acls_is_not_believed() -> None:
    """Without a token, such a Consul answers 200 and nothing, not even itself."""
    async with fake_consul() as consul:
        consul.faults[SERVICES] = showing({}, 5, X_Consul_Default_ACL_Policy="deny")
        async with listening(consul.url) as heard:
            await heard.until_state(State.STALLED, "the token may not see any service of Consul")
            assert heard.registry.answer.value is None


async def test_the_scope_is_asked_for_only_where_it_is_set() -> None:
    async with fake_consul() as consul:
        async with listening(consul.url) as heard:
            await heard.until_said()
        plain = [query for _, query in consul.asked]
        consul.asked.clear()
        settings = Consul(address=consul.url, datacenter="dc2", partition="west", namespace="team")
        async with listening(settings) as heard:
            await heard.until_said()

        assert all({"dc", "partition", "ns"}.isdisjoint(query) for query in plain)
        for _, query in consul.asked:
            assert (query["dc"], query["partition"], query["ns"]) == ("dc2", "west", "team")


async def test_the_token_goes_with_requests_and_nowhere_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """py-consul prefers CONSUL_HTTP_TOKEN to the token it is given; the operator's folder decides here."""
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "from-the-environment")
    caplog.set_level(logging.DEBUG)
    async with fake_consul() as consul:
        folder = tmp_path / "vault"
        folder.mkdir()
        (folder / "address").write_text(consul.url)
        (folder / "token").touch(mode=0o600)
        (folder / "token").write_text("a-secret\n")
        async with listening(Consul(secret_ref="vault"), credentials=tmp_path) as heard:
            await heard.until_said()
            consul.faults["/v1/"] = refusing(403, "ACL not found")
            consul.put(an_entry("n1", "a", "a"))
            await heard.until_state(State.STALLED)

            assert {headers["X-Consul-Token"] for headers in consul.headers} == {"a-secret"}
            assert "a-secret" not in repr(heard.registry.freshness.value) + caplog.text


async def test_an_agent_that_never_answers_is_given_up_and_tried_again() -> None:
    async with fake_consul() as consul:
        consul.put(an_entry("n1", "a", "a"))
        consul.is_stuck = True
        async with listening(consul.url) as heard:
            error = f"Consul at {consul.url} did not answer /v1/catalog/services within 1 s"
            await heard.until_state(State.WAITING, error)
            consul.is_stuck = False
            await heard.until_said(a=ADDRESS)


async def test_a_connection_begins_by_asking_a_leader_that_has_read_all_of_its_log() -> None:
    """One that has just started knows but a part of its catalogue, and says it as if it were all."""
    async with fake_consul() as consul:
        consul.put(an_entry("n1", "a", "a"))
        async with listening(consul.url) as heard:
            await heard.until_said(a=ADDRESS)

    assert consul.asked[0] == (SERVICES, {"consistent": ""})
