from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from mesh.world import Trust, World
from reconciler.acceptance import Accepted
from reconciler.reading import Reader, Reading, TextFile
from reconciler.worlds import Worlds
from registries.roster import Roster
from tests.support.clock import FakeClock
from tests.support.config import a_service, a_workload
from tests.support.without_registries import worlds_of

NOBODY: Roster = ()


class Acceptance:
    """Accepts whatever it is given."""

    def __init__(self) -> None:
        self._reader = Reader()

    def __call__(self, revision: str, *documents: str) -> Accepted[Reading]:
        files = [TextFile(f"{at}.yaml", text.encode()) for at, text in enumerate(documents)]
        reading = self._reader(files)
        self._reader.keep(reading)
        return Accepted(revision=revision, commit=f"tree-{revision}", units=(), reading=reading)


@asynccontextmanager
async def running(worlds: Worlds) -> AsyncIterator[None]:
    task = asyncio.create_task(worlds.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def some_worlds() -> Worlds:
    return worlds_of(FakeClock())


async def newest(worlds: Worlds, than: int = 0) -> World:
    async with asyncio.timeout(10):
        _, world = await worlds.latest.newer_than(than)
    return world


async def test_there_is_no_world_before_something_is_accepted_and_the_ca_is_there() -> None:
    worlds, accept = some_worlds(), Acceptance()
    async with running(worlds):
        worlds.offer(accept("r1", a_service("reviews")))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await worlds.is_first_made.wait()

        worlds.trust.publish(Trust(roots=("root",)))
        world = await newest(worlds)

    assert worlds.is_first_made.is_set()
    assert (world.revision, world.trust.roots, len(world.services.services)) == ("r1", ("root",), 1)


async def test_new_trust_is_a_new_world_of_the_same_services() -> None:
    worlds, accept = some_worlds(), Acceptance()
    worlds.offer(accept("r1", a_service("reviews")))
    worlds.trust.publish(Trust(roots=("old",)))
    async with running(worlds):
        before = await newest(worlds)
        worlds.trust.publish(Trust(roots=("old", "new")))
        after = await newest(worlds, 1)

    assert after.trust.roots == ("old", "new")
    assert after.services is before.services
    assert after.config is before.config


async def test_what_did_not_change_is_the_same_object_in_the_next_world() -> None:
    worlds, accept = some_worlds(), Acceptance()
    texts = a_service("reviews"), a_service("shop", "web"), a_workload("reviews")
    worlds.offer(accept("r1", *texts))
    worlds.trust.publish(Trust())
    async with running(worlds):
        before = await newest(worlds)
        worlds.offer(accept("r2", *texts, a_workload("reviews", "10.0.0.2", name="second")))
        after = await newest(worlds, 1)

    assert after.revision == "r2"
    assert after.services.services is before.services.services
    shop = next(key for key in after.services.endpoints if key.namespace == "web")
    assert after.services.endpoints[shop] is before.services.endpoints[shop]


async def test_of_several_readings_the_newest_is_made() -> None:
    worlds, accept = some_worlds(), Acceptance()
    worlds.trust.publish(Trust())
    for revision in ("r1", "r2", "r3"):
        worlds.offer(accept(revision, a_service("reviews")))
    async with running(worlds):
        assert (await newest(worlds)).revision == "r3"


async def test_when_a_commit_was_seen_is_known() -> None:
    clock = FakeClock()
    worlds = worlds_of(clock)
    await clock.advance(timedelta(hours=1))
    worlds.offer(Acceptance()("r1"))

    assert worlds.seen_at == clock.now()


async def test_a_commit_that_is_held_as_a_whole_does_not_change_when_the_served_one_was_seen() -> None:
    clock = FakeClock()
    worlds, accept = worlds_of(clock), Acceptance()
    worlds.offer(accept("r1"))
    seen_at = worlds.seen_at
    await clock.advance(timedelta(hours=1))
    worlds.offer(accept("r1"))

    assert worlds.seen_at == seen_at


async def test_old_worlds_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    worlds, accept = some_worlds(), Acceptance()
    worlds.trust.publish(Trust())
    sizes = []
    async with running(worlds):
        for number in range(12):
            monkeypatch.setattr("mesh.interning._FEW", 10**6 if number % 4 else -(10**6))
            worlds.offer(
                accept(f"r{number}", a_service("reviews"), a_workload("reviews", f"10.0.1.{number}"))
            )
            await newest(worlds, number)
            if number % 4 == 0:
                sizes.append(len(worlds._recall))

    assert len(set(sizes)) == 1


async def test_a_world_has_caught_up_when_it_has_the_newest_trust() -> None:
    worlds, accept = some_worlds(), Acceptance()
    newer = Trust(roots=("newer",))
    async with running(worlds):
        worlds.offer(accept("r1", a_service("reviews")))
        worlds.trust.publish(Trust())
        await newest(worlds)
        worlds.trust.publish(newer)
        async with asyncio.timeout(10):
            await worlds.caught_up()

    assert worlds.latest.value.trust == newer
