"""Fetches a commit and hands out its files.

The state folder holds one bare repository. The network is :mod:`reconciler.fetching`'s; here the
object database is read through pygit2, without a checkout: what a commit contains never reaches
the file system under a name that the commit chose. Symbolic links and submodules are reported and
not followed, sizes are bounded, Git LFS pointers are recognised.

A :class:`Clone` belongs to the task of the cycle. Its calls block; that task makes them one at a
time from its reading thread. What was read is remembered by object id: an unchanged folder is not
walked again, and an unchanged file is not read again.

A damaged repository (a full disk, a lost write) raises :class:`Damaged`; :func:`renew` puts a new
one in its place and carries over what was accepted, if that is still whole.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import ParamSpec, Protocol, Self, TypeVar

import pygit2
from pygit2.enums import FileMode, Option

from mesh.errors import Misconfigured, Unavailable
from mesh.problems import Problem, Where
from reconciler.fetching import Git, Remote

log = logging.getLogger(__name__)

ACCEPTED = "refs/meshwright/accepted/"
SEEN = "refs/meshwright/seen/"

SUFFIXES = (".yaml", ".yml", ".json")
FILE_BYTES_MAX = 8 << 20
ENTRIES_MAX = 200_000  # of one unit: a few kilobytes of nested trees can name billions of files
BYTES_MAX = 32 << 20
DEPTH_MAX = 64
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


Found = TypeVar("Found", pygit2.Commit, pygit2.Tree, pygit2.Blob)
P = ParamSpec("P")
T = TypeVar("T")


class Damaged(Unavailable):
    """The local repository cannot be read. It is replaced, and the turn tried again."""


class Event(StrEnum):
    """What has happened to the branch since it was last looked at."""

    FIRST = "first"
    UNCHANGED = "unchanged"
    MOVED = "moved"
    REWRITTEN = "rewritten"  # the new tip does not descend from the old one: a force push


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The tip of the branch, here to be read."""

    commit: str
    event: Event
    previous: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file that may hold configuration."""

    path: str
    blob: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a tree holds: its files, and what had to be passed over."""

    files: tuple[File, ...] = ()
    problems: tuple[Problem, ...] = ()


