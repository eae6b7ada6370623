"""The local repository: what is fetched, what became of the branch, what a tree hands out."""

from __future__ import annotations

import errno
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mesh.errors import Misconfigured, Unavailable
from reconciler import git
from reconciler.fetching import Git, Remote
from reconciler.git import ACCEPTED, Clone, Damaged, Event, Fetched, fetch, renew
from tests.support.repositories import Repository


async def aside(work, /, *args, **kwargs):
    return work(*args, **kwargs)


class Follower:
    """A clone that looks at a branch."""

    def __init__(self, folder: Path, url: str, branch: str = "main") -> None:
        self.clone = Clone.open(folder / "state" / "repo.git")
        self.git = Git(folder=self.clone.folder, remote=Remote.parse(url, branch))

    async def look(self) -> Fetched:
        return await fetch(self.clone, self.git, aside)


async def test_what_became_of_the_branch_has_a_name(tmp_path: Path) -> None:
    team = Repository(tmp_path)
    follower = Follower(tmp_path, team.url)
    first = team.push({"a.yaml": "1"})
    assert await follower.look() == Fetched(commit=first, event=Event.FIRST)
    assert await follower.look() == Fetched(commit=first, event=Event.UNCHANGED, previous=first)

    second = team.push({"a.yaml": "2"})
    assert await follower.look() == Fetched(commit=second, event=Event.MOVED, previous=first)

    team.git("reset", "--quiet", "--hard", first)
    third = team.push({"a.yaml": "3"}, force=True)
    assert await follower.look() == Fetched(commit=third, event=Event.REWRITTEN, previous=second)


async def test_a_deleted_branch_is_told_from_one_that_never_was(tmp_path: Path) -> None:
    team = Repository(tmp_path)
    follower = Follower(tmp_path, team.url)
    with pytest.raises(Misconfigured) as empty:
        await follower.look()
    assert str(empty.value) == f"the repository {team.url} is empty"
    assert empty.value.hint == "push a first commit to branch 'main'"

    commit = team.push({"a.yaml": "1"})
    await follower.look()
    team.git("push", "--quiet", team.url, "HEAD:refs/heads/other")
    team.delete_branch()
    with pytest.raises(Misconfigured) as deleted:
        await follower.look()
    assert str(deleted.value) == f"branch 'main' was deleted from {team.url}"
    assert deleted.value.hint == f"push it again (it was at {commit[:7]}), or change --branch"

    with pytest.raises(Misconfigured) as absent:
        await Follower(tmp_path / "second", team.url, "nightly").look()
    assert str(absent.value) == f"there is no branch 'nightly' in {team.url}"


async def test_a_branch_that_comes_back_is_followed_again(tmp_path: Path) -> None:
    team = Repository(tmp_path)
    follower = Follower(tmp_path, team.url)
    team.push({"a.yaml": "1"})
    await follower.look()
    team.delete_branch()
    with pytest.raises(Misconfigured):
        await follower.look()
    commit = team.push({"a.yaml": "2"})
    assert (await follower.look()).commit == commit


async def test_a_remote_that_is_gone_is_unavailable_and_says_so(tmp_path: Path) -> None:
    follower = Follower(tmp_path, str(tmp_path / "nowhere.git"))
    with pytest.raises(Unavailable) as gone:
        await follower.look()
    assert str(gone.value).startswith(f"could not fetch 'main' of {tmp_path}/nowhere.git: fatal: ")
    assert "does not appear to be a git repository" in str(gone.value)


async def test_locks_and_packs_of_a_killed_fetch_are_swept_away(tmp_path: Path) -> None:
    team = Repository(tmp_path)
    follower = Follower(tmp_path, team.url)
    await aside(team.push, {"a.yaml": "1"})
    await follower.look()
    left = [
        follower.clone.folder / name
        for name in ("refs/meshwright/seen/main.lock", "packed-refs.lock", "objects/pack/tmp_pack_x")
    ]
    for path in left:
        path.write_bytes(b"half")
    commit = team.push({"a.yaml": "2"})
    assert (await follower.look()).commit == commit
    assert not any(path.exists() for path in left)


def a_tree(clone: Clone, files: dict[str, bytes]) -> str:
    tree = None
    for path, data in files.items():
        folder, _, name = path.rpartition("/")
        if not folder:
            tree = clone.with_file(tree, name, data)
            continue
        inner = clone.with_file(clone.subtree(tree, folder) if tree else None, name, data)
        tree = clone.with_subtrees(tree, {folder: inner})
    assert tree
    return tree


