"""Golden files: what came out once, was looked at by a person, and must come out again.

``UPDATE_GOLDEN=1`` writes the files instead of comparing them. A file that nothing comes out for any more
is a difference too, so that a folder never holds more than what is checked.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

VARIABLE = "UPDATE_GOLDEN"


def differences(folder: Path, made: Mapping[str, str]) -> str:
    """How the files of ``folder`` differ from what was made, by name; empty when they do not."""
    if os.environ.get(VARIABLE):
        _write(folder, made)
    kept = {path.name: path.read_text() for path in sorted(folder.glob("*")) if path.is_file()}
    found = [
        f"{name}: nothing comes out for this file: remove it, or run with {VARIABLE}=1\n"
        for name in sorted(kept.keys() - made.keys())
    ]
    for name, text in made.items():
        if not text and name not in kept:
            found.append(f"{name}: was never written\n")
        lines = difflib.unified_diff(
            kept.get(name, "").splitlines(keepends=True), text.splitlines(keepends=True), name, "made now"
        )
        found.append("".join(lines))
    return "".join(found)


def _write(folder: Path, made: Mapping[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (folder / name).write_text(text)


_FIRST = {"name": 0, "@type": 1, "filter_chain_match": 2, "match": 2}
"""What tells a thing from its neighbours."""


def as_yaml(value: Any) -> str:
    """YAML for people: lists indented, long texts as blocks, keys by name but for the telling ones.

    The order of keys cannot be the message's own, because maps have none.
    """
    return yaml.dump(_in_order(value), Dumper=_Readable, sort_keys=False, width=110, allow_unicode=True)


def _in_order(value: Any) -> Any:
    match value:
        case Mapping():
            keys = sorted(value, key=lambda key: (_FIRST.get(key, len(_FIRST)), key))
            return {key: _in_order(value[key]) for key in keys}
        case list():
            return [_in_order(inner) for inner in value]
        case _:
            return value


class _Readable(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _text)
