from __future__ import annotations

from pathlib import Path

import pytest

from mesh.errors import Misconfigured
from mesh.world import Credential
from reconciler.settings import Settings, at, read_credentials


def a_pair(folder: Path, name: str, *, mode: int = 0o600) -> Path:
    """``<namespace>/<name>`` with a certificate and a key."""
    secret = folder / name
    secret.mkdir(parents=True)
    (secret / "tls.crt").write_bytes(b"chain")
    (secret / "tls.key").write_bytes(b"key")
    (secret / "tls.key").chmod(mode)
    return secret


def test_a_repositorys_url_is_not_shown() -> None:
    settings = Settings(repo="https://user:hunter2@git/mesh", state=Path("/state"))

    assert "hunter2" not in repr(settings)
    assert settings.admin_socket == Path("/state/admin.sock")


def test_credentials_are_found_by_namespace_and_name(tmp_path: Path) -> None:
    a_pair(tmp_path, "web/site")
    a_pair(tmp_path, "web/other.example")
    a_pair(tmp_path, "shop/site")
    (tmp_path / "notes.txt").write_text("not a secret")

    assert read_credentials(tmp_path) == {
        "shop": {"site": Credential(b"chain", b"key")},
        "web": {
            "other.example": Credential(b"chain", b"key"),
            "site": Credential(b"chain", b"key"),
        },
    }


def test_names_that_no_object_could_say_are_passed_over(tmp_path: Path) -> None:
    """An editor's or a mount's own folders, say."""
    a_pair(tmp_path, "web/..data")
    a_pair(tmp_path, "web/Site")

    assert read_credentials(tmp_path) == {}


def test_without_a_directory_there_are_no_credentials() -> None:
    assert read_credentials(None) == {}


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as error:
        read_credentials(tmp_path / "gone")

    assert str(error.value) == f"the secrets directory {tmp_path}/gone does not exist"
    assert error.value.hint == "create it, or leave the setting out"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    secret = a_pair(tmp_path, "web/site", mode=mode)
    with pytest.raises(Misconfigured) as error:
        read_credentials(tmp_path)

    assert str(error.value) == f"{secret}/tls.key is readable by others than its owner"
    assert error.value.hint == f"chmod 600 {secret}/tls.key"


@pytest.mark.parametrize("missing", ["tls.crt", "tls.key"])
def test_half_a_pair_is_said(tmp_path: Path, missing: str) -> None:
    secret = a_pair(tmp_path, "web/site")
    (secret / missing).unlink()
    with pytest.raises(Misconfigured) as error:
        read_credentials(tmp_path)

    expected = (
        f"the secret web/site cannot be read: [Errno 2] No such file or directory: '{secret}/{missing}'"
    )
    assert str(error.value) == expected
    assert error.value.hint == "it needs tls.crt and tls.key"


def test_secrets_that_may_not_be_read_are_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_pair(tmp_path, "web/site")
    listed = Path.iterdir

    def denied(path: Path) -> object:
        if path.name == "web":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(Misconfigured) as error:
        read_credentials(tmp_path)

    assert str(error.value) == f"the secrets in {tmp_path}/web cannot be read: Permission denied"
    assert error.value.hint == "they must be readable for the user that the control plane runs as"


@pytest.mark.parametrize(
    ("address", "text"),
    [("10.0.0.1", "10.0.0.1:15012"), ("localhost", "localhost:15012"), ("::", "[::]:15012")],
)
def test_an_ipv6_address_stands_in_brackets_before_a_port(address: str, text: str) -> None:
    assert at(address, 15012) == text
