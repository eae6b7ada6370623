"""What all commands have in common, and the few words that ``ca init`` says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ca.authority import open_authority
from reconciler.cli import main
from tests.support.clock import FakeClock


def commands(group: click.Group) -> Iterator[click.Command]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command)
        elif command is not None:
            yield command


@pytest.mark.parametrize("command", list(commands(main)), ids=lambda command: command.name)
def test_every_option_says_what_it_is_for(command: click.Command) -> None:
    options = [one for one in command.params if isinstance(one, click.Option)]

    assert [option.name for option in options if not option.help] == []


def test_the_kinds_of_resources_are_named_in_the_help() -> None:
    told = CliRunner().invoke(main, ["proxy", "--help"]).stdout

    assert "[OPTIONS] NAME KIND\n" in told
    assert "KIND is one of clusters, endpoints, listeners, routes.\n" in told


def init(*words: str | Path) -> list[str]:
    done = CliRunner().invoke(main, ["ca", "init", *(str(word) for word in words)])
    assert done.exit_code == 0, done.stderr
    return [" ".join(line.split()[:2]) for line in done.stdout.splitlines()]


def test_a_new_authority_says_until_when_each_of_its_certificates_is_good(tmp_path: Path) -> None:
    state = tmp_path / "not" / "there"

    assert init("--state", state) == ["trust domain", "root sha256", "intermediate until", "root until"]
    assert (state / "trust-domain").read_text() == "cluster.local\n"


def test_a_ca_to_plug_in_is_checked_and_the_state_is_left_alone(tmp_path: Path) -> None:
    open_authority(tmp_path / "ca", FakeClock().now(), trust_domain="cluster.local")
    words = init("--state", tmp_path / "state", "--ca-directory", tmp_path / "ca" / "root")

    assert words == ["trust domain", "root sha256", "root until"]
    assert not (tmp_path / "state").exists()
