"""Files become a config, problems and places; what did not change stays the same object."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Misconfigured
from mesh.names import ObjectKey
from mesh.problems import Problem, Where
from reconciler import render
from reconciler.reading import Reader, Reading, TextFile, check_path, is_ours
from tests.support.documents import written

SERVICE = written(
    "ServiceEntry", "hosts: [a.com]\nresolution: DNS\nports: [{number: 80, name: http, protocol: HTTP}]"
)
ROUTE = written("VirtualService", "hosts: [a.com]\nhttp: [{route: [{destination: {host: a.com}}]}]")
MESH = "apiVersion: meshwright.dev/v1alpha1\nkind: Mesh\nmetadata: {name: mesh}\nspec: {}\n"


def read(files: dict[str, str], reader: Reader | None = None, tenancy: tuple[str, ...] = ()) -> Reading:
    listed = [TextFile(path, text.encode()) for path, text in files.items()]
    return (reader or Reader())(listed, tenancy=tenancy)


def said(reading: Reading) -> list[str]:
    return [str(problem) for problem in reading.problems]


def test_files_become_a_config_with_the_place_of_every_object() -> None:
    reading = read({"mesh.yaml": MESH, "a.yaml": f"{SERVICE}---\n{ROUTE}"})

    assert said(reading) == []
    assert [str(found.key) for found in reading.config] == [
        "Mesh//mesh",
        "ServiceEntry/bookinfo/a",
        "VirtualService/bookinfo/a",
    ]
    assert str(reading.where(ObjectKey("VirtualService", "bookinfo", "a"))) == "a.yaml:9"
    assert reading.where(ObjectKey("VirtualService", "bookinfo", "b")) is None


def test_without_a_mesh_document_it_is_said_that_defaults_hold() -> None:
    assert said(read({"a.yaml": SERVICE})) == [
        "mesh.yaml: info MW0008: no Mesh document: the defaults are used"
    ]


def test_a_mesh_document_that_cannot_be_read_is_not_said_to_be_absent() -> None:
    wrong = MESH.replace("spec: {}", "spec: {guards: {shar: 40}}")

    assert [problem.code for problem in read({"mesh.yaml": wrong}).problems] == ["IST0106"]


def test_an_object_that_is_defined_twice_is_an_error_that_names_both_places() -> None:
    reading = read({"mesh.yaml": MESH, "a.yaml": SERVICE, "b/c.yaml": f"\n{SERVICE}"})
    assert said(reading) == [
        "b/c.yaml:4: error MW0003 metadata.name: ServiceEntry bookinfo/a is defined twice, first at a.yaml:1"
    ]
    assert len(reading.config) == 2


def test_documents_of_others_are_counted_once_per_kind() -> None:
    pods = (
        "apiVersion: apps/v1\nkind: Deployment\n---\napiVersion: apps/v1\nkind: Deployment\n---\nhosts: [a]\n"
    )
    reading = read({"mesh.yaml": MESH, "a.yaml": pods})
    assert said(reading) == [
        "a.yaml:1: info MW0006: 2 documents of apps/Deployment passed over",
        "a.yaml:7: info MW0006: 1 document of no apiVersion and kind passed over",
    ]
    assert reading.foreign == {("apps", "Deployment"): 2, ("", ""): 1}


def test_a_service_of_kubernetes_is_known_to_checks() -> None:
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec: {ports: [{port: 80}]}\n"
    route = written(
        "VirtualService", "hosts: [b]\nhttp: [{route: [{destination: {host: b}}]}]", namespace="default"
    )
    codes = [
        problem.code for problem in read({"mesh.yaml": MESH, "a.yaml": f"{service}---\n{route}"}).problems
    ]
    assert codes == ["MW0006"]


def test_a_broken_object_is_left_out_and_breaks_no_reference_to_it() -> None:
    broken = SERVICE.replace("name: http", "name: http, targetPort: 70000")
    reading = read({"mesh.yaml": MESH, "a.yaml": broken, "b.yaml": ROUTE})
    assert said(reading) == [
        "a.yaml:7: error IST0106 spec.ports[0].targetPort: expected a port from 1 to 65535, found 70000"
    ]
    assert reading.config.of("ServiceEntry") == ()
    assert len(reading.config.of("VirtualService")) == 1


def test_paths_choose_the_files_of_the_mesh() -> None:
    mesh = MESH.replace("spec: {}", "spec: {paths: {exclude: [charts/*/templates]}}")
    reading = read({"charts/web/templates/a.yaml": "a: {{ .Values }}", "mesh.yaml": mesh, "b.yaml": SERVICE})
    assert said(reading) == []


def test_a_second_mesh_document_is_an_error_unless_it_is_excluded() -> None:
    assert said(read({"docs/mesh.yaml": MESH, "mesh.yaml": MESH})) == [
        "docs/mesh.yaml:2: error MW0003 kind: a second Mesh document; the first is at mesh.yaml:1"
    ]
    excluding = MESH.replace("spec: {}", "spec: {paths: {exclude: [docs]}}")
    assert said(read({"docs/mesh.yaml": MESH, "mesh.yaml": excluding})) == []


def test_objects_know_the_unit_whose_folder_they_are_in() -> None:
    mesh = MESH.replace("spec: {}", "spec: {tenancy: [{path: teams/a}]}")
    reading = read(
        {"mesh.yaml": mesh, "teams/a/a.yaml": SERVICE, "teams/ab/b.yaml": ROUTE}, tenancy=("teams/a",)
    )
    assert reading.tenancy == ("teams/a",)
    assert {str(found.key): found.unit for found in reading.config} == {
        "Mesh//mesh": "",
        "ServiceEntry/bookinfo/a": "teams/a",
        "VirtualService/bookinfo/a": "",
    }


def test_a_tenant_has_no_say_about_the_mesh() -> None:
    reading = read({"teams/a/mesh.yaml": MESH}, tenancy=("teams/a",))
    assert (
        "teams/a/mesh.yaml:2: error MW0010 kind: a Mesh document inside a folder of tenancy does not count"
        in said(reading)
    )
    assert reading.config.of("Mesh") == ()


NAMES = st.lists(st.sampled_from("abcd"), unique=True)


@given(NAMES, NAMES, st.integers(0, 3))
def test_unchanged_documents_are_the_same_objects_in_the_next_reading(
    before: list[str], after: list[str], blank: int
) -> None:
    """Also when their neighbours changed and they moved to other lines of another file."""

    def text(names: list[str]) -> str:
        return "---\n".join(written("ServiceEntry", f"hosts: [{n}.com]\nresolution: DNS", n) for n in names)

    reader = Reader()
    first = read({"a.yaml": text(before)}, reader)
    reader.keep(first)
    reader.forget()
    old = first.config
    new = read({"b.yaml": "\n" * blank + text(after)}, reader).config

    for name in set(before) & set(after):
        key = ObjectKey("ServiceEntry", "bookinfo", name)
        assert old.get(key) is new.get(key)
    same = new.within("ServiceEntry", "bookinfo") is old.within("ServiceEntry", "bookinfo")
    assert same == (set(before) == set(after))


@pytest.mark.parametrize(
    ("path", "is_read"),
    [
        ("a.yaml", True),
        ("a/b.yml", True),
        ("a.json", True),
        ("README.md", False),
        (".github/workflows/a.yaml", False),
        ("a/.hidden.yaml", False),
        (".meshwright/addresses.json", False),
    ],
)
def test_only_yaml_and_json_outside_hidden_folders_is_read(path: str, is_read: bool) -> None:
    assert is_ours(path) is is_read


def a_folder(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".yaml").write_text(text)
    return folder


def test_a_folder_without_mistakes_is_fine(tmp_path: Path) -> None:
    report = check_path(a_folder(tmp_path, mesh=MESH, teams__a=SERVICE))
    assert (report.exit_code, render.problems(report, "text")) == (0, "2 objects in 2 files: no problems")


def test_a_folder_with_mistakes_says_where(tmp_path: Path) -> None:
    report = check_path(a_folder(tmp_path, mesh=MESH, routes=ROUTE.replace("http:", "htp:")))
    assert report.exit_code == 1
    assert render.problems(report, render.Output.TEXT) == (
        "routes.yaml:6: error IST0106 spec.htp: unknown field\n"
        "    hint: did you mean 'http'?\n"
        "1 object in 2 files: 1 error"
    )


def test_warnings_count_only_for_the_strict(tmp_path: Path) -> None:
    route = ROUTE.replace("http: [{", "http: [{mirrorPercent: 10, ")
    folder = a_folder(tmp_path, mesh=MESH, routes=f"{SERVICE}---\n{route}")
    assert check_path(folder).exit_code == 0
    assert check_path(folder, is_strict=True).exit_code == 1


def test_the_json_form_is_the_promised_one(tmp_path: Path) -> None:
    report = check_path(a_folder(tmp_path, mesh=MESH, routes=ROUTE.replace("host: a.com", "host: b")))
    assert json.loads(render.problems(report, "json")) == {
        "problems": [
            {
                "code": "IST0101",
                "severity": "error",
                "file": "routes.yaml",
                "line": 6,
                "path": "spec.http[0].route[0].destination.host",
                "object": "VirtualService/bookinfo/a",
                "message": "no service 'b.bookinfo.svc.cluster.local'",
                "hint": "declare it with a ServiceEntry",
            }
        ],
        "counts": {"files": 2, "objects": 2, "errors": 1, "warnings": 0, "infos": 0},
    }


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Who can write the repository must not choose which files of the host are read."""
    outside = a_folder(tmp_path / "outside", secret="not: [yaml")
    folder = a_folder(tmp_path / "repo", mesh=MESH)
    (folder / "link.yaml").symlink_to(outside / "secret.yaml")
    (folder / "linked").symlink_to(outside, target_is_directory=True)

    assert check_path(folder).counts == {"files": 1, "objects": 1, "errors": 0, "warnings": 0, "infos": 0}