class Clone:
    """The bare repository of one state folder."""

    def __init__(self, folder: Path, repository: pygit2.Repository) -> None:
        self.folder = folder
        self._repository = repository
        self._listings: dict[tuple[str, str], Listing] = {}
        self._listings_before: dict[tuple[str, str], Listing] = {}

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open it, or make it. What a killed process left is swept away: nobody else works here."""
        pygit2.option(Option.ENABLE_FSYNC_GITDIR, True)
        if not folder.exists():
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Made aside and renamed, so that a crash leaves no half repository.
            fresh = folder.with_name(f"{folder.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            pygit2.init_repository(str(fresh), bare=True)
            fresh.rename(folder)
        if folder.stat().st_uid != os.geteuid():
            raise Misconfigured(f"{folder} belongs to another user", hint="start as its owner")
        sweep(folder)
        with _reading():
            return cls(folder, pygit2.Repository(str(folder)))

    def ref(self, name: str) -> str | None:
        """The commit that a ref names, proven to be readable as far as its tree."""
        with _reading():
            reference = self._repository.references.get(name)
            if reference is None:
                return None
            commit = reference.peel(pygit2.Commit)
            self._repository[commit.tree_id]
            return str(commit.id)

    def move_ref(self, name: str, *, to: str, expected: str | None) -> bool:
        """Compare and swap. False when the ref is not, or no longer, where it was expected."""
        try:
            reference = self._repository.references.get(name)
            if (str(reference.target) if reference else None) != expected:
                return False
            if reference is None:
                self._repository.references.create(name, to)
            else:
                reference.set_target(to)  # libgit2 compares with what this object was read as
        except pygit2.GitError:
            if self.ref(name) == expected:
                raise
            return False
        except OSError as error:
            raise Unavailable(f"could not write {name}: {error}") from error
        return True

    def descends(self, commit: str, ancestor: str) -> bool:
        with _reading():
            return commit == ancestor or self._repository.descendant_of(commit, ancestor)

    def tree(self, commit: str) -> str:
        with _reading():
            return str(self._object(commit, pygit2.Commit).tree_id)

    def subject(self, commit: str) -> str:
        """The first line of its message, printable, whatever encoding it claims."""
        with _reading():
            said = self._object(commit, pygit2.Commit).raw_message.decode(errors="replace")
            return "".join(c for c in said.partition("\n")[0] if c.isprintable())[:100]

    def line(self, commit: str, since: str, most: int) -> tuple[tuple[str, str], ...]:
        """The commits after ``since`` with their messages, newest first, along first parents.

        ``commit`` alone when that line does not lead to ``since`` within ``most`` commits.
        """
        found: list[tuple[str, str]] = []
        with _reading():
            at = self._object(commit, pygit2.Commit)
            while str(at.id) != since and len(found) < most:
                found.append((str(at.id), at.raw_message.decode(errors="replace")))
                if not at.parent_ids:
                    return tuple(found[:1])
                at = self._object(at.parent_ids[0], pygit2.Commit)
            return tuple(found if str(at.id) == since else found[:1])

    def parent(self, commit: str) -> str | None:
        """The first parent, if there is one."""
        with _reading():
            parents = self._object(commit, pygit2.Commit).parent_ids
            return str(parents[0]) if parents else None

    def subtree(self, tree: str, path: str) -> str | None:
        """The tree that stands at ``path``, if there is one."""
        with _reading():
            node: pygit2.Object = self._repository[tree]
            for part in path.split("/"):
                if not isinstance(node, pygit2.Tree) or part not in node:
                    return None
                node = node[part]
            return str(node.id) if isinstance(node, pygit2.Tree) else None

    def data(self, tree: str, path: str) -> bytes | None:
        """The file that stands at ``path``, if there is one."""
        with _reading():
            root = self._object(tree, pygit2.Tree)
            if path not in root:
                return None
            found = root[path]
            return found.data if isinstance(found, pygit2.Blob) else None

    def with_subtrees(self, tree: str | None, changes: Mapping[str, str | None]) -> str | None:
        """``tree`` with other folders at some paths, or, for ``None``, without. No tree is empty.

        Outer folders are put in place before inner ones. A file in the way of a folder makes room.
        """
        below: dict[str, dict[str, str | None]] = {}
        for path, new in changes.items():
            head, _, rest = path.partition("/")
            below.setdefault(head, {})[rest] = new
        with _reading():
            builder = self._builder(tree)
            for head, inner in below.items():
                found = builder.get(head)
                folder = str(found.id) if isinstance(found, pygit2.Tree) else None
                outer = inner.pop("", folder)
                child = self.with_subtrees(outer, inner) if inner else outer
                if child:
                    builder.insert(head, child, FileMode.TREE)
                elif folder:
                    builder.remove(head)
            return str(builder.write()) if len(builder) else None

    def with_file(self, tree: str | None, name: str, data: bytes) -> str:
        """``tree`` with a file of that name directly in it."""
        with _reading():
            builder = self._builder(tree)
            builder.insert(name, self._repository.create_blob(data), FileMode.BLOB)
            return str(builder.write())

    def commit(self, tree: str, *, parent: str | None, message: str, when: datetime) -> str:
        """Write a commit that no ref names yet."""
        who = pygit2.Signature("meshwright", "meshwright@localhost", int(when.timestamp()), 0)
        with _reading():
            parents = [parent] if parent else []
            return str(self._repository.create_commit(None, who, who, message, tree, parents))

    def files(self, tree: str, folder: str = "") -> Listing:
        """The files of a tree that stands at ``folder``."""
        key = (folder, tree)
        if key not in self._listings:
            self._listings[key] = self._listings_before.get(key) or self._listed(tree, folder)
        return self._listings[key]

    def forget_unused(self) -> None:
        """Drop the listings that were not asked for since the last call."""
        self._listings_before, self._listings = self._listings, {}

    def _builder(self, tree: str | None) -> pygit2.TreeBuilder:
        return self._repository.TreeBuilder(tree) if tree else self._repository.TreeBuilder()

    def _object(self, name: str | pygit2.Oid, kind: type[Found]) -> Found:
        found = self._repository[name]
        if not isinstance(found, kind):
            raise Damaged(f"the local copy of the repository is damaged: {name} is no {kind.__name__}")
        return found

    def _listed(self, tree: str, folder: str) -> Listing:
        remembered = chain(self._listings.items(), self._listings_before.items())
        known = {
            (file.path, file.blob): file
            for (where, _), listing in remembered
            if where == folder
            for file in listing.files
        }
        files: list[File] = []
        problems: list[Problem] = []
        size = 0
        with _reading():
            for count, (path, entry) in enumerate(_walk(self._object(tree, pygit2.Tree), folder)):
                if count == ENTRIES_MAX or size > BYTES_MAX:
                    most = f"{ENTRIES_MAX} entries or {BYTES_MAX >> 20} MiB of configuration"
                    return Listing(
                        problems=(_problem("MW0010", folder or ".", f"the unit holds more than {most}"),)
                    )
                match entry:
                    case None:
                        continue
                    case str():
                        problems.append(_problem("MW0012", path, f"{entry} is not followed"))
                        continue
                match known.get((path, str(entry))) or self._read(path, entry):
                    case File() as file:
                        files.append(file)
                        size += len(file.data)
                    case problem:
                        problems.append(problem)
        return Listing(files=tuple(files), problems=tuple(problems))

    def _read(self, path: str, blob: pygit2.Oid) -> File | Problem:
        _, size = self._repository.odb.read_header(blob)  # before it is unpacked
        if size > FILE_BYTES_MAX:
            return _problem("MW0010", path, f"the file has {size} bytes, more than {FILE_BYTES_MAX}")
        data = self._object(blob, pygit2.Blob).data
        if data.startswith(LFS_POINTER):
            return _problem(
                "MW0010",
                path,
                "the file is a Git LFS pointer, not the file",
                hint="keep configuration out of Git LFS: `git lfs untrack`, then commit it again",
            )
        return File(path=path, blob=str(blob), data=data)


def _walk(tree: pygit2.Tree, folder: str, depth: int = 0) -> Iterator[tuple[str, pygit2.Oid | str | None]]:
    """Configuration files by object id; what is not followed, by what it is; the rest to be counted."""
    for entry in tree:
        name = (entry.raw_name or b"").decode(errors="backslashreplace")
        path = f"{folder}/{name}" if folder else name
        if not name.isprintable() or "/" in name or name in (".", ".."):
            yield ascii(path), "an entry of this name"
        elif name.startswith("."):
            yield path, None  # .github and its like are not the mesh's
        elif isinstance(entry, pygit2.Tree):
            if depth == DEPTH_MAX:
                yield path, f"a folder more than {DEPTH_MAX} deep"
            else:
                yield path, None
                yield from _walk(entry, path, depth + 1)
        elif entry.filemode == FileMode.LINK:
            yield path, "a symbolic link"
        elif entry.filemode == FileMode.COMMIT:
            yield path, "a submodule"
        else:
            yield path, entry.id if name.endswith(SUFFIXES) else None


def _problem(code: str, path: str, message: str, *, hint: str = "") -> Problem:
    return Problem(code=code, where=Where(file=path), message=message, hint=hint)


@contextmanager
def _reading() -> Iterator[None]:
    """libgit2 says KeyError for an object that should be there, GitError for one that is garbage."""
    try:
        yield
    except (pygit2.GitError, KeyError) as error:
        raise Damaged(f"the local copy of the repository is damaged: {error}") from error
    except OSError as error:
        raise Unavailable(f"could not use the local copy of the repository: {error}") from error


def sweep(folder: Path) -> None:
    """Remove the locks and half-written packs of processes that were killed."""
    for pattern in ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*", "objects/*/tmp_obj_*"):
        for stale in folder.glob(pattern):
            stale.unlink(missing_ok=True)
            log.info("stale file removed", extra={"path": str(stale)})


class Aside(Protocol):
    """Runs what blocks beside the loop: the reading thread of whoever owns the clone."""

    def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]: ...


async def fetch(clone: Clone, git: Git, aside: Aside) -> Fetched:
    """The tip of the branch and what became of it. Asks first: an unchanged branch costs one question.

    A branch that is not there is the operator's to settle (:class:`Misconfigured`); it is looked at
    again at every turn all the same, because the settling happens elsewhere.
    """
    branch, seen = git.remote.branch, SEEN + git.remote.branch
    previous = await aside(clone.ref, seen)
    tip = (await git.tips(f"refs/heads/{branch}")).get(f"refs/heads/{branch}")
    if tip is None:
        raise await _missing(git, previous)
    if tip == previous:
        return Fetched(commit=tip, event=Event.UNCHANGED, previous=previous)
    await aside(sweep, clone.folder)
    try:
        await git.fetch(f"+refs/heads/{branch}:{seen}", is_first=previous is None)
    except Unavailable:
        await aside(clone.ref, seen)  # raises Damaged when the reason lies here
        raise
    commit = await aside(clone.ref, seen)
    if commit is None:
        raise Unavailable(f"could not fetch {git.remote}: the branch vanished meanwhile")
    if previous is None:
        return Fetched(commit=commit, event=Event.FIRST)
    event = Event.MOVED if await aside(clone.descends, commit, previous) else Event.REWRITTEN
    return Fetched(commit=commit, event=event, previous=previous)


async def _missing(git: Git, previous: str | None) -> Misconfigured:
    remote = git.remote
    if previous:
        return Misconfigured(
            f"branch {remote.branch!r} was deleted from {remote.shown}",
            hint=f"push it again (it was at {previous[:7]}), or change --branch",
        )
    if await git.tips("refs/heads/*"):
        return Misconfigured(
            f"there is no branch {remote.branch!r} in {remote.shown}", hint="push it, or change --branch"
        )
    return Misconfigured(
        f"the repository {remote.shown} is empty", hint=f"push a first commit to branch {remote.branch!r}"
    )


async def renew(folder: Path, branch: str, aside: Aside) -> Clone:
    """A new repository in the place of a damaged one, with the accepted versions if they are whole.

    The damaged one stays beside it under the name ``….damaged`` until the next time.
    """
    kept, fresh = await aside(_set_aside, folder)
    try:
        await Git(folder=folder, remote=Remote(str(kept), branch)).fetch(f"+{ACCEPTED}*:{ACCEPTED}*")
    except Unavailable as error:
        log.warning("accepted versions lost", extra={"reason": str(error), "kept": str(kept)})
    log.warning("local repository renewed", extra={"kept": str(kept)})
    return fresh


def _set_aside(folder: Path) -> tuple[Path, Clone]:
    kept = folder.with_name(f"{folder.name}.damaged")
    if folder.exists():  # else an earlier attempt got no further, and the only copy stands aside already
        shutil.rmtree(kept, ignore_errors=True)
        folder.rename(kept)
    fresh = Clone.open(folder)
    for name in ("HEAD", "config"):  # so that git can enter it, should the damage be here
        shutil.copyfile(folder / name, kept / name)
    return kept, fresh
