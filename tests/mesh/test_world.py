from __future__ import annotations

from dataclasses import replace

from mesh.config import Config
from mesh.world import Credential, Trust, World
from tests.support.config import Meshes, a_service, a_workload


def test_worlds_are_equal_when_their_parts_are() -> None:
    meshes = Meshes()
    world = meshes.world(a_service("reviews"))
    same = replace(world)

    assert same == world
    assert hash(same) == hash(world)


def test_a_world_with_another_part_is_another_world() -> None:
    """Comparing the commit alone would drop endpoint updates."""
    meshes = Meshes()
    world = meshes.world(a_service("reviews"), revision="r")
    moved = meshes.world(a_service("reviews"), a_workload("reviews"), revision="r")

    assert moved != world
    assert replace(world, revision="s") != world
    assert replace(world, config=Config()) != world
    assert replace(world, trust=Trust(roots=("a",))) != world
    assert world != "world"


def test_a_new_certificate_of_a_gateway_is_another_world() -> None:
    world = World(trust=Trust(credentials={"web": {"site": Credential(b"old", b"key")}}))
    renewed = Trust(credentials={"web": {"site": Credential(b"new", b"key")}})

    assert replace(world, trust=renewed) != world


def test_no_key_is_shown() -> None:
    trust = Trust(credentials={"web": {"site": Credential(b"chain", b"private")}})

    assert "private" not in repr(trust)
    assert "private" not in repr(Credential(b"chain", b"private"))
    assert "private" not in repr(World(trust=trust))
