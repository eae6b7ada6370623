"""Registrations of any shape: what cannot be read is left out and said, and stops nothing else."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Unavailable
from mesh.kinds.registry_consul import Consul, ConsulMapping
from mesh.services import Provider
from registries.consul.mapping import mapped
from registries.consul.notes import Notes
from registries.consul.seen import Seen, at_nodes, by_checks, by_nodes
from registries.consul.shapes import entries_of, misshapen, rows
from registries.draft import Draft

Entry = dict[str, Any]
SETTINGS = Consul(
    tags=("mesh",),
    serve_warning=True,
    mapping=ConsulMapping(addresses=("service.wan", "service", "node.wan", "node")),
)


def an_entry(number: int = 1) -> Entry:
    """With everything that is ever read of one."""
    tagged = {"wan": {"Address": "198.51.100.1", "Port": 8080}}
    return {
        "Node": {
            "Node": f"n{number}",
            "Address": f"10.9.0.{number}",
            "Datacenter": "dc1",
            "ModifyIndex": 7,
            "Meta": {"zone": "z1"},
            "TaggedAddresses": {"wan": "203.0.113.1"},
            "Locality": {"Region": "eu", "Zone": "eu-1"},
        },
        "Service": {
            "ID": f"web-{number}",
            "Service": "web",
            "Kind": "",
            "Address": f"10.0.0.{number}",
            "Port": 80,
            "Tags": ["mesh", "version=v1"],
            "Meta": {"serviceAccount": "shop", "network": "west"},
            "Weights": {"Passing": 3, "Warning": 1},
            "TaggedAddresses": tagged,
            "Ports": [{"Name": "http", "Port": 80}],
            "Locality": {"Region": "eu", "Zone": "eu-1"},
        },
        "Checks": [{"Node": f"n{number}", "CheckID": "c", "Status": "warning"}],
    }


def changed(entry: Entry, place: str, value: Any) -> Entry:
    made = copy.deepcopy(entry)
    *path, last = place.split(".")
    inner = made
    for key in path:
        inner = inner[key]
    inner[last] = value
    return made


@pytest.mark.parametrize(
    ("place", "value", "shown"),
    [
        ("Service.Weights", 5, "5"),
        ("Service.Weights.Passing", "5", "'5'"),
        ("Service.Weights.Passing", 1.5, "1.5"),
        ("Service.Port", "80", "'80'"),
        ("Service.Port", True, "True"),
        ("Service.Meta", {"a": 1}, "an object"),
        ("Service.Meta", {"a": None}, "an object"),
        ("Service.Tags", [1], "a list"),
        ("Service.Tags", "mesh", "'mesh'"),
        ("Service.Address", 7, "7"),
        ("Service.TaggedAddresses", {"wan": "x"}, "an object"),
        ("Service.Ports", [None], "a list"),
        ("Service.Locality", "eu", "'eu'"),
        ("Service.Service", None, "nothing"),
        ("Service.Meta", {"a": "\ud800"}, "an object"),
        ("Node.Node", None, "nothing"),
        ("Node.Address", ["10.0.0.1"], "a list"),
        ("Node.ModifyIndex", None, "nothing"),
        ("Node.Meta", "x", "'x'"),
        ("Checks", [{"Node": "n1"}], "a list"),
        ("Checks", {}, "an object"),
    ],
)
def test_a_registration_of_an_odd_shape_is_left_out_and_the_others_serve(
    place: str, value: Any, shown: str
) -> None:
    entries = [changed(an_entry(1), place, value), an_entry(2)]
    Seen.of(1, entries_of(entries))
    found = mapped("web", entries, SETTINGS, "dc1")

    assert [one.workload.name for one in found.offers[0].instances] == ["web-2"]
    assert found.remark is not None
    assert (found.remark.message, found.remark.hint) == (
        f"instance 'web-1' says a {place} that is none: {shown}",
        "register it anew; it is left out",
    )


NULLABLE = (
    "Service.Weights Service.Weights.Passing Service.Address Service.Tags Service.Meta Service.Ports "
    "Service.TaggedAddresses Service.Locality Node.Meta Node.Address Checks"
)


@pytest.mark.parametrize("place", NULLABLE.split())
def test_null_is_not_said_and_not_wrong(place: str) -> None:
    assert misshapen(changed(an_entry(), place, None)) == ""
    assert mapped("web", [changed(an_entry(), place, None)], Consul(), "dc1").offers


def test_checks_of_what_is_left_out_are_known_all_the_same() -> None:
    """Else each answer about checks would have the service read again."""
    odd = changed(an_entry(), "Service.Port", "80")

    assert Seen.of(1, [odd]).troubles == {("n1", "c", "warning")}
    assert Seen.of(1, [odd]).nodes == {"n1": 7}


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats()
    | st.text(max_size=9)
    | st.text(st.characters(), max_size=3)
    | st.sampled_from(["passing", "critical", "10.0.0.1", "::", "mesh", "a=b", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=3) | st.sampled_from(["Passing", "Address", "Port", "wan", "namespace"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def places_of(value: Any, at: str = "") -> list[str]:
    if not isinstance(value, dict):
        return [at]
    return [*([at] if at else []), *(one for key in value for one in places_of(value[key], f"{at}.{key}"))]


PLACES = [place.removeprefix(".") for place in places_of(an_entry())]


@st.composite
def entries(draw: st.DrawFn) -> list[Any]:
    """Right ones in which some places hold anything."""
    made = []
    for number in range(draw(st.integers(1, 3))):
        one = an_entry(number)
        for place in draw(st.lists(st.sampled_from(PLACES), max_size=3)):
            with suppress(TypeError, KeyError):  # it was replaced above
                one = changed(one, place, draw(ANYTHING))
        made.append(one)
    return made


def heard(body: Any) -> None:
    """All that is made of one body, wherever it comes from."""
    try:
        found = entries_of(body)
    except Unavailable:
        return
    draft = Draft("dc1", Provider.CONSUL)
    seen = {"web": Seen.of(1, found)}
    one = mapped("web", found, SETTINGS, "dc1")
    Notes(draft).put("web", one)
    draft.answer()
    for offer in one.offers:
        for instance in (*offer.instances, *offer.unready):
            workload = instance.workload
            assert 1 <= workload.weight <= 65535
            assert all(1 <= port <= 65535 for pair in instance.ports for port in pair)
            "".join((workload.network, str(workload.locality), repr(workload.labels))).encode()
    with suppress(Unavailable):
        list(by_checks(seen, rows(body, Node=str, CheckID=str, Status=str, ServiceName=str)))
    with suppress(Unavailable):
        list(by_nodes(seen, at_nodes(rows(body, Node=str, ModifyIndex=int))))


@given(entries())
def test_no_registration_ends_the_daemon(body: list[Any]) -> None:
    heard(body)


@given(ANYTHING)
def test_no_answer_at_all_ends_the_daemon(body: Any) -> None:
    heard(body)
    heard([{"Node": body, "Service": body}])
