"""Whole turns with a real repository, a real remote and a plain reader."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from mesh.errors import Misconfigured
from mesh.latest import Latest
from reconciler.acceptance import Accepted
from reconciler.cycle import Bell, CycleStatus, State, Turn, run_cycle, run_turn
from reconciler.fetching import Remote
from reconciler.git import SEEN, Clone, Event
from reconciler.steps import Desk, start, steps
from tests.support.clock import FakeClock
from tests.support.repositories import Repository, WordReader, Words


class Plane:
    """One control plane's cycle, turned by hand."""

    def __init__(self, state: Path, url: str) -> None:
        self.published: list[Accepted[Words]] = []
        self.reader = WordReader()
        self.clock = FakeClock()
        self.desk = Desk(
            folder=state / "repo.git",
            remote=Remote.parse(url, "main"),
            reader=self.reader,
            publish=self.published.append,
            clock=self.clock,
            fetch_limit=timedelta(seconds=10),
        )
        self.turn_: Turn[Words] = Turn()

    async def start(self) -> Turn[Words]:
        self.turn_ = await run_turn(start(self.desk), Turn())
        return self.turn_

    async def turn(self) -> Turn[Words]:
        self.turn_ = await run_turn(steps(self.desk), self.turn_.following())
        return self.turn_

    @property
    def objects(self) -> set[str]:
        return set(self.published[-1].reading.objects)


@asynccontextmanager
async def a_cycle(plane: Plane, status: Latest[CycleStatus], bell: Bell) -> AsyncIterator[None]:
    """The loop of a control plane, running."""
    loop = run_cycle(
        start=start(plane.desk), steps=steps(plane.desk), status=status, bell=bell, clock=plane.clock
    )
    task = asyncio.create_task(loop)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_push_is_published_once(tmp_path: Path) -> None:
    team, plane = Repository(tmp_path), Plane(tmp_path / "state", str(tmp_path / "mesh.git"))
    commit = team.push({"mesh.yaml": "define x"})
    assert (await plane.start()).serving is None
    turn = await plane.turn()
    assert (turn.state, turn.reason) == (State.READY, "")
    assert [accepted.revision for accepted in plane.published] == [commit]
    readings = plane.reader.readings
    assert (await plane.turn()).is_over
    assert (len(plane.published), plane.reader.readings) == (1, readings)


async def test_a_broken_folder_is_held_while_the_others_go_live(tmp_path: Path) -> None:
    team, plane = Repository(tmp_path), Plane(tmp_path / "state", str(tmp_path / "mesh.git"))
    mesh = "tenant teams/a\ntenant teams/b"
    team.push({"mesh.yaml": mesh, "teams/a/x.yaml": "define a", "teams/b/x.yaml": "define b"})
    await plane.turn()
    team.push({"teams/a/x.yaml": "broken", "teams/b/x.yaml": "define b2"})
    turn = await plane.turn()
    assert turn.state is State.READY
    assert plane.objects == {"a", "b2"}
    assert [unit.name for unit in plane.published[-1].units if unit.is_held] == ["teams/a"]
    assert plane.published[-1].problems == ()


async def test_a_link_is_reported_with_what_is_served(tmp_path: Path) -> None:
    team, plane = Repository(tmp_path), Plane(tmp_path / "state", str(tmp_path / "mesh.git"))
    (team.work / "link.yaml").symlink_to("/etc/passwd")
    team.push({"mesh.yaml": "define x"})
    await plane.turn()
    assert [str(problem) for problem in plane.published[-1].problems] == [
        "link.yaml: warning MW0012: a symbolic link is not followed"
    ]


async def test_a_restart_serves_what_was_accepted_though_the_remote_is_gone(tmp_path: Path) -> None:
    team, plane = Repository(tmp_path), Plane(tmp_path / "state", str(tmp_path / "mesh.git"))
    team.push({"mesh.yaml": "tenant teams/a", "teams/a/x.yaml": "define a"})
    await plane.turn()
    team.push({"mesh.yaml": "tenant teams/a\ndefine y", "teams/a/x.yaml": "broken"})
    await plane.turn()
    shutil.rmtree(team.bare)

    restarted = Plane(tmp_path / "state", team.url)
    turn = await restarted.start()
    assert turn.state is State.READY
    assert restarted.objects == {"a", "y"}
    assert restarted.published == plane.published[-1:]

    turn = await restarted.turn()
    assert turn.state is State.RETRYING
    assert turn.reason.startswith(f"could not fetch 'main' of {team.url}: fatal: ")
    assert turn.serving == plane.published[-1]


