"""The life of registries, and what is served of them meanwhile. Named for the outages that began so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.errors import Misconfigured, Refused
from mesh.kinds.guards import Guards
from mesh.kinds.registry import Registry as Settings
from mesh.services import Provider
from registries.answers import Instance
from registries.catalogues import Catalogues
from registries.drops import Moment
from registries.keeping import AGAIN_EVERY
from registries.kept import KeptAnswers
from registries.registry import State
from registries.source import Common
from tests.support.answers import a_workload, addresses, an_answer, an_offer
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


async def test_a_first_answer_after_a_restart_that_says_the_same_is_no_news_to_anybody(
    tmp_path: Path,
) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        await has_said(one, "vms", **WEB)

    async with listening(tmp_path, consul("vms")) as one:
        await until(one.sources.is_ready.is_set)
        catalogues = Catalogues()
        kept = catalogues.take(one.sources.answers.value, {})
        await has_said(one, "vms", **WEB)
        assert catalogues.take(one.sources.answers.value, {}) is kept


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
        one.configure(consul("vms", guards=Guards(disabled=True)))
        await has_said(one, "vms")
        assert len(one.opened["vms"]) == 1


async def test_a_commit_that_disables_the_guard_lets_nothing_go_that_is_held(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        await has_said(one, "vms", **WEB)
        before, empty = one.believed("vms"), an_answer({})
        one.opened["vms"][0].says(empty)
        await until(lambda: bool(one.status("vms").holds))

        one.configure(consul("vms", guards=Guards(disabled=True)))
        await one.passes(DWELL - SOON)

        assert one.believed("vms") is before
        one.sources.release("vms")
        await one.until_believed("vms", empty)


async def test_a_registry_that_is_removed_is_held_for_the_dwell_and_then_forgotten(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms"), consul("old")) as one:
        await has_said(one, "vms", **WEB)
        await has_said(one, "old", **WEB)
        before = one.believed("old")
        one.configure(consul("vms"))
        await until(lambda: one.status("old").freshness.state is State.REMOVED)
        await until(lambda: not one.opened["old"][0].is_running)
        assert one.believed("old") is before
        assert [held.missing for held in one.status("old").holds] == [20, 20, 20]
        assert [status.name for status in one.sources.statuses.value] == ["vms", "old"]

        await one.passes(DWELL)

        await one.until_believed("old", None)
        await until(lambda: [status.name for status in one.sources.statuses.value] == ["vms"])
        await one.passes(SOON)

    async with listening(tmp_path, consul("vms"), consul("old")) as one:
        await until(one.sources.is_ready.is_set)
        assert one.believed("old") is None


async def test_a_removed_registry_goes_at_the_operators_word(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        await has_said(one, "vms", **WEB)
        one.configure()
        await until(lambda: bool(one.status("vms").holds))
        assert len(one.sources.release("vms").holds) == 3
        await until(lambda: one.sources.statuses.value == ())
        assert one.sources.answers.value == ()


@pytest.mark.parametrize(
    ("services", "guards"),
    [({"web": range(5)}, None), (WEB, Guards(disabled=True)), ({}, None)],
)
async def test_a_removed_registry_that_is_small_or_not_guarded_goes_at_once(
    tmp_path: Path, services: dict[str, range], guards: Guards | None
) -> None:
    async with listening(tmp_path, consul("vms", guards=guards)) as one:
        await has_said(one, "vms", **services)
        one.configure()
        await until(lambda: one.sources.statuses.value == ())
        assert one.sources.answers.value == ()


async def test_a_registry_that_is_removed_before_it_has_answered_is_gone(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        await one.registry("vms")
        one.configure()
        await until(lambda: one.sources.statuses.value == () and one.sources.is_ready.is_set())


async def test_a_removal_that_is_taken_back_is_seen_by_nobody(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        await has_said(one, "vms", **WEB)
        before = one.believed("vms")
        one.configure()
        await until(lambda: one.status("vms").freshness.state is State.REMOVED)
        one.configure(consul("vms"))
        await one.registry("vms", 2)
        await one.passes(DWELL)
        assert one.believed("vms") is before
        await has_said(one, "vms", 2, **WEB)
        assert not one.status("vms").holds


async def test_a_registry_that_is_removed_while_nobody_is_there_to_see_it_is_held_too(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms"), consul("old")) as one:
        await has_said(one, "vms", **WEB)
        await has_said(one, "old", **WEB)

    async with listening(tmp_path, consul("vms")) as one:
        await until(one.sources.is_ready.is_set)
        await until(lambda: bool(one.status("old").holds))
        assert one.believed("old") is not None
        await one.passes(DWELL)
        await one.until_believed("old", None)


@pytest.mark.parametrize(
    ("named", "served", "reported"),
    [
        # The first of the kind has the word; of one cluster under two names each place is served once.
        (consul, range(15), {"MW0015", "MW0018"}),
        (kubernetes, range(20), {"MW0018"}),
    ],
)
async def test_a_renamed_registry_stands_behind_the_new_one_until_it_is_believed_to_be_gone(
    tmp_path: Path, named: Callable[[str], Settings], served: range, reported: set[str]
) -> None:
    async with listening(tmp_path, named("old")) as one:
        await has_said(one, "old", **WEB)
        one.configure(named("new"))
        await until(lambda: one.status("old").freshness.state is State.REMOVED)
        # Nothing is lost while the new one has not answered, and nothing counts twice when it has.
        assert [answer.registry for answer in one.sources.answers.value] == ["old"]
        await has_said(one, "new", web=range(15))
        assert [answer.registry for answer in one.sources.answers.value] == ["new", "old"]
        catalogue = Catalogues().take(one.sources.answers.value, {})
        (web,) = catalogue.endpoints.within("shop").values()
        assert sorted(one.workload for one in web.by_port[80]) == sorted(f"w{number}" for number in served)
        assert {tie.code for tie in catalogue.ties} == reported

        await one.passes(DWELL)
        await one.until_believed("old", None)
        assert one.believed("new") is not None


async def test_another_kind_of_registry_under_the_same_name_waits_for_the_old_one_to_go(
    tmp_path: Path,
) -> None:
    async with listening(tmp_path, consul("it")) as one:
        await has_said(one, "it", **WEB)
        before = one.believed("it")
        one.configure(kubernetes("it"))
        second = await one.registry("it", 2)
        answer = an_answer({"db": range(3)}, registry="it", provider=second.provider)
        second.says(answer)
        await until(lambda: one.sources.statuses.value[0].counts.services == 1)
        assert one.sources.answers.value == (before,)

        await one.passes(DWELL)
        await one.until_believed("it", answer)
        assert [status.provider for status in one.sources.statuses.value] == [Provider.KUBERNETES]


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
        assert one.status("vms").age(Moment.of(one.clock)) is None
        await has_said(one, "vms", **WEB)
        one.opened["vms"][0].falls_silent()
        await until(lambda: one.status("vms").freshness.state is State.STALE)
        await one.passes(timedelta(hours=1))

        assert one.status("vms").freshness.error == "no answer"
        assert len(one.sources.answers.value) == 1
        assert one.status("vms").age(Moment.of(one.clock)) == timedelta(hours=1)


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
            await one.passes(AGAIN_EVERY)
            await until(lambda tries=tries: one.sources.keeper.failures >= tries)
        assert one.sources.keeper.error.endswith("database or disk is full")
        assert caplog.messages.count("answers not kept") == 1

        one.file._db.execute("PRAGMA max_page_count = 100000")
        await one.passes(AGAIN_EVERY)
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
        assert sorted(again.load()[0]) == ["vms"]
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


async def test_what_one_registry_says_that_cannot_be_kept_keeps_out_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(tmp_path, consul("odd"), consul("vms")) as one:
        half = replace(a_workload(1), labels=(("app", "\ud800"),))
        odd = an_answer([an_offer("web", [Instance(workload=half, ports=())])], registry="odd")
        (await one.registry("odd")).says(odd)
        await one.until_believed("odd", odd)
        await has_said(one, "vms", **WEB)
        assert one.sources.is_ready.is_set()
        assert one.sources.keeper.failures > 0
        assert caplog.messages.count("answers not kept") == 1

    async with listening(tmp_path, consul("odd"), consul("vms")) as one:
        await until(lambda: one.believed("vms") is not None)


async def test_a_wall_clock_that_is_set_back_makes_no_registry_younger_than_now(tmp_path: Path) -> None:
    async with listening(tmp_path, consul("vms")) as one:
        await has_said(one, "vms", **WEB)
        await one.passes(timedelta(minutes=1))
        one.clock.jump(-timedelta(hours=1))
        assert one.status("vms").age(Moment.of(one.clock)) == timedelta(minutes=1)

    async with listening(tmp_path, consul("vms")) as one:
        one.clock.jump(-timedelta(hours=1))
        await until(one.sources.is_ready.is_set)
        # Nobody knows how long that was.
        assert one.status("vms").age(Moment.of(one.clock)) == timedelta(0)
