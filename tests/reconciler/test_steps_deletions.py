"""Commits that take much away, from the push to what is served."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.latest import Latest
from reconciler.acceptance import Accepted
from reconciler.cycle import Bell, CycleStatus, State, Turn, run_cycle, run_turn
from reconciler.fetching import Remote
from reconciler.steps import Desk, start, steps
from reconciler.vouching import allows
from tests.support.clock import FakeClock
from tests.support.repositories import Repository, WordReader, Words

MESH = "tenant teams/a\ntenant teams/b\ndefine mesh"
DWELL = timedelta(minutes=5)
ALLOWED = "Clean up\n\nMeshwright-Allow-Removal: yes\nReviewed-by: Dana"


def words(prefix: str, count: int) -> str:
    return "\n".join(f"define {prefix}{number}" for number in range(count))


class Plane:
    """One control plane's cycle, turned by hand, and the team that pushes to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.team = Repository(folder)
        self.published: list[Accepted[Words]] = []
        self.clock = FakeClock()
        self.restart()

    def restart(self) -> None:
        self.reader = WordReader()
        self.desk = Desk(
            folder=self.folder / "state" / "repo.git",
            remote=Remote.parse(self.team.url, "main"),
            reader=self.reader,
            publish=self.published.append,
            clock=self.clock,
            fetch_limit=timedelta(seconds=10),
        )
        self._turn: Turn[Words] = Turn()

    async def turn(self) -> Turn[Words]:
        self._turn = await run_turn(steps(self.desk), self._turn.following())
        assert (self._turn.state, self._turn.reason) == (State.READY, "")
        return self._turn

    async def push(self, files: dict[str, str | bytes | None], message: str = "a change") -> str:
        commit = self.team.push(files, message)
        await self.turn()
        return commit

    async def is_served_after(self, span: timedelta) -> int:
        """How many objects are served ``span`` later."""
        await self.clock.advance(span)
        await self.turn()
        return self.served

    @property
    def served(self) -> int:
        return len(self.published[-1].reading.objects)

    @property
    def held(self) -> dict[str, list[str]]:
        return {u.name: [p.message for p in u.problems] for u in self.published[-1].units if u.is_held}


async def a_plane(folder: Path) -> Plane:
    """It serves 1 object of the mesh, 60 of team A and 20 of team B."""
    plane = Plane(folder)
    files = {"mesh.yaml": MESH, "teams/a/x.yaml": words("a", 60), "teams/b/x.yaml": words("b", 20)}
    await plane.push({**files})
    assert (plane.served, plane.held) == (81, {})
    return plane


def removes(what: str, unit: str, until: str = "2026-01-01 00:05:00Z") -> dict[str, list[str]]:
    return {unit: [f"the commit removes {what} of unit {unit!r}: held until {until} or released"]}


async def test_a_mass_removal_is_held_and_the_others_go_live(tmp_path: Path) -> None:
    plane = await a_plane(tmp_path)
    commit = await plane.push(
        {"teams/a/x.yaml": words("a", 15), "teams/b/x.yaml": words("c", 11) + "\n" + words("b", 20)}
    )
    assert plane.held == removes("45 of 60 objects", "teams/a")
    assert plane.served == 92
    a, b = plane.published[-1].units[1:]
    assert (a.seen, a.accepted == commit, b.accepted == commit) == (commit, False, True)


async def test_head_is_not_read_again_before_time_has_changed_something(tmp_path: Path) -> None:
    plane = await a_plane(tmp_path)
    await plane.push({"teams/a/x.yaml": words("a", 15)})
    readings, published = plane.reader.readings, len(plane.published)
    for _ in range(9):
        assert await plane.is_served_after(timedelta(seconds=30)) == 81
    assert (plane.reader.readings, len(plane.published)) == (readings, published)
    assert await plane.is_served_after(timedelta(seconds=30)) == 36
    assert plane.held == {}
    readings = plane.reader.readings
    assert await plane.is_served_after(DWELL) == 36
    assert plane.reader.readings == readings


async def test_later_commits_that_lack_the_same_keep_the_clock_running(tmp_path: Path) -> None:
    plane = await a_plane(tmp_path)
    await plane.push({"teams/a/x.yaml": words("a", 15)})
    await plane.clock.advance(timedelta(minutes=4))
    await plane.push({"teams/a/y.yaml": words("new", 3), "teams/b/x.yaml": words("b", 19)})
    assert plane.held == removes("45 of 60 objects", "teams/a")
    assert await plane.is_served_after(timedelta(minutes=1)) == 1 + 18 + 19


async def test_the_loop_wakes_by_itself_when_the_dwell_is_over(tmp_path: Path) -> None:
    """No commit, no bell: the schedule may be slow."""
    plane = await a_plane(tmp_path)
    plane.team.push({"teams/a/x.yaml": words("a", 15)})
    status = Latest(CycleStatus(branch="main", url=plane.team.url))
    loop = run_cycle(
        start=start(plane.desk), steps=steps(plane.desk), status=status, bell=Bell(), clock=plane.clock
    )
    task = asyncio.create_task(loop)
    try:
        async with asyncio.timeout(10):
            while not any(unit.is_held for unit in status.value.units):
                await status.newer_than(status.version)
            version = status.version
            await plane.clock.advance(DWELL)
            await status.newer_than(version)
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert (plane.served, plane.held) == (36, {})


