"""Keys and chains on disk: atomic writes, tight modes.

A file appears whole or not at all: it is written beside its place, flushed to the disk and
renamed. A key that others can read is refused rather than repaired, because whoever could read
it may have done so. The file names are those of Istio's plug-in directory (Istio, "Plug in CA
Certificates"), for our own keys as well, so that one reader serves both.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mesh.errors import Misconfigured, Unavailable

CERTIFICATE = "ca-cert.pem"
KEY = "ca-key.pem"
CHAIN = "cert-chain.pem"
ROOTS = "root-cert.pem"

_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700


def read(path: Path) -> bytes:
    """A file that must be there. :raises Misconfigured: when it is not, or is not ours to read."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise Misconfigured(
            f"no {path.name} in {path.parent}",
            hint=f"the directory of a CA holds {CERTIFICATE}, {KEY}, {CHAIN} and {ROOTS}",
        ) from None
    except PermissionError:
        raise Misconfigured(
            f"{path} cannot be read by this user", hint="run as the user that owns the file"
        ) from None
    except OSError as error:
        raise Unavailable(f"could not read {path}: {error.strerror}") from error


def read_key(path: Path) -> bytes:
    """A private key, refused when anyone but its owner may touch it."""
    content = read(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise Misconfigured(
            f"the key {path} is open to others (mode {mode:04o})",
            hint=f"run: chmod 600 {path}, and replace the key if others use this host",
        )
    return content


def make_directory(path: Path) -> None:
    """The directory and its missing parents, for the owner alone."""
    with _disk(path):
        for parent in reversed((path, *path.parents)):
            if not parent.exists():
                parent.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)


def create_file(path: Path, content: bytes) -> None:
    """The file with this content, unless it exists; of many who try, exactly one succeeds.

    A hard link is the one way to make a *filled* file appear only if its name is free, and it
    holds between processes and across a crash. :raises FileExistsError: for all the others.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with _disk(path):
        try:
            _write_new(temporary, content)
            os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _flush_directory(path.parent)


def replace_directory(path: Path, files: Mapping[str, bytes]) -> None:
    """The directory with exactly these files, instead of the one that may be there.

    Between the two renames of a replacement there is no directory, never half of one. Callers
    must be able to live with that after a crash: an intermediate is simply made again.
    """
    _publish(path, files, instead=True)


def create_directory(path: Path, files: Mapping[str, bytes]) -> None:
    """The directory with exactly these files. :raises FileExistsError: when there is one already."""
    _publish(path, files, instead=False)


def _publish(path: Path, files: Mapping[str, bytes], *, instead: bool) -> None:
    make_directory(path.parent)
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    old = path.with_name(f"{new.name}.old")
    with _disk(path):
        try:
            new.mkdir(mode=_DIRECTORY_MODE)
            for name, content in files.items():
                _write_new(new / name, content)
            _flush_directory(new)
            if path.exists():
                if not instead:
                    raise FileExistsError(path)
                path.rename(old)
            new.rename(path)
            _flush_directory(path.parent)
        finally:
            for leftover in (new, old):
                shutil.rmtree(leftover, ignore_errors=True)


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_directory(path: Path) -> None:
    """A rename is only safe from a power cut once the directory itself is on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """What the disk refuses is said once, in our words; that a name is taken is an answer."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise FileExistsError(path) from None
        raise Unavailable(
            f"could not write {path}: {error.strerror}", hint="check the space and the owner of the directory"
        ) from error
