"""``--settings``: a mistake in the file is a line and a hint, and never passes unseen."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from mesh.errors import Misconfigured
from reconciler.cli import main, settings_file


def refused(path: Path, text: str | bytes) -> Misconfigured:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(Misconfigured) as error:
        settings_file.read(path, main)
    return error.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def test_every_command_gets_what_the_file_says(path: Path) -> None:
    path.write_text("repo: /srv/mesh.git\npoll: 10\nest-hosts: [a, b]\nstate: /srv/state\nca-directory:\n")
    values = settings_file.read(path, main)

    said = {"repo": "/srv/mesh.git", "poll": 10, "est_hosts": ["a", "b"], "state": "/srv/state"}
    assert values["serve"] == values["status"] == values["ca"]["token"] == said


def test_one_value_is_enough_where_several_can_be_given(path: Path) -> None:
    path.write_text("est-hosts: mesh.example.com\n")

    assert settings_file.read(path, main)["serve"] == {"est_hosts": ["mesh.example.com"]}


def test_an_empty_file_says_nothing(path: Path) -> None:
    path.write_text("# nothing yet\n")

    assert settings_file.read(path, main)["serve"] == {}


def test_a_name_that_no_option_has_is_answered_with_the_nearest(path: Path) -> None:
    error = refused(path, "est-host: [a]\n")

    assert str(error) == f"{path}: there is no setting 'est-host'"
    assert error.hint == "did you mean 'est-hosts'?"


def test_a_name_like_no_other_is_answered_with_all(path: Path) -> None:
    assert refused(path, "zzz: 1\n").hint.startswith("one of state, ca-directory, ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("repo: [a, b]\n", "{path}: 'repo' is a list, not one value"),
        ("repo: {a: b}\n", "{path}: 'repo' is a mapping, not one value"),
        ("est-hosts: {a: b}\n", "{path}: 'est-hosts' is a mapping, not a list of values"),
        ("- repo\n", "{path} is not a mapping of settings"),
        ("a: b\nrepo: a: b\n", "{path}:2: not readable as YAML: mapping values are not allowed here"),
    ],
)
def test_what_cannot_be_a_setting_is_said(path: Path, text: str, message: str) -> None:
    assert str(refused(path, text)) == message.format(path=path)


def test_what_is_not_text_is_said(path: Path) -> None:
    error = refused(path, b"\xff\xfe")

    assert str(error).startswith(f"{path} cannot be read: 'utf-8' codec can't decode byte 0xff")
    assert error.hint == "it is a text file, in UTF-8"


def test_the_command_ends_with_two_lines_and_exit_code_two(path: Path) -> None:
    path.write_text("repoo: x\n")
    done = CliRunner().invoke(main, ["--settings", str(path), "status"])

    assert done.stderr == f"error: {path}: there is no setting 'repoo'\nhint: did you mean 'repo'?\n"
    assert (done.stdout, done.exit_code) == ("", 2)