async def test_the_operators_word_frees_what_is_held(tmp_path: Path) -> None:
    plane = await a_plane(tmp_path)
    assert plane.desk.release() == 0
    await plane.push({"teams/a/x.yaml": words("a", 15)})
    assert plane.desk.release() == 45
    await plane.turn()
    assert (plane.served, plane.held) == (36, {})
    assert (await plane.turn()).is_over


async def test_the_operators_word_does_not_cover_what_is_pushed_meanwhile(tmp_path: Path) -> None:
    plane = await a_plane(tmp_path)
    await plane.push({"teams/a/x.yaml": words("a", 15)})
    plane.desk.release()
    await plane.push({"teams/a/x.yaml": words("a", 1)})
    assert plane.held == removes("14 of 15 objects", "teams/a")
    assert (await plane.turn()).is_over


async def test_a_commit_that_says_so_removes_at_once(tmp_path: Path) -> None:
    plane = await a_plane(tmp_path)
    await plane.push({"teams/a/x.yaml": words("a", 15)}, ALLOWED)
    assert (plane.served, plane.held) == (36, {})


async def test_the_word_of_one_team_does_not_free_what_another_removed_by_mistake(tmp_path: Path) -> None:
    """Pushed before it, with it and after it; and whether that team removes something itself or not."""
    plane = await a_plane(tmp_path)
    await plane.push({"teams/a/x.yaml": words("a", 15)}, "a mistake")
    await plane.push({}, ALLOWED)
    await plane.push({"teams/b/y.yaml": words("new", 1)}, ALLOWED)
    await plane.push({"teams/b/x.yaml": words("b", 2)}, ALLOWED)
    assert plane.held == removes("45 of 60 objects", "teams/a")
    plane.team.push({"teams/b/x.yaml": words("b", 1)}, ALLOWED)
    await plane.push({"teams/a/x.yaml": words("a", 14)}, "a mistake")
    assert plane.held == removes("46 of 60 objects", "teams/a")
    assert plane.served == 1 + 60 + 1 + 1


async def test_a_removal_that_was_made_again_with_the_word_is_free(tmp_path: Path) -> None:
    plane = await a_plane(tmp_path)
    await plane.push({"teams/a/x.yaml": words("a", 15)}, "a mistake, or so it looks")
    assert plane.held
    plane.team.push({"teams/a/x.yaml": words("a", 60)}, "Revert")
    await plane.push({"teams/a/x.yaml": words("a", 15)}, ALLOWED)
    assert (plane.served, plane.held) == (36, {})


async def test_a_word_does_not_cover_what_was_put_back_and_removed_again_without_one(tmp_path: Path) -> None:
    plane = await a_plane(tmp_path)
    plane.team.push({"teams/a/x.yaml": words("a", 15)}, ALLOWED)
    plane.team.push({"teams/a/x.yaml": words("a", 60)}, "Revert")
    await plane.push({"teams/a/x.yaml": words("a", 15)}, "a mistake")
    assert plane.held == removes("45 of 60 objects", "teams/a")


async def test_the_word_of_a_commit_outlives_the_next_push_and_does_not_cover_it(tmp_path: Path) -> None:
    plane = await a_plane(tmp_path)
    plane.team.push({"teams/a/x.yaml": words("a", 15)}, ALLOWED)
    await plane.push({"teams/b/x.yaml": words("b", 19)})
    assert (plane.served, plane.held) == (35, {})

    plane.team.push({"teams/b/x.yaml": words("b", 18)}, ALLOWED)
    await plane.push({"teams/b/x.yaml": words("b", 1)})
    assert plane.held == removes("17 of 18 objects", "teams/b")


async def test_a_merge_speaks_by_its_own_message(tmp_path: Path) -> None:
    """The tree of a branch lacks what was added elsewhere since; its word would cover that too."""
    plane = await a_plane(tmp_path)
    git = plane.team.git
    git("checkout", "--quiet", "-b", "tidy")
    (plane.team.work / "teams/a/x.yaml").write_text(words("a", 15))
    git("commit", "--quiet", "--all", "-m", ALLOWED)
    git("checkout", "--quiet", "main")
    git("merge", "--quiet", "--no-ff", "-m", "Merge branch 'tidy'", "tidy")
    await plane.push({})
    assert plane.held == removes("45 of 60 objects", "teams/a")
    git("reset", "--quiet", "--hard", "HEAD~2")
    git("merge", "--quiet", "--no-ff", "-m", ALLOWED, "tidy")
    plane.team.push({}, force=True)
    await plane.turn()
    assert plane.held == {}


