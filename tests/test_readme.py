"""The README and its neighbours say what is so: their tables are checked against the code."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mesh.problems import CATALOGUE
from reconciler.cli import main
from reconciler.cli.serve import serve
from reconciler.demo.hybrid.performance import STEPS
from reconciler.demo.steps import bookinfo
from tests.support.kind_tables import not_yet, support_table
from tests.support.marked import marked, put

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
ROOMS = ("mesh", "registries", "ca", "xds", "reconciler")
PROSE = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
# Where names of metrics come from: a counter's suffix and a prefix are added elsewhere.
COUNTED = ("xds/metrics.py", "ca/counters.py", "reconciler/counters.py", "reconciler/loop.py")


def readme() -> str:
    return README.read_text()


def rows(name: str) -> list[tuple[str, ...]]:
    """The cells of a marked table, without its head and without the marks of code."""
    lines = marked(readme(), name)[2:]
    return [tuple(cell.strip().strip("`") for cell in line.strip("|").split("|")) for line in lines]


def shell_blocks(text: str) -> Iterator[str]:
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        if not language:
            yield block


def test_the_chapters_are_in_the_order_of_a_newcomer() -> None:
    chapters = re.findall(r"^## (.*)", readme(), re.MULTILINE)

    assert chapters == [
        "What it is not",
        "Five minutes",
        "How it flows",
        "The rooms",
        "What it understands",
        "Registries",
        "Operating",
        "Developing",
    ]


def test_the_first_paragraph_is_one_sentence() -> None:
    first = readme().split("\n\n")[1]

    assert first.count(".") == 1
    assert first.endswith(".")


def test_the_room_table_says_what_the_rooms_say() -> None:
    said = [(f"{room}/", first_sentence(import_module(room).__doc__ or "")) for room in ROOMS]

    assert rows("rooms") == said


@pytest.mark.parametrize(
    ("part", "lines"), [("kinds", support_table()), ("refused kinds", not_yet())], ids=["kinds", "not yet"]
)
def test_the_kinds_are_those_of_the_code(part: str, lines: list[str]) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        README.write_text(put(readme(), part, lines))

    assert marked(readme(), part) == lines


def test_the_codes_are_those_of_the_catalogue() -> None:
    path = ROOT / "docs" / "mesh.md"
    lines = ["| code | severity | meaning |", "|---|---|---|"]
    lines += [f"| `{code.id}` | {code.severity} | {code.meaning} |" for code in CATALOGUE.values()]
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(put(path.read_text(), "codes", lines))

    assert marked(path.read_text(), "codes") == lines


def test_the_command_table_says_what_help_says() -> None:
    assert dict(rows("commands")) == dict(commands(main))


def commands(group: click.Group, above: str = "") -> Iterator[tuple[str, str]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield above + name, first_sentence(command.help or "")
            yield from commands(command, f"{above}{name} ")
        else:
            yield above + name, first_sentence(command.help or "")


def first_sentence(text: str) -> str:
    return re.split(r"(?<=\.) ", " ".join(text.split()), maxsplit=1)[0]


def test_the_options_of_serve_are_those_of_the_code() -> None:
    told = [row[:3] for row in rows("serve")]

    assert told == [option(parameter) for parameter in serve.params]


def option(parameter: click.Parameter) -> tuple[str, str, str]:
    assert isinstance(parameter, click.Option)
    has_default = parameter.show_default and parameter.default is not None
    default = str(parameter.default) if has_default else "required" if parameter.required else ""
    return parameter.opts[0], str(parameter.envvar), default


def test_every_option_of_serve_can_be_said_in_the_settings_file() -> None:
    """The file's names are the flags', except that one may be given several times and is a list."""
    names = {row[0].removeprefix("--").replace("-", "_") for row in rows("serve")}

    assert {parameter.name for parameter in serve.params} == names - {"est_host"} | {"est_hosts"}


def test_the_demo_shows_the_steps_that_the_demo_has() -> None:
    example = {path.name: path.read_text() for path in (ROOT / "examples" / "bookinfo").glob("*.yaml")}
    shown = [line[9:28].strip() for line in marked(readme(), "demo") if re.match(r"[0-9a-f]{7}  |-  ", line)]

    assert shown == [*(step.name for step in bookinfo(example)), "renewal"]


def test_the_hybrid_demo_shows_steps_that_it_has() -> None:
    shown = [
        line[9:28].strip() for line in marked(readme(), "demo-hybrid") if re.match(r"[0-9a-f]{7}  |-  ", line)
    ]

    assert shown == [step.name for step in STEPS if step.name in shown]
    assert len(shown) == 4


def test_the_bootstrap_of_the_readme_can_be_made() -> None:
    (block,) = [block for block in shell_blocks(readme()) if block.startswith("meshwright bootstrap")]
    words = shlex.split(block.replace("\\\n", " ").partition(">")[0])
    done = CliRunner().invoke(main, words[1:])

    node = json.loads(done.stdout)["node"]
    assert node["id"] == "sidecar~127.0.90.1~hello-1.shop~shop.svc.cluster.local"
    assert node["metadata"] == {"INTERCEPTION_MODE": "NONE", "HTTP_PROXY_PORT": "15080"}


def test_every_metric_of_the_readme_is_counted() -> None:
    counted = "".join((ROOT / name).read_text() for name in COUNTED)
    named = set(re.findall(r"`((?:pilot|citadel|meshwright)_[a-z_]+)`", readme()))
    stems = {re.sub(r"^citadel_server_|_total$", "", name) for name in named}

    # One per type of resource: made in a loop.
    assert {stem for stem in stems if stem not in counted} == {"pilot_xds_cds_reject"}


def test_every_target_of_make_that_the_readme_names_exists() -> None:
    known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert set(re.findall(r"\bmake (?:-s )?([a-z-]+)\b(?!,)", "\n".join(code(readme())))) <= set(known)


def code(text: str) -> Iterator[str]:
    yield from shell_blocks(text)
    yield from re.findall(r"`([^`\n]+)`", text)


@pytest.mark.parametrize("path", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()) if "://" not in link]

    assert [link for link in links if not leads_somewhere(path, link)] == []


def leads_somewhere(path: Path, link: str) -> bool:
    name, _, heading = link.partition("#")
    target = (path.parent / name).resolve() if name else path
    if not target.exists() or not heading:
        return target.exists()
    headings = re.findall(r"^#+ (.*)", target.read_text(), re.MULTILINE)
    return heading in {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}


@pytest.mark.parametrize("path", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_has_one_sentence_a_line(path: Path) -> None:
    """Semantic newlines: a change of one sentence is a change of one line."""
    text = re.sub(r"^```.*?^```|^\|.*?$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    crowded = [line for line in text.splitlines() if re.search(r"[a-z`)][.?!] [A-Z]", line)]

    assert crowded == []