async def test_after_a_restart_the_commit_is_judged_anew_and_nothing_is_written(tmp_path: Path) -> None:
    """The program may have become wiser; the commit has not changed."""
    team, plane = Repository(tmp_path), Plane(tmp_path / "state", str(tmp_path / "mesh.git"))
    team.push({"mesh.yaml": "define x"})
    await plane.turn()
    restarted = Plane(tmp_path / "state", team.url)
    await restarted.start()
    turn = await restarted.turn()
    assert not turn.is_over
    assert restarted.published[0] == restarted.published[1] == plane.published[0]
    assert (await restarted.turn()).is_over


async def test_a_force_push_is_followed_and_has_a_name(tmp_path: Path) -> None:
    team, plane = Repository(tmp_path), Plane(tmp_path / "state", str(tmp_path / "mesh.git"))
    first = team.push({"mesh.yaml": "define x"})
    team.push({"mesh.yaml": "define y"})
    await plane.turn()
    team.git("reset", "--quiet", "--hard", first)
    team.push({"mesh.yaml": "define z"}, force=True)
    turn = await plane.turn()
    assert turn.fetched
    assert (turn.state, turn.fetched.event, plane.objects) == (State.READY, Event.REWRITTEN, {"z"})


async def test_a_deleted_branch_stalls_and_withdraws_nothing(tmp_path: Path) -> None:
    team, plane = Repository(tmp_path), Plane(tmp_path / "state", str(tmp_path / "mesh.git"))
    team.push({"mesh.yaml": "define x"})
    await plane.turn()
    team.delete_branch()
    turn = await plane.turn()
    assert (turn.state, turn.reason) == (State.STALLED, f"branch 'main' was deleted from {team.url}")
    assert len(plane.published) == 1
    team.push({"mesh.yaml": "define y"})
    assert (await plane.turn()).state is State.READY
    assert plane.objects == {"y"}


async def test_a_first_commit_of_which_nothing_can_be_served_withdraws_nothing(tmp_path: Path) -> None:
    """An empty mesh would take from running proxies what they have."""
    team, plane = Repository(tmp_path), Plane(tmp_path / "state", str(tmp_path / "mesh.git"))
    commit = team.push({"mesh.yaml": "broken"})
    turn = await plane.turn()
    assert (turn.state, turn.reason) == (
        State.STALLED,
        f"no unit of commit {commit[:7]} can be accepted, and there is no earlier version",
    )
    assert turn.hint == "run `meshwright check` on it"
    assert plane.published == []
    assert turn.verdict
    assert [unit.is_held for unit in turn.verdict.units] == [True]


async def test_what_the_running_mesh_refuses_is_not_written_down(tmp_path: Path) -> None:
    """A restart would begin with it."""
    team, plane = Repository(tmp_path), Plane(tmp_path / "state", str(tmp_path / "mesh.git"))
    team.push({"mesh.yaml": "define x"})
    await plane.turn()
    team.push({"mesh.yaml": "define another trust domain"})

    def refuses(_: Words) -> None:
        raise Misconfigured("the CA signs for another trust domain")

    plane.desk.check = refuses
    turn = await plane.turn()
    assert (turn.state, turn.reason) == (State.STALLED, "the CA signs for another trust domain")
    restarted = Plane(tmp_path / "state", team.url)
    await restarted.start()
    assert restarted.objects == {"x"}


async def test_what_could_not_be_published_is_published_by_the_next_turn(tmp_path: Path) -> None:
    team, plane = Repository(tmp_path), Plane(tmp_path / "state", str(tmp_path / "mesh.git"))
    team.push({"mesh.yaml": "define x"})

    def breaks(_: object) -> None:
        raise ZeroDivisionError

    plane.desk.publish = breaks
    assert (await plane.turn()).state is State.BROKEN
    plane.desk.publish = plane.published.append
    assert (await plane.turn()).state is State.READY
    assert plane.objects == {"x"}


async def test_a_damaged_repository_is_replaced_and_the_next_turn_goes_through(tmp_path: Path) -> None:
    team, plane = Repository(tmp_path), Plane(tmp_path / "state", str(tmp_path / "mesh.git"))
    commit = team.push({"mesh.yaml": "define x"})
    await plane.turn()
    loose = tmp_path / "state" / "repo.git" / "objects" / commit[:2] / commit[2:]
    loose.chmod(0o600)
    loose.write_bytes(b"")

    restarted = Plane(tmp_path / "state", team.url)
    await restarted.start()
    assert restarted.objects == {"x"}
    turn = await restarted.turn()
    assert turn.state is State.RETRYING
    assert turn.reason.startswith("the local copy of the repository is damaged: ")
    turn = await restarted.turn()
    assert (turn.state, turn.reason) == (State.READY, "")
    assert Clone.open(tmp_path / "state" / "repo.git").ref(SEEN + "main") == commit
    assert restarted.published[-1].commit == plane.published[-1].commit