def test_only_configuration_is_handed_out_in_the_order_of_paths(tmp_path: Path) -> None:
    clone = Clone.open(tmp_path / "repo.git")
    tree = a_tree(
        clone, {"b.yml": b"b", "README.md": b"no", "a/c.json": b"{}", "a/b/d.yaml": b"d", ".ci/x.yaml": b"x"}
    )
    listing = clone.files(tree)
    assert [(file.path, file.data) for file in listing.files] == [
        ("a/b/d.yaml", b"d"),
        ("a/c.json", b"{}"),
        ("b.yml", b"b"),
    ]
    assert listing.problems == ()


async def test_links_and_submodules_are_reported_and_not_followed(tmp_path: Path) -> None:
    team = Repository(tmp_path)
    (tmp_path / "secret.yaml").write_text("key")
    (team.work / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    (team.work / "real.yaml").write_text("fine")
    team.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},vendor")
    commit = team.push({})
    # `add --all` drops the gitlink that has no folder; it is put back by hand.
    team.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},vendor")
    team.git("commit", "--quiet", "-m", "a submodule")
    team.git("push", "--quiet", team.url, "HEAD:refs/heads/main")
    follower = Follower(tmp_path, team.url)
    commit = (await follower.look()).commit
    listing = follower.clone.files(follower.clone.tree(commit))
    assert [file.path for file in listing.files] == ["real.yaml"]
    assert [str(problem) for problem in listing.problems] == [
        "link.yaml: warning MW0012: a symbolic link is not followed",
        "vendor: warning MW0012: a submodule is not followed",
    ]


def test_a_pointer_to_large_file_storage_is_an_error(tmp_path: Path) -> None:
    clone = Clone.open(tmp_path / "repo.git")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    (problem,) = clone.files(a_tree(clone, {"a.yaml": pointer})).problems
    assert str(problem) == "a.yaml: error MW0010: the file is a Git LFS pointer, not the file"


def test_a_file_beyond_the_limit_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "FILE_BYTES_MAX", 10)
    clone = Clone.open(tmp_path / "repo.git")
    listing = clone.files(a_tree(clone, {"a.yaml": b"x" * 11, "b.yaml": b"x" * 10}))
    assert [file.path for file in listing.files] == ["b.yaml"]
    assert str(listing.problems[0]) == "a.yaml: error MW0010: the file has 11 bytes, more than 10"


