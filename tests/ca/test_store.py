"""Keys and chains on disk."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ca import store
from mesh.errors import Misconfigured, Unavailable


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_is_its_owners_alone(tmp_path: Path) -> None:
    store.create_directory(tmp_path / "ca" / "root", {store.KEY: b"key"})

    assert mode(tmp_path / "ca") == mode(tmp_path / "ca" / "root") == 0o700
    assert mode(tmp_path / "ca" / "root" / store.KEY) == 0o600


@pytest.mark.parametrize("loose", [0o640, 0o604, 0o660, 0o777])
def test_a_key_that_others_can_touch_is_refused(tmp_path: Path, loose: int) -> None:
    path = tmp_path / store.KEY
    path.write_bytes(b"key")
    path.chmod(loose)

    with pytest.raises(Misconfigured) as refusal:
        store.read_key(path)

    assert str(refusal.value) == f"the key {path} is open to others (mode {loose:04o})"
    assert refusal.value.hint == f"run: chmod 600 {path}, and replace the key if others use this host"


def test_a_missing_file_is_named_with_its_directory(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as refusal:
        store.read(tmp_path / store.CHAIN)

    assert str(refusal.value) == f"no cert-chain.pem in {tmp_path}"
    assert refusal.value.hint == (
        "the directory of a CA holds ca-cert.pem, ca-key.pem, cert-chain.pem and root-cert.pem"
    )


def test_of_many_who_create_a_file_one_succeeds(tmp_path: Path) -> None:
    """And nobody ever sees it half written."""

    def create(content: bytes) -> bool:
        try:
            store.create_file(tmp_path / "mark", content)
        except FileExistsError:
            return False
        return True

    contents = [bytes([65 + n]) * 1000 for n in range(20)]
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(create, contents))

    assert won.count(True) == 1
    assert (tmp_path / "mark").read_bytes() == contents[won.index(True)]
    assert [path.name for path in tmp_path.iterdir()] == ["mark"]


def test_a_directory_that_is_there_is_not_created_again(tmp_path: Path) -> None:
    store.create_directory(tmp_path / "root", {"a": b"1"})

    with pytest.raises(FileExistsError):
        store.create_directory(tmp_path / "root", {"a": b"2"})

    assert (tmp_path / "root" / "a").read_bytes() == b"1"
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_a_replaced_directory_holds_the_new_files_alone(tmp_path: Path) -> None:
    store.replace_directory(tmp_path / "below", {"a": b"1", "b": b"1"})
    store.replace_directory(tmp_path / "below", {"a": b"2"})

    assert {path.name: path.read_bytes() for path in (tmp_path / "below").iterdir()} == {"a": b"2"}
    assert [path.name for path in tmp_path.iterdir()] == ["below"]


def test_a_full_disk_leaves_the_old_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.replace_directory(tmp_path / "below", {"a": b"1"})

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable) as failure:
        store.replace_directory(tmp_path / "below", {"a": b"2"})

    assert str(failure.value) == f"could not write {tmp_path / 'below'}: No space left on device"
    assert (tmp_path / "below" / "a").read_bytes() == b"1"
    assert [path.name for path in tmp_path.iterdir()] == ["below"]
