"""Config: an index whose unchanged parts stay the very same objects."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.config import Config, ConfigObject
from mesh.kinds.destination_rule import DestinationRule
from mesh.kinds.mesh import Mesh
from mesh.names import ObjectKey

NAMES = st.tuples(
    st.sampled_from(["DestinationRule", "Gateway"]),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["x", "y", "z"]),
)
WORLDS = st.dictionaries(NAMES, st.integers(0, 2), max_size=12)


def an_object(key: tuple[str, str, str], text: int = 0, **more: object) -> ConfigObject[DestinationRule]:
    spec = DestinationRule(host=f"host-{text}")
    return ConfigObject(key=ObjectKey(*key), spec=spec, digest=bytes([text]), **more)  # type: ignore[arg-type]


def config_of(world: dict[tuple[str, str, str], int], previous: Config | None = None) -> Config:
    return Config.build((an_object(key, text) for key, text in world.items()), previous)


@given(WORLDS, WORLDS)
def test_a_slice_that_did_not_change_is_the_same_tuple(
    before: dict[tuple[str, str, str], int], after: dict[tuple[str, str, str], int]
) -> None:
    old = config_of(before)
    new = config_of(after, old)

    for kind in ("DestinationRule", "Gateway"):
        for namespace in ("a", "b"):
            was = {key: text for key, text in before.items() if key[:2] == (kind, namespace)}
            now = {key: text for key, text in after.items() if key[:2] == (kind, namespace)}
            same = new.within(kind, namespace) is old.within(kind, namespace)
            assert same == (was == now)
    for key in before.keys() & after.keys():
        same = new.get(ObjectKey(*key)) is old.get(ObjectKey(*key))
        assert same == (before[key] == after[key])


@given(WORLDS, WORLDS)
def test_configs_are_equal_when_their_objects_are(
    one: dict[tuple[str, str, str], int], other: dict[tuple[str, str, str], int]
) -> None:
    assert (config_of(one) == config_of(other)) == (one == other)
    assert config_of(one) == config_of(dict(reversed(one.items())))


@given(WORLDS)
def test_every_object_is_found_by_kind_namespace_and_key(world: dict[tuple[str, str, str], int]) -> None:
    config = config_of(world)
    assert {str(found.key) for found in config} == {"/".join(key) for key in world}
    for kind in ("DestinationRule", "Gateway"):
        assert [found.key.name for found in config.of(kind)] == [
            name for of, _, name in sorted(world) if of == kind
        ]


def test_the_oldest_comes_first_then_namespace_and_name() -> None:
    objects = [
        an_object(("Gateway", "b", "unstamped")),
        an_object(("Gateway", "a", "young"), created=datetime(2025, 1, 1, tzinfo=UTC)),
        an_object(("Gateway", "a", "unstamped")),
        an_object(("Gateway", "b", "old"), created=datetime(2024, 1, 1, tzinfo=UTC)),
    ]
    order = [(found.key.namespace, found.key.name) for found in Config.build(objects).of("Gateway")]
    assert order == [("b", "old"), ("a", "young"), ("a", "unstamped"), ("b", "unstamped")]


def test_a_tenant_wins_no_tie_with_an_old_date() -> None:
    objects = [
        an_object(("Gateway", "a", "forged"), created=datetime(1970, 1, 1, tzinfo=UTC), unit="teams/a"),
        an_object(("Gateway", "b", "plain")),
    ]
    assert [found.key.name for found in Config.build(objects).of("Gateway")] == ["plain", "forged"]


def test_two_objects_of_one_key_are_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="two objects are called Gateway/a/x"):
        Config.build([an_object(("Gateway", "a", "x")), an_object(("Gateway", "a", "x"))])


def test_without_a_mesh_document_istios_defaults_hold() -> None:
    config = Config.build([])
    assert config.mesh == Mesh()
    assert (config.root_namespace, config.trust_domain) == ("istio-system", "cluster.local")
    assert config.mesh_config.outbound_traffic_policy.mode == "ALLOW_ANY"
    assert config.mesh_config.connect_timeout.total_seconds() == 10