def test_a_folder_that_does_not_exist_is_used_wrongly(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"^no file or folder '.*/nothing'$") as error:
        check_path(tmp_path / "nothing")
    assert error.value.exit_code == 2


def test_one_file_can_be_checked_by_itself(tmp_path: Path) -> None:
    folder = a_folder(tmp_path, mesh=MESH, routes=ROUTE.replace("http:", "htp:"))
    report = check_path(folder / "routes.yaml")

    assert report.counts["files"] == 1
    assert {problem.where.file for problem in report.problems} == {"routes.yaml", "mesh.yaml"}


def test_a_file_without_documents_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.yaml").write_text("")

    assert "notes.yaml: error MW0010: no document of a mesh in this file" in [
        str(problem) for problem in check_path(tmp_path / "notes.yaml").problems
    ]


def test_a_file_that_cannot_be_configuration_is_used_wrongly(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(Misconfigured) as error:
        check_path(tmp_path / "notes.txt")

    assert str(error.value) == f"'{tmp_path}/notes.txt' is not a file of a mesh"
    assert error.value.hint == "those end in .yaml, .yml, .json"


def test_a_folder_without_documents_is_an_error(tmp_path: Path) -> None:
    assert [str(problem) for problem in check_path(tmp_path).problems] == [
        ".: error MW0010: no document of a mesh in this folder",
        "mesh.yaml: info MW0008: no Mesh document: the defaults are used",
    ]


def test_what_is_tried_and_not_served_takes_no_object_away_from_what_is() -> None:
    """A broken version of a file came in between; what did not change in it is still the same object."""

    def text(spec: str) -> str:
        return written("ServiceEntry", spec, "a") + "---\n" + written("ServiceEntry", SOUND_ENTRY, "b")

    reader, key = Reader(), ObjectKey("ServiceEntry", "bookinfo", "a")
    served = read({"a.yaml": text(SOUND_ENTRY)}, reader)
    reader.keep(served)
    tried = read({"a.yaml": text("hosts: 5")}, reader)
    again = read({"a.yaml": "# once more\n" + text(SOUND_ENTRY)}, reader)

    assert tried.config.get(key) is None
    assert again.config.get(key) is served.config.get(key)
    assert again.config.of("ServiceEntry") is served.config.of("ServiceEntry")


SOUND_ENTRY = "hosts: [a.com]\nresolution: DNS"


@pytest.mark.parametrize(
    ("paths", "path", "code", "is_said"),
    [
        ("{exclude: [charts]}", "charts/big.yaml", "MW0010", False),
        ("{exclude: [charts]}", "charts/link", "MW0012", False),
        ("{exclude: [charts]}", "mesh/big.yaml", "MW0010", True),
        ("{include: [mesh]}", "docs/big.yaml", "MW0010", False),
        ("{include: [mesh/*/x.yaml]}", "mesh", "MW0010", True),
        ("{include: [mesh]}", ".", "MW0010", True),
    ],
)
def test_what_could_not_be_read_is_said_where_it_might_have_counted(
    paths: str, path: str, code: str, is_said: bool
) -> None:
    """Of a folder that was passed over as a whole nobody knows what was in it."""
    problem = Problem(code=code, where=Where(file=path), message="passed over")
    mesh = TextFile("mesh.yaml", written("Mesh", f"paths: {paths}", namespace="").encode())
    assert (problem in Reader()([mesh], passed_over=[problem]).problems) is is_said
