"""Options of every command from one YAML file. The environment and flags come before it.

What has an environment variable can be said in the file, under the option's name: ``repo``, ``est-hosts``.
A name that no option has is refused, because a setting that nobody reads is a mistake that nobody sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
import yaml

from mesh.errors import Misconfigured

Values = Mapping[str, Any]


def read(path: Path, group: click.Group) -> dict[str, Any]:
    """What the file says, as defaults for each command of the group (click's ``default_map``).

    :raises Misconfigured: when it is not a mapping of settings, or no option has a name in it.
    """
    commands = dict(_commands(group))
    known = {option.name: option for command in commands.values() for option in _settable(command)}
    values = {}
    for key, value in _said(path).items():
        option = known.get(str(key).replace("-", "_"))
        if option is None:
            near = get_close_matches(str(key), [_spelled(name) for name in known], n=1)
            names = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(map(_spelled, known))}"
            raise Misconfigured(f"{path}: there is no setting {str(key)!r}", hint=names)
        if value is not None:
            values[option.name] = _checked(path, str(key), option, value)
    return _for_each(group, values)


def _said(path: Path) -> Mapping[object, Any]:
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}", hint="it is a text file, in UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or "it is no text"
        raise Misconfigured(
            f"{place}: not readable as YAML: {problem}", hint="write one `name: value` per line"
        ) from error
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise Misconfigured(
            f"{path} is not a mapping of settings", hint="write one `name: value` per line: `repo: …`"
        )
    return said


def _commands(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command)
        elif command is not None:
            yield name, command


def _settable(command: click.Command) -> Iterator[click.Option]:
    for option in command.params:
        if isinstance(option, click.Option) and option.envvar:
            yield option


def _checked(path: Path, key: str, option: click.Option, value: object) -> object:
    """One value, or a list where the option may be given several times; one alone is a list of one."""
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, (dict, list)) for one in values) or (values is value and not option.multiple):
        found = "a mapping" if isinstance(value, dict) else "a list"
        wanted = "a list of values" if option.multiple else "one value"
        raise Misconfigured(f"{path}: {key!r} is {found}, not {wanted}", hint=f"write `{key}: …`")
    return values if option.multiple else value


def _for_each(group: click.Group, values: Values) -> dict[str, Any]:
    context = click.Context(group)
    return {
        name: _for_each(command, values) if isinstance(command, click.Group) else values
        for name in group.list_commands(context)
        if (command := group.get_command(context, name)) is not None
    }


def _spelled(name: str) -> str:
    return name.replace("_", "-")
