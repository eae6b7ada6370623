"""The life of registries, and what is served of them meanwhile. Named for the outages that began so."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.errors import Misconfigured, Refused
from mesh.kinds.guards import Guards
from mesh.services import Provider
from registries.kept import KeptAnswers
from registries.registry import State
from registries.source import Common
from tests.support.answers import addresses, an_answer
from tests.support.clock import FakeClock
from tests.support.fake_registries import Listening, consul, kubernetes, listening, until

WEB = {"web": range(20)}
DWELL = timedelta(minutes=5)
SOON = timedelta(seconds=2)


async def has_said(one: Listening, name: str, number: int = 1, **services: range) -> None:
    """The registry answers with these services, and is believed."""
    registry = await one.registry(name, number)
    answer = an_answer(services, registry=name, provider=registry.provider)
    registry.says(answer)
    await one.until_believed(name, answer)


async def test_nothing_is_served_before_every_registry_has_answered(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms"), kubernetes("east")) as one:
        await until(lambda: one.sources.awaited == {"vms", "east"})
        await has_said(one, "vms", **WEB)
        assert one.sources.awaited == {"east"}
        assert not one.sources.is_ready.is_set()
        assert [status.is_awaited for status in one.sources.statuses.value] == [True, False]

        await has_said(one, "east", **WEB)

        assert one.sources.is_ready.is_set()


async def test_a_mesh_without_registries_is_ready_once_it_is_known(tmp_path: Path) -> None:
    async with listening(tmp_path) as one:
        await one.passes(SOON)
        assert not one.sources.is_ready.is_set()
        one.configure()
        await until(one.sources.is_ready.is_set)


async def test_answers_are_in_order_of_trust_then_of_the_config(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("b"), consul("a"), kubernetes("c")) as one:
        for name in "abc":
            await has_said(one, name, **WEB)
        assert [answer.registry for answer in one.sources.answers.value] == ["c", "b", "a"]


async def test_a_restart_serves_what_was_served_without_asking_anybody(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        await has_said(one, "vms", **WEB)

    async with listening(tmp_path, consul("vms")) as one:
        await until(one.sources.is_ready.is_set)
        believed = one.believed("vms")
        assert believed is not None
        assert len(addresses(believed, "web")) == 20
        assert one.status("vms").freshness.state is State.STALE


async def test_a_restart_with_an_empty_first_answer_withdraws_nobody(tmp_path: Path) -> None:
    """istio#25100, consul#4103, consul-k8s#280."""
    async with listening(tmp_path, consul("vms")) as one:
        await has_said(one, "vms", **WEB)

    async with listening(tmp_path, consul("vms")) as one:
        (await one.registry("vms")).says(an_answer({}))
        await until(lambda: one.status("vms").freshness.state is State.LIVE)
        kept = one.believed("vms")
        assert kept is not None
        assert len(addresses(kept, "web")) == 20
        assert [held.missing for held in one.status("vms").holds] == [20, 20, 20]

        await one.passes(DWELL)

        await until(lambda: one.believed("vms") is not kept)
        assert not one.status("vms").holds
        assert addresses(one.sources.answers.value[0], "web") == []


