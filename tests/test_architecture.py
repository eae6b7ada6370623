"""The house as drawn (STYLE 4.1): which room may know which, and who alone may talk to the outside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("mesh", "registries", "ca", "xds", "reconciler")
MAY_IMPORT = {
    "mesh": {"mesh"},
    "registries": {"mesh", "registries"},
    "ca": {"mesh", "ca"},
    "xds": {"mesh", "xds"},
    "reconciler": set(ROOMS),
}
# Outside package -> the only modules (or folders) that may import it.
ONE_DOOR = {
    # The runtime; Envoy's messages come from xds/envoy.py alone (see NEVER), Istio's two are written by hand.
    "google.protobuf": {"xds/", "ca/istio_messages.py"},
    "pygit2": {"reconciler/git.py", "reconciler/acceptance.py", "reconciler/fetching.py", "reconciler/demo/"},
    "consul": {"registries/consul/client.py", "reconciler/lease.py"},
    "ansible_runner": {"reconciler/machines/runs.py"},
    "apscheduler": {"reconciler/schedule.py"},
    "uvloop": {"reconciler/cli/"},
    "click": {"reconciler/cli/"},
    "grpc": {"xds/server.py", "ca/istio.py", "reconciler/enrolling/asking.py"},
    "pydantic": {"mesh/kinds/"},
    "pydantic_core": {"mesh/kinds/"},
    "yaml": {"mesh/documents.py", "reconciler/cli/"},  # the mesh's documents; the operator's settings
    "re2": {"mesh/"},
}
# What we may never import at run time: it is there to build with (DESIGN D6).
NEVER = ("envoy", "xds_protos", "opentelemetry", "validate", "udpa", "cel", "test", "tests")
CLOCKED = {"mesh/latest.py", "mesh/clock.py"}


def modules() -> list[str]:
    return sorted(
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if "__pycache__" not in path.parts
    )


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"))


def imported(module: str) -> Iterator[str]:
    """Every module that this one imports, wherever in it; ``from a import b`` is ``a.b``."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            assert node.module is not None
            yield from (f"{node.module}.{name.name}" for name in node.names)


def is_of(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("module", modules())
def test_arrows_go_one_way(module: str) -> None:
    room = module.partition("/")[0]
    strangers = {name.partition(".")[0] for name in imported(module)} & set(ROOMS) - MAY_IMPORT[room]

    assert not strangers, f"{module} of {room} imports {sorted(strangers)}"


@pytest.mark.parametrize("module", modules())
def test_each_outside_thing_has_one_door(module: str) -> None:
    for package, doors in ONE_DOOR.items():
        if any(module == door or (door.endswith("/") and module.startswith(door)) for door in doors):
            continue
        found = [name for name in imported(module) if is_of(name, package)]
        assert not found, f"{module} imports {found[0]}: the door to {package} is {', '.join(sorted(doors))}"


@pytest.mark.parametrize("module", modules())
def test_what_is_there_to_build_with_is_never_imported(module: str) -> None:
    assert not [name for name in imported(module) if any(is_of(name, one) for one in NEVER)]


@pytest.mark.parametrize("module", [module for module in modules() if module.startswith("mesh/")])
def test_the_mesh_waits_for_nothing_and_reads_nothing(module: str) -> None:
    """Only two modules of the room know the loop; none knows files, sockets or processes."""
    banned = ["socket", "subprocess", "os", "pathlib", "threading", "logging", "ssl"]
    banned += [] if module in CLOCKED else ["asyncio", "time"]

    assert not [name for name in imported(module) if any(is_of(name, one) for one in banned)]


@pytest.mark.parametrize("module", modules())
def test_every_module_says_what_it_is_for(module: str) -> None:
    said = ast.get_docstring(tree(module)) or ""
    first, _, _ = said.partition("\n\n")

    assert first.strip(), f"{module} has no docstring"
    assert first.rstrip().endswith((".", "!", "?", ")")), f"the first paragraph of {module} is no sentence"


def test_no_package_hides_below_the_tests() -> None:
    """With one, ``tests/xds`` would be taken for the package ``xds`` (STYLE 6.2)."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_bugs_are_caught_in_two_places_only() -> None:
    """STYLE 4.9: around a turn of the cycle, and around the making of one resource."""
    found = [
        f"{module}:{node.lineno}"
        for module in modules()
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None
            or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"})
        )
    ]

    assert [place.partition(":")[0] for place in found] == ["reconciler/cycle.py", "xds/memo.py"], found


def test_no_room_is_empty() -> None:
    assert {module.partition("/")[0] for module in modules()} == set(ROOMS)