def test_a_tree_that_names_more_files_than_there_are_is_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty objects can name a billion files: each level holds the one below ten times."""
    monkeypatch.setattr(git, "ENTRIES_MAX", 1000)
    clone = Clone.open(tmp_path / "repo.git")
    tree = a_tree(clone, {"a.txt": b""})
    for _ in range(10):
        level = None
        for name in "0123456789":
            level = clone.with_subtrees(level, {name: tree})
        tree = level or tree
    (problem,) = clone.files(tree, "teams/a").problems
    assert str(problem) == (
        "teams/a: error MW0010: the unit holds more than 1000 entries or 32 MiB of configuration"
    )


def test_an_unchanged_file_is_the_same_object_after_a_change_beside_it(tmp_path: Path) -> None:
    clone = Clone.open(tmp_path / "repo.git")
    before = clone.files(a_tree(clone, {"a.yaml": b"1", "b.yaml": b"1"})).files
    clone.forget_unused()
    after = clone.files(a_tree(clone, {"a.yaml": b"1", "b.yaml": b"2"})).files
    assert after[0] is before[0]
    assert after[1] is not before[1]


def test_a_folder_is_replaced_and_taken_out_with_what_is_empty_around_it(tmp_path: Path) -> None:
    clone = Clone.open(tmp_path / "repo.git")
    tree = a_tree(clone, {"a.yaml": b"a", "teams/a/b.yaml": b"b"})
    without = clone.with_subtrees(tree, {"teams/a": None})
    assert without == a_tree(clone, {"a.yaml": b"a"})
    assert clone.with_subtrees(without, {"teams/a": clone.subtree(tree, "teams/a")}) == tree
    assert clone.with_subtrees(clone.subtree(tree, "teams"), {"a": None}) is None


def test_a_line_of_commits_ends_where_it_is_told_to_or_is_its_tip(tmp_path: Path) -> None:
    clone = Clone.open(tmp_path / "repo.git")
    tree = a_tree(clone, {"a.yaml": b"x"})
    commits: list[str] = []
    for message in ("one", "two", "three"):
        parent = commits[-1] if commits else None
        commits.append(
            clone.commit(tree, parent=parent, message=message, when=datetime(2026, 1, 1, tzinfo=UTC))
        )
    one, two, three = commits
    assert clone.line(three, one, 10) == ((three, "three"), (two, "two"))
    assert clone.line(three, three, 10) == ()
    assert clone.line(three, one, 1) == ((three, "three"),)
    assert clone.line(three, "0" * 40, 10) == ((three, "three"),)
    assert [clone.parent(commit) for commit in commits] == [None, one, two]


def test_a_ref_moves_only_from_where_it_was_expected(tmp_path: Path) -> None:
    clone = Clone.open(tmp_path / "repo.git")
    tree, now = a_tree(clone, {"a.yaml": b"a"}), datetime(2026, 1, 1, tzinfo=UTC)
    one = clone.commit(tree, parent=None, message="one", when=now)
    two = clone.commit(tree, parent=one, message="two", when=now)
    name = ACCEPTED + "main"
    assert clone.move_ref(name, to=one, expected=None)
    assert not clone.move_ref(name, to=two, expected=None)
    assert not clone.move_ref(name, to=two, expected=two)
    assert clone.ref(name) == one
    assert clone.move_ref(name, to=two, expected=one)
    assert clone.ref(name) == two


async def test_a_damaged_repository_is_replaced_and_keeps_what_was_accepted(tmp_path: Path) -> None:
    folder = tmp_path / "repo.git"
    clone = Clone.open(folder)
    tree, now = a_tree(clone, {"a.yaml": b"a"}), datetime(2026, 1, 1, tzinfo=UTC)
    kept = clone.commit(tree, parent=None, message="kept", when=now)
    clone.move_ref(ACCEPTED + "main", to=kept, expected=None)
    seen = clone.commit(tree, parent=kept, message="seen", when=now)
    clone.move_ref(git.SEEN + "main", to=seen, expected=None)
    loose = folder / "objects" / seen[:2] / seen[2:]
    loose.chmod(0o600)
    loose.write_bytes(b"")

    damaged = Clone.open(folder)
    with pytest.raises(Damaged) as error:
        damaged.ref(git.SEEN + "main")
    assert str(error.value).startswith("the local copy of the repository is damaged: ")

    fresh = await renew(folder, "main", aside)
    assert fresh.ref(git.SEEN + "main") is None
    assert fresh.ref(ACCEPTED + "main") == kept
    assert (tmp_path / "repo.git.damaged").is_dir()


async def test_accepted_versions_that_are_damaged_themselves_do_not_stop_the_replacement(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "repo.git"
    clone = Clone.open(folder)
    tree = a_tree(clone, {"a.yaml": b"a"})
    kept = clone.commit(tree, parent=None, message="kept", when=datetime(2026, 1, 1, tzinfo=UTC))
    clone.move_ref(ACCEPTED + "main", to=kept, expected=None)
    loose = folder / "objects" / tree[:2] / tree[2:]
    loose.chmod(0o600)
    loose.write_bytes(b"garbage")
    with pytest.raises(Damaged):
        Clone.open(folder).ref(ACCEPTED + "main")
    assert (await renew(folder, "main", aside)).ref(ACCEPTED + "main") is None


def test_a_crash_while_it_is_made_leaves_no_half_repository(tmp_path: Path) -> None:
    (tmp_path / "repo.git.new").mkdir()
    (tmp_path / "repo.git.new" / "HEAD").write_text("ref: ")
    assert Clone.open(tmp_path / "repo.git").ref(ACCEPTED + "main") is None


async def test_a_renewal_that_got_stuck_halfway_does_not_lose_what_it_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk, say: the damaged repository is out of the way, and no new one can be made."""
    folder = tmp_path / "repo.git"
    clone = Clone.open(folder)
    tree = clone.with_file(None, "a.yaml", b"")
    commit = clone.commit(tree, parent=None, message="m", when=datetime(2026, 1, 1, tzinfo=UTC))
    assert clone.move_ref(ACCEPTED + "main", to=commit, expected=None)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pygit2.init_repository", full)
        with pytest.raises(OSError, match="No space left"):
            await renew(folder, "main", aside)

    assert (await renew(folder, "main", aside)).ref(ACCEPTED + "main") == commit


def test_a_unit_that_holds_more_than_anybody_needs_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = Clone.open(tmp_path / "repo.git")
    tree = a_tree(clone, {"a.yaml": b"1" * 600, "b.yaml": b"2" * (1 << 20), "c.yaml": b"3"})
    monkeypatch.setattr(git, "BYTES_MAX", 1 << 20)
    listing = clone.files(tree, "team")

    assert listing.files == ()
    assert [str(problem) for problem in listing.problems] == [
        "team: error MW0010: the unit holds more than 200000 entries or 1 MiB of configuration"
    ]