async def test_a_push_and_a_ring_are_all_it_takes(tmp_path: Path) -> None:
    team, plane = Repository(tmp_path), Plane(tmp_path / "state", str(tmp_path / "mesh.git"))
    first = team.push({"mesh.yaml": "define x"})
    status, bell = Latest(CycleStatus(branch="main", url=team.url)), Bell()

    async def served(commit: str) -> CycleStatus:
        while status.value.revision != commit:
            await status.newer_than(status.version)
        return status.value

    async with a_cycle(plane, status, bell), asyncio.timeout(10):
        await served(first)
        second = team.push({"mesh.yaml": "define y"})
        bell.ring()
        said = await served(second)
    assert (said.state, said.seen, said.event) == (State.READY, second, Event.MOVED)
    assert said.served == plane.published[-1].commit
    assert [unit.name for unit in said.units] == ["mesh"]


async def test_a_repository_that_cannot_even_be_opened_is_replaced(tmp_path: Path) -> None:
    team, plane = Repository(tmp_path), Plane(tmp_path / "state", str(tmp_path / "mesh.git"))
    team.push({"mesh.yaml": "define x"})
    (tmp_path / "state" / "repo.git").mkdir(parents=True)
    turn = await plane.start()
    assert turn.state is State.RETRYING
    assert turn.reason.startswith("the local copy of the repository is damaged: ")
    assert (await plane.turn()).state is State.READY
    assert plane.objects == {"x"}


async def test_what_was_accepted_is_served_after_a_replacement_though_the_remote_is_gone(
    tmp_path: Path,
) -> None:
    team, plane = Repository(tmp_path), Plane(tmp_path / "state", str(tmp_path / "mesh.git"))
    team.push({"mesh.yaml": "define x"})
    await plane.turn()
    shutil.rmtree(team.bare)
    (tmp_path / "state" / "repo.git" / "config").write_text("[core\n")

    restarted = Plane(tmp_path / "state", team.url)
    status = Latest(CycleStatus(branch="main", url=team.url))
    async with a_cycle(restarted, status, Bell()), asyncio.timeout(10):
        while not status.value.served:
            await restarted.clock.advance(timedelta(seconds=1))
            await asyncio.wait({asyncio.ensure_future(status.newer_than(status.version))}, timeout=0.05)
    assert restarted.objects == {"x"}


async def test_names_and_messages_in_no_known_encoding_do_no_harm(tmp_path: Path) -> None:
    team, plane = Repository(tmp_path), Plane(tmp_path / "state", str(tmp_path / "mesh.git"))
    team.git("config", "i18n.commitEncoding", "klingon")
    files = {os.fsdecode(b"m\xfcller.yaml"): "define x", "two\nlines.yaml": "define y", "z.yaml": "define z"}
    team.push(files, message="gr\u00fc\u00dfe \x1b[31m")
    assert (await plane.turn()).state is State.READY
    assert plane.objects == {"x", "z"}
    assert [str(problem) for problem in plane.published[-1].problems] == [
        "'two\\nlines.yaml': warning MW0012: an entry of this name is not followed"
    ]


async def test_reading_that_takes_too_long_is_given_up_and_never_overtaken(tmp_path: Path) -> None:
    plane = Plane(tmp_path / "state", str(tmp_path / "mesh.git"))
    desk = Desk(
        folder=tmp_path / "repo.git",
        remote=plane.desk.remote,
        reader=WordReader(),
        publish=plane.published.append,
        clock=plane.clock,
        read_limit=timedelta(seconds=0.05),
    )
    order: list[str] = []
    loop = asyncio.get_running_loop()
    gate = asyncio.Event()

    def slow() -> None:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()
        order.append("slow")

    turn = await run_turn((lambda turn: desk.aside(slow),), Turn())
    assert (turn.state, turn.reason) == (
        State.RETRYING,
        "reading the repository did not finish within 0.05 s",
    )
    following = asyncio.create_task(asyncio.to_thread(lambda: None))
    gate.set()
    await following
    await desk.aside(order.append, "next")
    assert order == ["slow", "next"]
