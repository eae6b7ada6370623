"""From a push to accepted configuration: real git and the real reader."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from mesh.names import ObjectKey
from reconciler.acceptance import Accepted
from reconciler.cycle import State, Turn, run_turn
from reconciler.fetching import Remote
from reconciler.reading import Reader, Reading
from reconciler.steps import Desk, start, steps
from tests.support.clock import FakeClock
from tests.support.repositories import Repository

MESH = """\
apiVersion: meshwright.dev/v1alpha1
kind: Mesh
metadata: {name: mesh}
spec:
  tenancy:
  - path: teams/a
  - path: teams/b
"""


def a_service(name: str, namespace: str, port: int = 9080) -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{name}.{namespace}.svc.cluster.local]
  ports: [{{number: {port}, name: http, protocol: HTTP}}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {{labels: {{app: {name}}}}}
"""


def key(name: str, namespace: str) -> ObjectKey:
    return ObjectKey("ServiceEntry", namespace, name)


class Plane:
    """One control plane's cycle over the real reader."""

    def __init__(self, folder: Path, team: Repository) -> None:
        self.published: list[Accepted[Reading]] = []
        self.desk = Desk(
            folder=folder / "state" / "repo.git",
            remote=Remote.parse(team.url, "main"),
            reader=Reader(),
            publish=self.published.append,
            clock=FakeClock(),
            fetch_limit=timedelta(seconds=10),
        )
        self._turn: Turn[Reading] = Turn()

    async def turn(self) -> Accepted[Reading]:
        self._turn = await run_turn(steps(self.desk), self._turn.following())
        assert (self._turn.state, self._turn.reason) == (State.READY, "")
        return self.published[-1]

    async def recall(self) -> Accepted[Reading]:
        self._turn = await run_turn(start(self.desk), Turn())
        return self.published[-1]


def held(accepted: Accepted[Reading]) -> dict[str, list[str]]:
    return {unit.name: [str(p) for p in unit.problems] for unit in accepted.units if unit.is_held}


async def test_an_unknown_field_holds_its_folder_at_its_line_and_the_others_go_live(tmp_path: Path) -> None:
    team = Repository(tmp_path)
    plane = Plane(tmp_path, team)
    team.push(
        {"mesh.yaml": MESH, "teams/a/a.yaml": a_service("a", "a"), "teams/b/b.yaml": a_service("b", "b")}
    )
    first = await plane.turn()
    assert held(first) == {}
    kept = first.reading.config.get(key("a", "a"))

    wrong = a_service("a", "a").replace("resolution:", "resolutoin:")
    team.push({"teams/a/a.yaml": wrong, "teams/b/b.yaml": a_service("b", "b", port=9081)})
    second = await plane.turn()
    (problem,) = held(second)["teams/a"]
    assert problem.startswith("teams/a/a.yaml:7: error IST0106 spec.resolutoin: ")
    assert second.reading.config.get(key("a", "a")) == kept
    assert second.reading.config.get(key("b", "b")) != first.reading.config.get(key("b", "b"))


async def test_a_folder_cannot_take_the_name_that_another_is_served_with(tmp_path: Path) -> None:
    """Even when its file comes first in the order of paths."""
    team = Repository(tmp_path)
    plane = Plane(tmp_path, team)
    team.push({"mesh.yaml": MESH, "teams/b/x.yaml": a_service("x", "x")})
    await plane.turn()
    team.push({"teams/a/x.yaml": a_service("x", "x", port=1)})
    accepted = await plane.turn()
    twice = "ServiceEntry x/x is defined twice"
    assert held(accepted) == {
        "teams/a": [f"teams/a/x.yaml:3: error MW0003 metadata.name: {twice}, first at teams/b/x.yaml:1"]
    }
    place = accepted.reading.where(key("x", "x"))
    assert place
    assert place.file == "teams/b/x.yaml"


async def test_a_mesh_document_in_a_folder_of_a_tenant_changes_nothing(tmp_path: Path) -> None:
    team = Repository(tmp_path)
    plane = Plane(tmp_path, team)
    team.push({"mesh.yaml": MESH})
    await plane.turn()
    team.push({"teams/a/mesh.yaml": MESH.replace("teams/b", "teams/c")})
    accepted = await plane.turn()
    assert list(held(accepted)) == ["teams/a"]
    assert accepted.reading.tenancy == ("teams/a", "teams/b")


async def test_what_a_commit_does_not_touch_is_the_same_object_afterwards(tmp_path: Path) -> None:
    """Translations are remembered by their inputs: a new object would be a new translation."""
    team = Repository(tmp_path)
    plane = Plane(tmp_path, team)
    team.push({"mesh.yaml": MESH, "a.yaml": a_service("a", "a"), "b.yaml": a_service("b", "b")})
    before = (await plane.turn()).reading.config
    team.push({"b.yaml": "# moved down\n---\n" + a_service("b", "b"), "c.yaml": a_service("c", "c")})
    after = (await plane.turn()).reading.config
    for name in ("a", "b"):
        assert after.get(key(name, name)) is before.get(key(name, name))
    assert after.get(key("c", "c")) is not None


async def test_a_kind_that_vanishes_is_held_and_a_move_to_another_folder_is_not(tmp_path: Path) -> None:
    team = Repository(tmp_path)
    plane = Plane(tmp_path, team)
    services = "---\n".join(a_service(f"s{number}", "a") for number in range(5))
    team.push({"mesh.yaml": MESH + "  guards: {above: 4, dwell: 1m}\n", "teams/a/a.yaml": services})
    await plane.turn()
    team.push({"teams/a/a.yaml": None, "teams/b/b.yaml": services})
    assert held(await plane.turn()) == {}

    team.push({"teams/b/b.yaml": None, "mesh.yaml": MESH})
    assert held(await plane.turn()) == {
        "teams/b": [
            (
                "teams/b: error MW0019: the commit removes all 5 objects of unit 'teams/b':"
                " held until 2026-01-01 00:01:00Z or released"
            )
        ]
    }
    assert plane.published[-1].reading.config.get(key("s0", "a"))


async def test_a_restart_reads_the_same_configuration(tmp_path: Path) -> None:
    team = Repository(tmp_path)
    plane = Plane(tmp_path, team)
    team.push({"mesh.yaml": MESH, "teams/a/a.yaml": a_service("a", "a")})
    await plane.turn()
    team.push({"teams/a/a.yaml": "kind: [", "teams/b/b.yaml": a_service("b", "b")})
    before = await plane.turn()
    after = await Plane(tmp_path, team).recall()
    assert after == before
    assert after.reading.config == before.reading.config
    assert after.reading.config.generation == before.reading.config.generation
