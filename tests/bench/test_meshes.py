"""The generated mesh: valid, of the size asked for, and changed by one line at a time."""

from __future__ import annotations

from collections import Counter

import pytest

from mesh.errors import Misconfigured
from mesh.proxies import NodeId
from tests.bench import meshes
from tests.bench.meshes import Size
from tests.support.worlds import Worlds

SMALL = Size(services=10, endpoints=3, workloads=5, namespaces=2, streams=12)


def lines_changed(before: str, after: str) -> int:
    return sum(a != b for a, b in zip(before.splitlines(), after.splitlines(), strict=True))


def test_the_mesh_is_valid_and_has_the_size_asked_for() -> None:
    world = Worlds().of(meshes.files(SMALL))

    kinds = Counter(found.key.kind for found in world.config)
    assert kinds == {
        "ServiceEntry": 10,
        "WorkloadEntry": 30,
        "VirtualService": 2,
        "DestinationRule": 2,
        "AuthorizationPolicy": 2,
        "PeerAuthentication": 1,
    }
    assert {len(found.by_port[meshes.PORT]) for found in world.services.endpoints.values()} == {3}


def test_proxies_are_instances_of_the_workloads_in_turn() -> None:
    world = Worlds().of(meshes.files(SMALL))
    proxies = list(meshes.proxies(SMALL))

    assert len({str(node) for node, _ in proxies}) == 12
    assert Counter(account for _, account in proxies) == dict(
        zip(("s0000", "s0001", "s0002", "s0003", "s0004"), (3, 3, 2, 2, 2), strict=True)
    )
    for node, account in proxies:
        assert NodeId.parse(str(node)) == node
        workload = world.services.workloads[node.namespace, node.name]
        assert (workload.address, workload.service_account) == (node.address, account)


@pytest.mark.parametrize("turn", [0, 1, 7, 16])
def test_a_turn_changes_one_line_of_one_file(turn: int) -> None:
    files = meshes.files(SMALL)
    for edit in (meshes.moved_endpoint, meshes.changed_route):
        ((name, text),) = edit(SMALL, turn).items()
        assert lines_changed(files[name], text) == 1


def test_a_size_that_makes_no_sense_is_refused_by_name() -> None:
    with pytest.raises(Misconfigured) as refused:
        Size(services=10, workloads=11)

    assert str(refused.value) == "workloads is 11, expected 1 to 10"
    assert refused.value.hint == (
        "a workload is the application behind one service, a stream one of its instances"
    )
