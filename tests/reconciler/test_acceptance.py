"""The accepted tree: what is served is a commit."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mesh.errors import Unavailable
from reconciler import acceptance, deletions
from reconciler.acceptance import Accepted, Record, UnitStatus, Verdict, recall
from reconciler.git import ACCEPTED, Clone
from reconciler.units import Choice
from tests.support.repositories import Words, read_words

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Served:
    """A branch whose commits are judged one after another, without a remote."""

    def __init__(self, folder: Path) -> None:
        self.clone = Clone.open(folder / "repo.git")
        self.now = NOON
        self._commits = 0

    def commit(self, files: dict[str, str]) -> str:
        tree: str | None = None
        for path, text in files.items():
            folder, _, name = path.rpartition("/")
            inside = (self.clone.subtree(tree, folder) if tree else None) if folder else tree
            inner = self.clone.with_file(inside, name, text.encode())
            tree = self.clone.with_subtrees(tree, {folder: inner}) if folder else inner
        self._commits += 1
        return self.clone.commit(
            tree or self.clone.with_file(None, "README", b""),
            parent=None,
            message=f"change {self._commits}\n",
            when=NOON,
        )

    def read(self, choice: Choice, tenancy: tuple[str, ...]) -> Words:
        listings = [self.clone.files(v.tree, unit) for unit, v in choice.items() if v.tree]
        files = [file for listing in listings for file in listing.files]
        return read_words(files, passed_over=(), tenancy=tenancy)

    def judge(self, commit: str) -> Verdict[Words]:
        self.now += timedelta(minutes=1)
        before = recall(self.clone, "main")
        base = self.read(acceptance.served(self.clone, before, before.tenancy), before.tenancy)
        watched = deletions.Served.of(base.contents, before.tenancy, base.guards)
        watch = deletions.Watch(watched, deletions.Claims(), now=self.now, moment=0.0)
        return acceptance.judge(self.clone, commit, before, self.read, self.now, watch)

    def take(self, files: dict[str, str]) -> Accepted[Words]:
        return acceptance.accept(self.clone, "main", self.judge(self.commit(files)), self.now)

    def record(self) -> Record:
        return recall(self.clone, "main")

    def log(self) -> list[str]:
        """What ``git log`` says of the accepted versions, newest first."""
        said = subprocess.run(
            ["git", f"--git-dir={self.clone.folder}", "log", "--format=%B%x00", ACCEPTED + "main"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return [entry.strip() for entry in said.stdout.split("\0") if entry.strip()]

    def served_files(self) -> dict[str, str]:
        tree = self.record().tree
        return {f.path: f.data.decode() for f in self.clone.files(tree).files} if tree else {}


def by_name(units: tuple[UnitStatus, ...]) -> dict[str, UnitStatus]:
    return {unit.name: unit for unit in units}


TENANTS = "tenant teams/a\ntenant teams/b"


def test_what_is_served_is_a_commit_that_says_where_it_comes_from(tmp_path: Path) -> None:
    served = Served(tmp_path)
    accepted = served.take({"mesh.yaml": "define x"})
    assert served.clone.ref(ACCEPTED + "main") == accepted.commit
    assert served.log() == [f"accept {accepted.revision[:7]}: change 1\n\nSource: {accepted.revision}"]
    assert served.served_files() == {"mesh.yaml": "define x"}


def test_a_held_unit_keeps_its_last_version_beside_the_new_ones_of_others(tmp_path: Path) -> None:
    served = Served(tmp_path)
    first = served.take({"mesh.yaml": TENANTS, "teams/a/x.yaml": "define a", "teams/b/x.yaml": "define b"})
    second = served.take({"mesh.yaml": TENANTS, "teams/a/x.yaml": "broken", "teams/b/x.yaml": "define b2"})
    files = served.served_files()
    assert files["teams/a/x.yaml"] == "define a"
    assert files["teams/b/x.yaml"] == "define b2"

    a, b = by_name(second.units)["teams/a"], by_name(second.units)["teams/b"]
    assert (a.seen, a.accepted, a.held_since) == (
        second.revision,
        first.revision,
        NOON + timedelta(minutes=2),
    )
    assert [str(problem) for problem in a.problems] == ["teams/a/x.yaml:1: error MW0001: broken"]
    assert (b.seen, b.accepted, b.is_held) == (second.revision, second.revision, False)
    assert served.log() == [
        f"accept {second.revision[:7]}: change 2\n\nSource: {second.revision}\nHeld: teams/a",
        f"accept {first.revision[:7]}: change 1\n\nSource: {first.revision}",
    ]


def test_a_commit_that_is_held_as_a_whole_is_not_what_is_served(tmp_path: Path) -> None:
    """Also not after a restart, which knows of it only what is written."""
    served = Served(tmp_path)
    first = served.take({"mesh.yaml": "define x"})
    held = served.take({"mesh.yaml": "broken"})
    (unit,) = held.units
    assert (held.revision, unit.accepted, unit.is_held) == (first.revision, first.revision, True)
    assert served.record().revision == first.revision
    assert served.log()[0] == f"hold {unit.seen[:7]}: change 2\n\nSource: {unit.seen}\nHeld: mesh"

    third = served.take({"mesh.yaml": "define y"})
    assert served.record().revision == third.revision != unit.seen


def test_an_unchanged_unit_keeps_its_subtree(tmp_path: Path) -> None:
    served = Served(tmp_path)
    files = {"mesh.yaml": TENANTS, "teams/a/x.yaml": "define a", "teams/b/x.yaml": "define b"}
    served.take(files)
    before = served.record()
    served.take(files | {"teams/a/x.yaml": "define a2"})
    after = served.record()
    assert before.tree
    assert after.tree
    assert served.clone.subtree(before.tree, "teams/b") == served.clone.subtree(after.tree, "teams/b")
    assert served.clone.subtree(before.tree, "teams/a") != served.clone.subtree(after.tree, "teams/a")


def test_a_turn_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    served = Served(tmp_path)
    first = served.take({"mesh.yaml": TENANTS, "teams/a/x.yaml": "broken"})
    again = acceptance.accept(served.clone, "main", served.judge(first.revision), served.now)
    assert again.commit == first.commit
    assert again.units == first.units


def test_a_hold_lasts_since_it_began_and_ends_with_a_good_version(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.take({"mesh.yaml": TENANTS, "teams/a/x.yaml": "define a"})
    began = by_name(served.take({"mesh.yaml": TENANTS, "teams/a/x.yaml": "broken"}).units)["teams/a"]
    later = by_name(served.take({"mesh.yaml": TENANTS, "teams/a/x.yaml": "broken\nbroken"}).units)["teams/a"]
    assert later.held_since == began.held_since == NOON + timedelta(minutes=2)
    assert len(later.problems) == 2
    ended = by_name(served.take({"mesh.yaml": TENANTS, "teams/a/x.yaml": "define a"}).units)["teams/a"]
    assert (ended.held_since, ended.problems) == (None, ())


def test_a_unit_broken_in_the_first_commit_is_absent(tmp_path: Path) -> None:
    served = Served(tmp_path)
    accepted = served.take({"mesh.yaml": TENANTS, "teams/a/x.yaml": "broken", "teams/b/x.yaml": "define b"})
    assert by_name(accepted.units)["teams/a"].accepted is None
    assert set(served.served_files()) == {"mesh.yaml", "teams/b/x.yaml"}


def test_a_folder_removed_by_a_commit_empties_its_unit(tmp_path: Path) -> None:
    served = Served(tmp_path)
    mesh = f"{TENANTS}\ndefine m"
    served.take({"mesh.yaml": mesh, "teams/a/x.yaml": "define a"})
    accepted = served.take({"mesh.yaml": mesh})
    assert by_name(accepted.units)["teams/a"].accepted == accepted.revision
    assert set(served.served_files()) == {"mesh.yaml"}


def test_the_inner_unit_is_held_without_the_outer(tmp_path: Path) -> None:
    served = Served(tmp_path)
    mesh = "tenant teams/a\ntenant teams/a/inner"
    served.take({"mesh.yaml": mesh, "teams/a/x.yaml": "define a", "teams/a/inner/x.yaml": "define i"})
    served.take({"mesh.yaml": mesh, "teams/a/x.yaml": "define a2", "teams/a/inner/x.yaml": "broken"})
    files = served.served_files()
    assert (files["teams/a/x.yaml"], files["teams/a/inner/x.yaml"]) == ("define a2", "define i")
    served.take({"mesh.yaml": mesh, "teams/a/x.yaml": "broken", "teams/a/inner/x.yaml": "define i2"})
    files = served.served_files()
    assert (files["teams/a/x.yaml"], files["teams/a/inner/x.yaml"]) == ("define a2", "define i2")


def test_a_commit_that_changes_the_tenancy_is_judged_by_the_one_before(tmp_path: Path) -> None:
    """Who may push a folder cannot slip past its owner by making it a unit in the same commit."""
    served = Served(tmp_path)
    served.take({"mesh.yaml": "define x", "teams/a/x.yaml": "define a"})
    held = served.take({"mesh.yaml": "tenant teams/a", "teams/a/x.yaml": "broken"})
    assert list(by_name(held.units)) == ["mesh"]
    assert by_name(held.units)["mesh"].is_held
    assert served.served_files()["mesh.yaml"] == "define x"

    taken = served.take({"mesh.yaml": "tenant teams/a", "teams/a/x.yaml": "define a"})
    assert list(by_name(taken.units)) == ["mesh", "teams/a"]
    assert not any(unit.is_held for unit in taken.units)
    apart = served.take({"mesh.yaml": "tenant teams/a\ndefine y", "teams/a/x.yaml": "broken"})
    assert {unit.name: unit.is_held for unit in apart.units} == {"mesh": False, "teams/a": True}


def test_a_unit_that_was_held_when_its_tenancy_ended_keeps_its_version(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.take({"mesh.yaml": "tenant teams/a", "teams/a/x.yaml": "define a"})
    accepted = served.take({"mesh.yaml": "define x", "teams/a/x.yaml": "broken"})
    assert served.served_files()["teams/a/x.yaml"] == "define a"
    assert served.served_files()["mesh.yaml"] == "define x"
    assert {unit.name: unit.is_held for unit in accepted.units} == {"mesh": True}


def test_a_folder_of_our_name_in_the_repository_is_ignored(tmp_path: Path) -> None:
    served = Served(tmp_path)
    forged = json.dumps({"revision": "forged", "units": []})
    accepted = served.take({"mesh.yaml": "define x", ".meshwright/holds.json": forged})
    assert served.record().revision == accepted.revision


def test_everything_is_found_again_in_the_repository_alone(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.take({"mesh.yaml": TENANTS, "teams/a/x.yaml": "define a"})
    accepted = served.take({"mesh.yaml": TENANTS, "teams/a/x.yaml": "broken"})
    record = recall(Clone.open(tmp_path / "repo.git"), "main")
    assert (record.commit, record.revision, record.units) == (
        accepted.commit,
        accepted.revision,
        accepted.units,
    )
    assert record.tenancy == ("teams/a", "teams/b")


def test_of_two_who_accept_at_once_the_second_does_not_win(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.take({"mesh.yaml": "define x"})
    slow = served.judge(served.commit({"mesh.yaml": "define slow"}))
    served.take({"mesh.yaml": "define fast"})
    with pytest.raises(Unavailable) as error:
        acceptance.accept(served.clone, "main", slow, served.now)
    assert str(error.value) == "another process accepted a version of 'main' meanwhile"
    assert error.value.hint == "is a second meshwright using this state folder?"
    assert served.served_files()["mesh.yaml"] == "define fast"


def test_who_dies_before_the_ref_moves_leaves_the_last_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Served(tmp_path)
    first = served.take({"mesh.yaml": "define x"})

    def dies(*_: object, **__: object) -> bool:
        raise SystemExit

    with monkeypatch.context() as dying:
        dying.setattr(Clone, "move_ref", dies)
        with pytest.raises(SystemExit):
            served.take({"mesh.yaml": "define y"})
    served.clone = Clone.open(tmp_path / "repo.git")
    assert served.record().commit == first.commit
    served.take({"mesh.yaml": "define y"})
    assert served.served_files()["mesh.yaml"] == "define y"


def test_a_lock_left_on_the_ref_does_not_outlive_the_restart(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.take({"mesh.yaml": "define x"})
    (tmp_path / "repo.git" / (ACCEPTED + "main.lock")).touch()
    with pytest.raises(Unavailable) as error:
        served.take({"mesh.yaml": "define y"})
    assert str(error.value).startswith("could not write refs/meshwright/accepted/main: ")
    served.clone = Clone.open(tmp_path / "repo.git")
    served.take({"mesh.yaml": "define y"})