async def test_a_registry_that_was_never_heard_stops_no_restart(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        await has_said(one, "vms", **WEB)
        one.configure(consul("vms"), consul("new"))
        await until(lambda: len(one.opened["new"]) == 1)
        await one.passes(SOON)

    async with listening(tmp_path, consul("vms"), consul("new")) as one:
        await until(one.sources.is_ready.is_set)
        assert [answer.registry for answer in one.sources.answers.value] == ["vms"]


async def test_a_start_that_never_came_to_serve_is_waited_for_again(tmp_path: Path) -> None:
    """Proxies may hold what a control plane told them whose state was lost."""
    async with listening(tmp_path, consul("vms"), consul("dark")) as one:
        await has_said(one, "vms", **WEB)

    async with listening(tmp_path, consul("vms"), consul("dark")) as one:
        await until(lambda: one.sources.awaited == {"dark"})
        await one.passes(timedelta(days=1))
        assert not one.sources.is_ready.is_set()


async def test_the_operator_starts_a_mesh_whose_registry_is_down(tmp_path: Path) -> None:
    """Roblox, October 2021: it must start with an absent Consul."""
    async with listening(tmp_path, consul("vms")) as one:
        await until(lambda: one.sources.awaited == {"vms"})

        released = one.sources.release("vms")

        assert released.was_awaited
        await until(one.sources.is_ready.is_set)
        assert one.sources.answers.value == ()


async def test_a_registry_added_while_running_stops_nobody(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        await has_said(one, "vms", **WEB)
        one.configure(consul("vms"), kubernetes("east"))
        await one.registry("east")
        assert [answer.registry for answer in one.sources.answers.value] == ["vms"]
        assert one.sources.awaited == frozenset()

        await has_said(one, "east", **WEB)
        assert [answer.registry for answer in one.sources.answers.value] == ["east", "vms"]


async def test_rotated_settings_withdraw_nothing_until_the_new_registry_has_answered(tmp_path: Path) -> None:
    """istio#61043: swapping a source must replay its full state."""
    async with listening(tmp_path, consul("vms", "http://a")) as one:
        await has_said(one, "vms", **WEB)
        before = one.believed("vms")

        one.configure(consul("vms", "http://b"))
        second = await one.registry("vms", 2)

        await until(lambda: second.is_running and not one.opened["vms"][0].is_running)
        await until(lambda: one.status("vms").freshness.state is State.STALE)
        assert one.believed("vms") is before
        # Its first answer passes the guard like any other.
        second.says(an_answer({}))
        await until(lambda: bool(one.status("vms").holds))
        assert one.believed("vms") is before
        await has_said(one, "vms", 2, **WEB)


async def test_what_the_mesh_says_for_all_registries_opens_them_anew(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        await has_said(one, "vms", **WEB)
        before = one.believed("vms")
        one.configure(consul("vms"), common=Common(export_to=(".",)))
        assert (await one.registry("vms", 2)).common.export_to == (".",)
        assert one.believed("vms") is before


async def test_guards_and_shared_hosts_change_without_opening_anything_anew(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        await has_said(one, "vms", **WEB)
        empty = an_answer({})
        one.opened["vms"][0].says(empty)
        await until(lambda: bool(one.status("vms").holds))

        one.configure(consul("vms", guards=Guards(disabled=True)))

        await one.until_believed("vms", empty)
        assert len(one.opened["vms"]) == 1


async def test_a_registry_that_is_removed_goes_at_once_and_is_forgotten(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms"), consul("old")) as one:
        await has_said(one, "vms", **WEB)
        await has_said(one, "old", **WEB)
        one.configure(consul("vms"))
        await one.until_believed("old", None)
        await until(lambda: not one.opened["old"][0].is_running)
        assert [status.name for status in one.sources.statuses.value] == ["vms"]
        await one.passes(SOON)

    async with listening(tmp_path, consul("vms"), consul("old")) as one:
        await until(one.sources.is_ready.is_set)
        assert one.believed("old") is None


async def test_another_kind_of_registry_under_the_same_name_begins_anew(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("it")) as one:
        await has_said(one, "it", **WEB)
        one.configure(kubernetes("it"))
        await one.until_believed("it", None)
        assert (await one.registry("it", 2)).provider is Provider.KUBERNETES


async def test_settings_that_cannot_work_are_shown_and_tried_again_slowly(tmp_path: Path) -> None:
    async with listening(tmp_path) as one:
        one.refusal = Misconfigured("no such folder", hint="make it")
        one.configure(consul("vms"))
        await until(lambda: one.configured.value is not None and bool(one.sources.statuses.value))
        await until(lambda: one.status("vms").freshness.state is State.STALLED)
        assert (one.status("vms").freshness.error, one.status("vms").freshness.hint) == (
            "no such folder",
            "make it",
        )
        one.refusal = None
        await one.passes(timedelta(seconds=59))
        assert not one.opened["vms"]
        await one.passes(timedelta(seconds=1))
        await has_said(one, "vms", **WEB)


async def test_a_registry_that_stalls_later_keeps_what_it_said(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        await has_said(one, "vms", **WEB)
        before = one.believed("vms")
        one.opened["vms"][0].failed.set_exception(Misconfigured("the token is gone"))
        await until(lambda: one.status("vms").freshness.state is State.STALLED)
        assert one.believed("vms") is before

        one.configure(consul("vms", "http://b"))
        await one.registry("vms", 2)


async def test_a_bug_in_a_registry_ends_the_control_plane(tmp_path: Path) -> None:
    one = Listening(tmp_path, FakeClock())
    one.configure(consul("vms"))
    running = asyncio.create_task(one.sources.run())
    (await one.registry("vms")).failed.set_exception(ZeroDivisionError())

    with pytest.raises(ExceptionGroup) as raised:
        await running

    assert raised.group_contains(ZeroDivisionError)
    one.file.close()


async def test_the_operators_word_lets_go_what_is_held(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        await has_said(one, "vms", **WEB)
        empty = an_answer({})
        one.opened["vms"][0].says(empty)
        await until(lambda: bool(one.status("vms").holds))

        released = one.sources.release("vms")

        assert (released.registry, released.was_awaited) == ("vms", False)
        assert released.holds == one.status("vms").holds
        await one.until_believed("vms", empty)
        await until(lambda: not one.status("vms").holds)


async def test_what_cannot_be_released_is_refused(tmp_path: Path) -> None:
    async with listening(tmp_path) as one:
        with pytest.raises(Refused, match=r"^no registry is called 'vms'$") as refused:
            one.sources.release("vms")
        assert refused.value.hint == "add it to spec.registries of the Mesh document"
        one.configure(consul("vms"), consul("more"))
        await has_said(one, "vms", **WEB)
        with pytest.raises(Refused, match=r"^no registry is called 'vm'$") as refused:
            one.sources.release("vm")
        assert refused.value.hint == "known registries are vms, more"
        with pytest.raises(Refused, match=r"^nothing of registry 'vms' is held, and nobody waits for it$"):
            one.sources.release("vms")


async def test_a_registry_that_falls_silent_is_stale_and_its_age_is_told(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        await until(lambda: bool(one.sources.statuses.value))
        assert one.status("vms").age(one.clock.now()) is None
        await has_said(one, "vms", **WEB)
        one.opened["vms"][0].falls_silent()
        await until(lambda: one.status("vms").freshness.state is State.STALE)
        await one.passes(timedelta(hours=1))

        assert one.status("vms").freshness.error == "no answer"
        assert len(one.sources.answers.value) == 1
        assert one.status("vms").age(one.clock.now()) == timedelta(hours=1)


async def test_time_in_which_a_registry_is_silent_lets_nothing_go(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        await has_said(one, "vms", **WEB)
        before, registry = one.believed("vms"), one.opened["vms"][0]
        registry.says(an_answer({}))
        await until(lambda: bool(one.status("vms").holds))
        registry.falls_silent()
        await until(lambda: one.status("vms").freshness.state is State.STALE)

        await one.passes(timedelta(days=1))
        assert one.believed("vms") is before

        registry.is_heard()
        await until(lambda: one.status("vms").freshness.state is State.LIVE)
        await one.passes(DWELL)
        await until(lambda: one.believed("vms") is not before)


async def test_a_storm_comes_down_to_the_newest_answer(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        await has_said(one, "vms", **WEB)
        before = one.sources.answers.version
        for left in range(19, 11, -1):
            newest = an_answer({"web": range(left)})
            one.opened["vms"][0].says(newest)

        await one.until_believed("vms", newest)
        assert one.sources.answers.version == before + 1


async def test_on_a_full_disk_the_mesh_goes_on_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        one.file._db.execute("PRAGMA max_page_count = 1")
        await has_said(one, "vms", web=range(500))
        assert one.sources.is_ready.is_set()
        for tries in (2, 3):
            await one.passes(SOON)
            await until(lambda tries=tries: one.sources.keeper.failures >= tries)
        assert one.sources.keeper.error.endswith("database or disk is full")
        assert caplog.messages.count("answers not kept") == 1

        one.file._db.execute("PRAGMA max_page_count = 100000")
        await one.passes(SOON)
        await until(lambda: one.sources.keeper.error == "")


async def test_what_was_said_just_before_a_stop_is_kept(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        await has_said(one, "vms", **WEB)
        await has_said(one, "vms", web=range(25))

    async with listening(tmp_path, consul("vms")) as one:
        await until(one.sources.is_ready.is_set)
        assert len(addresses(one.sources.answers.value[0], "web")) == 25


async def test_a_first_answer_is_kept_before_anybody_sees_it(tmp_path: Path) -> None:
    """A restart at that very moment must know that there is something to wait for."""
    async with listening(tmp_path, consul("vms")) as one:
        await has_said(one, "vms", **WEB)
        again = KeptAnswers(tmp_path / "registries.sqlite")
        assert sorted(again.load()) == ["vms"]
        again.close()


async def test_what_is_held_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        await has_said(one, "vms", **WEB)
        for left in (3, 2, 1):
            one.opened["vms"][0].says(an_answer({"web": range(left)}))
            await until(
                lambda left=left: [row.missing for row in one.status("vms").holds[-1:]] == [20 - left]
            )
        assert caplog.messages.count("removals held") == 1
