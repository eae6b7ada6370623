"""Which network an address belongs to, and by which gateways the others are entered."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mesh.kinds.mesh import Mesh
from mesh.networks import (
    NOWHERE,
    Gateways,
    NetworkNames,
    Standpoint,
    all_gateways,
    declared_gateways,
    network_names,
)
from mesh.services import Locality, NetworkGateway
from tests.support.documents import problems_of, read

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"


def a_mesh(*registries: dict[str, Any], **networks: Any) -> Mesh:
    """Networks in the words of meshNetworks, registries in those of ``Mesh.spec.registries``."""
    return Mesh.model_validate({"registries": registries, "meshNetworks": {"networks": networks}})


def a_gateway(network: str = "far", address: str = "10.0.0.9", port: int = 15443) -> NetworkGateway:
    return NetworkGateway(network=network, address=address, port=port)


NAMES = network_names(
    a_mesh(
        {"name": "dc1", "network": "of-dc1"},
        {"name": "east", "network": "of-east"},
        near={"endpoints": [{"fromCidr": "10.0.0.0/8"}, {"fromCidr": "fd00::/8"}]},
        far={"endpoints": [{"fromCidr": "10.1.0.7/16"}, {"fromRegistry": "east"}]},
    )
)


@pytest.mark.parametrize(
    ("registry", "address", "said", "network"),
    [
        ("git", "10.9.0.1", "", "near"),
        ("git", "10.1.0.1", "", "far"),
        ("git", "fd00::1", "", "near"),
        ("git", "192.0.2.1", "", ""),
        ("git", "db.example.com", "", ""),
        ("git", "", "", ""),
        ("git", "10.9.0.1", "own", "own"),
        ("east", "10.9.0.1", "", "far"),
        ("east", "10.9.0.1", "own", "own"),
        ("dc1", "10.9.0.1", "", "near"),
        ("dc1", "192.0.2.1", "", "of-dc1"),
        ("dc1", "db.example.com", "", "of-dc1"),
    ],
)
def test_what_a_workload_says_wins_then_its_registry_then_its_block_then_the_registrys_settings(
    registry: str, address: str, said: str, network: str
) -> None:
    assert isinstance(NAMES, NetworkNames)
    assert NAMES.of(registry, address, said) == network


def test_what_stands_in_two_networks_is_in_the_first_by_name() -> None:
    one = {"endpoints": [{"fromCidr": "10.0.0.0/8"}, {"fromRegistry": "east"}]}
    names = network_names(a_mesh(b=one, a=one))

    assert names is not None
    assert (names.of("git", "10.0.0.1"), names.of("east", "")) == ("a", "a")


def test_a_mesh_that_names_no_networks_has_no_names() -> None:
    gateways = {"gateways": [{"address": "10.0.0.9", "port": 15443}]}

    assert network_names(a_mesh({"name": "dc1"}, far=gateways)) is None


def test_gateways_are_sorted_and_a_place_that_is_named_twice_counts_once() -> None:
    declared = declared_gateways(
        a_mesh(
            near={"gateways": [{"address": "10.0.0.1", "port": 15443}]},
            far={
                "gateways": [
                    {"address": "10.0.0.9", "port": 15443, "locality": "eu/b"},
                    {"registryServiceName": "door.edge.svc.cluster.local", "port": 15443},
                    {"address": "10.0.0.8", "port": 15443},
                ]
            },
        )
    )

    found = all_gateways(declared, (a_gateway(), a_gateway("third")))

    assert [(name, [one.address for one in members]) for name, members in found.by_network] == [
        ("far", ["10.0.0.8", "10.0.0.9"]),
        ("near", ["10.0.0.1"]),
        ("third", ["10.0.0.9"]),
    ]
    assert found.by_network[0][1][1].locality == Locality("eu", "b")


def test_without_a_gateway_everybody_stands_nowhere() -> None:
    assert not all_gateways((), ())
    assert Gateways().seen_from("") == NOWHERE
    assert NOWHERE.gateways_to("far") == ()


@pytest.mark.parametrize(
    ("own", "other", "is_direct"),
    [
        ("near", "near", True),
        ("near", "", True),
        ("near", "far", False),
        ("near", "third", True),  # nobody says how it is entered
        ("", "", True),
        ("", "far", False),
        ("", "third", True),
        ("far", "far", True),
    ],
)
def test_only_a_network_with_a_gateway_is_entered_by_one(own: str, other: str, is_direct: bool) -> None:
    standpoint = all_gateways((a_gateway(),), ()).seen_from(own)

    assert standpoint.gateways_to(other) == (() if is_direct else (a_gateway(),))


def test_a_change_of_ones_own_gateways_is_not_ones_business() -> None:
    before = all_gateways((a_gateway(),), ()).seen_from("far")
    after = all_gateways((a_gateway(), a_gateway(address="10.0.0.10")), ()).seen_from("far")

    assert before == after == Standpoint("far", ())


BLOCK = "meshNetworks: {{networks: {{far: {{endpoints: [{}]}}}}}}"
DOOR = "meshNetworks: {{networks: {{far: {{gateways: [{}]}}}}}}"
AT = "spec.meshNetworks.networks.far"


@pytest.mark.parametrize(
    ("spec", "messages"),
    [
        (BLOCK.format("{fromCidr: 10.0.0.0/8}, {fromCidr: 'fd00::/8'}, {fromCidr: 10.0.0.1}"), []),
        (BLOCK.format("{fromRegistry: git}"), []),
        (
            "registries: [{name: dc1, consul: {address: 'http://c:8500'}}]\n"
            + BLOCK.format("{fromRegistry: dc1}"),
            [],
        ),
        (
            BLOCK.format("{fromRegistry: dc2}"),
            [f"warning IST0126 {AT}.endpoints[0].fromRegistry: no registry is called 'dc2'"],
        ),
        (
            BLOCK.format("{fromRegistry: Kube_1}"),
            [f"error IST0106 {AT}.endpoints[0].fromRegistry: not a DNS label: 'Kube_1'"],
        ),
        (
            BLOCK.format("{fromCidr: 10.0.0.0/33}"),
            [f"error IST0106 {AT}.endpoints[0].fromCidr: not an IP address or CIDR: '10.0.0.0/33'"],
        ),
        (BLOCK.format("{}"), [f"error IST0106 {AT}.endpoints[0]: expected one of fromCidr, fromRegistry"]),
        (
            BLOCK.format("{fromCidr: 10.0.0.0/8, fromRegistry: git}"),
            [f"error IST0106 {AT}.endpoints[0]: expected only one of fromCidr, fromRegistry"],
        ),
        (
            (
                "meshNetworks: {networks: {a: {endpoints: [{fromCidr: 10.1.0.0/8}]},"
                " b: {endpoints: [{fromCidr: 10.0.0.0/8}]}}}"
            ),
            [
                (
                    "warning IST0133 spec.meshNetworks.networks.b.endpoints[0].fromCidr:"
                    " block 10.0.0.0/8 stands in networks 'a' and 'b'; it counts as 'a'"
                )
            ],
        ),
        (
            (
                "meshNetworks: {networks: {b: {endpoints: [{fromRegistry: git}]},"
                " a: {endpoints: [{fromRegistry: git}]}}}"
            ),
            [
                (
                    "warning IST0133 spec.meshNetworks.networks.b.endpoints[0].fromRegistry:"
                    " registry 'git' stands in networks 'a' and 'b'; it counts as 'a'"
                )
            ],
        ),
        (DOOR.format("{address: 192.0.2.1, port: 15443}, {registryServiceName: door.edge, port: 15443}"), []),
        (
            DOOR.format("{address: 192.0.2.1, port: 0}"),
            [f"error IST0106 {AT}.gateways[0].port: expected a port from 1 to 65535, found 0"],
        ),
        (
            DOOR.format("{address: door.example.com, port: 15443}"),
            [
                (
                    f"error MW0004 {AT}.gateways[0].address:"
                    " a gateway's address that is a name ('door.example.com') is not supported yet"
                )
            ],
        ),
        (
            DOOR.format("{address: 'not an address', port: 15443}"),
            [
                (
                    f"error IST0106 {AT}.gateways[0].address:"
                    " not a host name: 'not an address' (label 'not an address')"
                )
            ],
        ),
        (
            DOOR.format("{port: 15443}"),
            [f"error IST0106 {AT}.gateways[0]: expected one of address, registryServiceName"],
        ),
        (
            DOOR.format("{address: 192.0.2.1, registryServiceName: door.edge, port: 15443}"),
            [f"error IST0106 {AT}.gateways[0]: expected only one of address, registryServiceName"],
        ),
        (
            'meshNetworks: {networks: {"": {}}}',
            ['error IST0106 spec.meshNetworks.networks[""]: expected the name of a network, found nothing'],
        ),
    ],
)
def test_what_is_wrong_with_mesh_networks_is_said(spec: str, messages: list[str]) -> None:
    assert problems_of("Mesh", spec) == messages


def test_networks_without_gateways_are_sound() -> None:
    assert problems_of("Mesh", json.dumps({"meshNetworks": {"networks": {"far": {}}}})) == []


def test_the_example_of_the_page_is_sound() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)

    assert read(example).problems == ()