async def test_after_a_force_push_only_the_tip_is_asked(tmp_path: Path) -> None:
    plane = await a_plane(tmp_path)
    plane.team.git("commit", "--quiet", "--amend", "--allow-empty", "-m", "Begin anew")
    plane.team.push({"teams/a/x.yaml": words("a", 15)}, ALLOWED, force=True)
    plane.team.push({"teams/b/x.yaml": words("b", 19)})
    await plane.turn()
    assert plane.held == removes("45 of 60 objects", "teams/a")
    plane.team.push({"teams/a/x.yaml": words("a", 60)}, "Revert")
    await plane.push({"teams/a/x.yaml": words("a", 15)}, ALLOWED)
    assert plane.held == {}


async def test_a_commit_cannot_disable_the_guard_that_watches_it(tmp_path: Path) -> None:
    plane = await a_plane(tmp_path)
    await plane.push({"mesh.yaml": f"{MESH}\nunguarded", "teams/a/x.yaml": words("a", 15)})
    assert plane.held == removes("45 of 60 objects", "teams/a")
    await plane.push({"teams/b/x.yaml": words("b", 19)})
    assert plane.held == removes("45 of 60 objects", "teams/a")
    assert await plane.is_served_after(DWELL) == 35
    await plane.push({"teams/a/x.yaml": None})
    assert (plane.served, plane.held) == (20, {})


async def test_a_repository_that_is_suddenly_empty_withdraws_nothing(tmp_path: Path) -> None:
    plane = await a_plane(tmp_path)
    await plane.push({"mesh.yaml": None, "teams": None})
    until = "held until 2026-01-01 00:05:00Z or released"
    assert plane.held == {
        "mesh": [f"the commit removes the only object of unit 'mesh' and all 81 of the repository: {until}"],
        **removes("all 60 objects", "teams/a"),
        **removes("all 20 objects", "teams/b"),
    }
    assert plane.served == 81


async def test_a_small_repository_that_is_suddenly_empty_withdraws_nothing_either(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    await plane.push({"mesh.yaml": words("x", 3)})
    await plane.push({"mesh.yaml": "", "README.md": "moved"})
    assert plane.held == removes("all 3 objects", "mesh")
    assert plane.served == 3
    assert await plane.is_served_after(DWELL) == 0


async def test_what_moves_to_other_files_and_units_is_not_removed(tmp_path: Path) -> None:
    plane = await a_plane(tmp_path)
    first, second = words("a", 60).split("define a30\n")
    await plane.push(
        {"teams/a/x.yaml": None, "teams/a/y.yaml": first, "teams/b/y.yaml": f"{second}\ndefine a30"}
    )
    assert (plane.served, plane.held) == (81, {})
    await plane.push({"teams/a/y.yaml": None, "z.yaml": first})
    assert (plane.served, plane.held) == (81, {})


async def test_what_moves_to_a_unit_that_is_held_stays(tmp_path: Path) -> None:
    plane = await a_plane(tmp_path)
    await plane.push({"teams/a/x.yaml": None, "teams/b/y.yaml": f"{words('a', 60)}\nbroken"})
    assert plane.held == {
        "teams/a": [
            "the commit moves all 60 objects of unit 'teams/a' to units that are held: held with those"
        ],
        "teams/b": ["broken"],
    }
    assert await plane.is_served_after(DWELL) == 81
    await plane.push({"teams/b/y.yaml": words("a", 60)})
    assert (plane.served, plane.held) == (81, {})


async def test_ending_a_tenancy_does_not_smuggle_a_removal_through(tmp_path: Path) -> None:
    plane = await a_plane(tmp_path)
    await plane.push({"teams/a/more.yaml": words("more", 100), "z.yaml": words("z", 300)})
    mesh = MESH.replace("tenant teams/a\n", "")
    await plane.push({"mesh.yaml": mesh, "teams/a": None})
    assert plane.held == {"mesh": removes("all 160 objects", "teams/a")["teams/a"]}
    assert await plane.is_served_after(DWELL) == 321


async def test_a_restart_serves_what_was_held_and_begins_the_dwell_anew(tmp_path: Path) -> None:
    plane = await a_plane(tmp_path)
    await plane.push({"teams/a/x.yaml": words("a", 15)})
    await plane.clock.advance(timedelta(minutes=4))
    plane.restart()
    await run_turn(start(plane.desk), Turn())
    assert plane.served == 81
    assert plane.held == removes("45 of 60 objects", "teams/a")
    assert await plane.is_served_after(timedelta(minutes=2)) == 81
    assert plane.held == removes("45 of 60 objects", "teams/a", until="2026-01-01 00:11:00Z")
    assert await plane.is_served_after(DWELL) == 36


@pytest.mark.parametrize(
    ("message", "is_allowed"),
    [
        (ALLOWED, True),
        ("Merge (#12)\n\n* Clean up\n\nmeshwright-allow-removal: YES\r\n\nCo-authored-by: Eve", True),
        ("Meshwright-Allow-Removal: no", False),
        ("Say Meshwright-Allow-Removal: yes", False),
        ("> Meshwright-Allow-Removal: yes", False),
        ("Meshwright-Allow-Removal: yes, please", False),
    ],
)
def test_the_word_is_a_line_of_its_own(message: str, is_allowed: bool) -> None:
    assert allows(message) is is_allowed
