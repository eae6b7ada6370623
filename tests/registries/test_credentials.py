"""Credentials by name: what of a folder is taken, and that nobody else decides where it goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.errors import Misconfigured
from registries.credentials import Credentials, read


def write(directory: Path, name: str = "vault", *, mode: int = 0o600, **files: str) -> Path:
    """A folder of credentials. Files are named with ``_`` for the dot."""
    folder = directory / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        path = folder / file.replace("_", ".")
        path.touch()
        path.chmod(mode)
        path.write_text(text)
    return folder


def refused(directory: Path | None, name: str = "vault") -> tuple[str, str]:
    with pytest.raises(Misconfigured) as caught:
        read(directory, name)
    return str(caught.value), caught.value.hint


def test_a_folder_holds_what_its_files_say(tmp_path: Path) -> None:
    folder = write(
        tmp_path, address="https://consul:8501\n", token="t\n", ca_crt="c", tls_crt="d", tls_key="k"
    )
    found = read(tmp_path, "vault")

    assert (found.name, found.address, found.token) == ("vault", "https://consul:8501", "t")
    assert (found.ca, found.certificate, found.key) == (
        folder / "ca.crt",
        folder / "tls.crt",
        folder / "tls.key",
    )
    assert found.kubeconfig is None


def test_what_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    write(tmp_path, token="old")
    assert read(tmp_path, "vault").token == "old"
    write(tmp_path, token="new")
    assert read(tmp_path, "vault").token == "new"


def test_a_secret_is_not_in_the_words_of_its_credentials(tmp_path: Path) -> None:
    write(tmp_path, token="a-secret")

    assert "a-secret" not in repr(read(tmp_path, "vault"))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../vault", "a/b", "/etc", "Vault", "a.b", "-a", "a" * 64, "a\n"]
)
def test_a_name_is_never_a_path(tmp_path: Path, name: str) -> None:
    assert refused(tmp_path, name) == (
        f"not the name of credentials: {name!r}",
        "use lower-case letters, digits and hyphens, at most 63",
    )


def test_without_a_directory_there_are_no_credentials() -> None:
    assert refused(None) == (
        "the credentials 'vault' are asked for and no directory of credentials is set",
        "name one in the operator's settings",
    )


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    assert refused(tmp_path) == (
        "there are no credentials 'vault'",
        f"the operator keeps them in {tmp_path / 'vault'}",
    )


@pytest.mark.parametrize("file", ["token", "tls.key", "kubeconfig"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_that_others_can_read_is_not_used(tmp_path: Path, file: str, mode: int) -> None:
    folder = write(tmp_path, mode=mode, **{file.replace(".", "_"): "x"})

    assert refused(tmp_path) == (
        f"{file} of the credentials 'vault' is open to others than its owner",
        f"chmod 600 {folder / file}",
    )


def test_a_certificate_may_be_read_by_all(tmp_path: Path) -> None:
    write(tmp_path, mode=0o644, ca_crt="c", tls_crt="d", address="http://consul:8500")

    assert read(tmp_path, "vault").ca == tmp_path / "vault" / "ca.crt"


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    """A folder that somebody else may write must not lend out the CA's key."""
    secret = tmp_path / "root.key"
    secret.touch(mode=0o600)
    folder = write(tmp_path / "registries", address="http://consul:8500")
    (folder / "token").symlink_to(secret)

    assert refused(tmp_path / "registries") == (
        "token of the credentials 'vault' is a link out of their folder",
        "put the file itself there",
    )


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    """Kubernetes mounts a Secret so, and swaps all of it at once."""
    folder = write(tmp_path, address="http://consul:8500")
    inner = write(folder, "..2026", token="t")
    (folder / "..data").symlink_to(inner.name)
    (folder / "token").symlink_to("..data/token")

    assert read(tmp_path, "vault").token == "t"


@pytest.mark.parametrize("text", ["", "  \n", "a\nb", "a\x00b"])
def test_a_token_is_one_line(tmp_path: Path, text: str) -> None:
    write(tmp_path, token=text)

    assert refused(tmp_path) == (
        "token of the credentials 'vault' is not one line of text",
        "write it anew, without anything around it",
    )


MEANT = "https://consul.example:8501"
ELSEWHERE = (
    "the credentials 'vault' are for another address than the Mesh document's {!r}",
    "leave the address out of the document, or have the operator change the credentials'",
)


@pytest.mark.parametrize(
    "asked",
    [
        "https://evil.example:8501",
        "http://consul.example:8501",
        "https://consul.example",
        "https://consul.example:1",
    ],
)
def test_a_document_cannot_send_a_secret_elsewhere(asked: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        Credentials(name="vault", address=MEANT, token="t").meant_for(asked)

    assert (str(caught.value), caught.value.hint) == (ELSEWHERE[0].format(asked), ELSEWHERE[1])


@pytest.mark.parametrize("asked", ["", MEANT, "https://CONSUL.example:8501/"])
def test_the_same_server_may_be_named_by_both(asked: str) -> None:
    assert Credentials(name="vault", address=MEANT, token="t").meant_for(asked) == MEANT


@pytest.mark.parametrize("secret", [{"token": "t"}, {"key": Path("tls.key")}])
def test_a_secret_without_an_address_goes_nowhere(secret: dict[str, str | Path]) -> None:
    """The document's address alone would be the repository's word for where the operator's secret goes."""
    with pytest.raises(Misconfigured) as caught:
        Credentials(name="vault", **secret).meant_for("https://consul.example:8501")  # type: ignore[arg-type]

    assert (str(caught.value), caught.value.hint) == (
        "the credentials 'vault' hold a secret and do not say for which server",
        "put the URL of the server into the file 'address' beside it",
    )


def test_an_authority_alone_goes_with_any_address() -> None:
    assert Credentials(name="vault", ca=Path("ca.crt")).meant_for(MEANT) == MEANT


def test_somebody_has_to_say_an_address() -> None:
    with pytest.raises(Misconfigured) as caught:
        Credentials().meant_for("")

    assert (str(caught.value), caught.value.hint) == (
        "no address to connect to",
        "say address in the Mesh document, or put it into the file 'address' of the credentials",
    )
