"""A page per kind: an example that is sound, and every field with what becomes of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

from mesh.documents import parse_file
from mesh.kinds import KINDS, KindRow
from mesh.kinds.objects import read_object
from tests.support.documents import problems_of
from tests.support.kind_tables import SUPPORTED_VALUES, all_choices, field_table, page_of
from tests.support.marked import marked, put

PAGES = Path(__file__).resolve().parents[1] / "docs" / "kinds"
ROWS = [pytest.param(row, id=row.kind) for row in KINDS.values()]
# Just enough around a field for its value to be looked at.
AROUND = {
    ("AuthorizationPolicy", "action"): "action: {value}\nrules: [{{}}]",
    ("Gateway", "servers.tls.mode"): (
        "servers: [{{hosts: [a.example.com], port: {{number: 443, name: a, protocol: HTTPS}},"
        " tls: {{mode: {value}, credentialName: a}}}}]"
    ),
    ("Mesh", "meshConfig.outboundTrafficPolicy.mode"): (
        "meshConfig: {{outboundTrafficPolicy: {{mode: {value}}}}}"
    ),
    ("ServiceEntry", "resolution"): (
        "hosts: [a.example.com]\nports: [{{number: 80, name: http, protocol: HTTP}}]\nresolution: {value}"
    ),
}


def example(row: KindRow) -> str:
    (found,) = re.findall(r"```yaml\n(.*?)```", (PAGES / page_of(row)).read_text(), re.DOTALL)
    return str(found)


def test_every_kind_has_a_page_and_every_page_a_kind() -> None:
    assert sorted(path.name for path in PAGES.iterdir()) == sorted(page_of(row) for row in KINDS.values())


@pytest.mark.parametrize("row", ROWS)
def test_a_page_begins_with_its_kind_and_an_example(row: KindRow) -> None:
    text = (PAGES / page_of(row)).read_text()

    assert text.startswith(f"# {row.kind}\n")
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == ["To know", "Fields"]
    assert text.index("```yaml") < text.index("## To know")


@pytest.mark.parametrize("row", ROWS)
def test_an_example_is_of_its_kind_and_sound(row: KindRow) -> None:
    (document,), problems = parse_file("example.yaml", example(row).encode())
    _, found = read_object(document)

    assert yaml.safe_load(example(row))["kind"] == row.kind
    assert (problems, found) == ((), ())


@pytest.mark.parametrize("row", ROWS)
def test_a_page_lists_every_field_with_what_becomes_of_it(row: KindRow) -> None:
    path = PAGES / page_of(row)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(put(path.read_text(), "fields", field_table(row)))

    assert marked(path.read_text(), "fields") == field_table(row)


@pytest.mark.parametrize("field", [pytest.param(field, id=field[0]) for field in SUPPORTED_VALUES])
def test_a_value_that_a_page_calls_refused_is_refused_and_no_other(field: tuple[str, str]) -> None:
    kind, path = field
    row = next(row for row in KINDS.values() if row.kind == kind)
    refused = {
        value
        for value in all_choices(row, path)
        if any("MW0004" in problem for problem in problems_of(kind, AROUND[field].format(value=value)))
    }

    assert refused == set(all_choices(row, path)) - set(SUPPORTED_VALUES[field])
