"""What all services of Consul say together, and which of them have to be read again."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from mesh.kinds.registry_consul import Consul
from mesh.services import Provider
from registries.answers import Answer
from registries.consul.mapping import NOTHING, Mapped, mapped
from registries.consul.notes import Notes
from registries.consul.seen import Seen, by_checks, by_name, by_nodes
from registries.draft import Draft
from tests.support.consul_registries import content

Entry = dict[str, Any]


def an_entry(
    node: str, service_id: str, *, check: str = "passing", node_index: int = 1, **meta: str
) -> Entry:
    return {
        "Node": {"Node": node, "Address": f"10.9.0.{node[1:]}", "ModifyIndex": node_index},
        "Service": {"ID": service_id, "Service": "any", "Port": 80, "Meta": meta},
        "Checks": [{"Node": node, "CheckID": "c", "Status": check}],
    }


def of(name: str, *entries: Entry, hostname: str = "{name}.consul") -> Mapped:
    settings = Consul()
    known = settings.mapping.model_copy(update={"hostnames": (hostname,), "namespaces": ("*",)})
    return mapped(name, entries, settings.model_copy(update={"mapping": known}), "vms")


class Noted:
    """Notes and the draft that they write into."""

    def __init__(self) -> None:
        self.draft = Draft("vms", Provider.CONSUL)
        self.notes = Notes(self.draft)

    def answer(self) -> Answer:
        return self.draft.answer()


MEMBER = {"serviceAccount": "shop"}
RIVALS = {
    "a": of("a", an_entry("n1", "one", **MEMBER), hostname="{name}.consul"),
    "b": of("b", an_entry("n2", "one", **MEMBER)),
    "c": of("c", an_entry("n3", "one", **MEMBER)),
}


@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
def test_who_has_a_name_does_not_depend_on_who_was_heard_first(order: tuple[str, ...]) -> None:
    noted = Noted()
    for name in order:
        noted.notes.put(name, RIVALS[name])
        noted.answer()

    assert noted.answer().said("default").workloads["one"] == RIVALS["a"].workloads[0]
    at_once = Noted()
    at_once.notes.replace(RIVALS)
    assert content(noted.answer()) == content(at_once.answer())
    assert [(remark.about, remark.message) for remark in noted.answer().remarks] == [
        ("workload default/one", "several services of Consul claim it: a, b, c; the first has it")
    ]


def test_the_next_in_line_takes_over_when_the_first_goes() -> None:
    noted = Noted()
    noted.notes.replace(RIVALS)
    noted.notes.put("a", NOTHING)
    noted.notes.put("b", NOTHING)

    assert noted.answer().said("default").workloads["one"] == RIVALS["c"].workloads[0]
    assert noted.answer().remarks == ()


def test_a_full_read_removes_what_it_does_not_name() -> None:
    noted = Noted()
    noted.notes.replace(RIVALS)
    noted.answer()
    noted.notes.replace({"b": RIVALS["b"]})

    assert list(noted.answer().said("default").offers) == ["b.consul"]


def test_a_full_read_of_the_same_is_the_same_answer() -> None:
    noted = Noted()
    noted.notes.replace(RIVALS)
    before = noted.answer()
    again = {name: of(name, an_entry(f"n{at}", "one", **MEMBER)) for at, name in enumerate("abc", 1)}
    noted.notes.replace(again)

    assert noted.answer() is before


def test_a_service_that_moves_to_another_namespace_leaves_the_old_one() -> None:
    noted = Noted()
    noted.notes.put("a", of("a", an_entry("n1", "one", **MEMBER)))
    noted.answer()
    noted.notes.put("a", of("a", an_entry("n1", "one", **MEMBER, namespace="shop")))

    assert list(noted.answer().namespaces) == ["shop"]


def test_a_remark_goes_with_the_mistake() -> None:
    noted = Noted()
    noted.notes.put("a", of("a", an_entry("n1", "one", protocol="thrift")))
    assert [remark.about for remark in noted.answer().remarks] == ["service a"]
    noted.notes.put("a", of("a", an_entry("n1", "one", protocol="http")))
    assert noted.answer().remarks == ()


def seen(*entries: Entry) -> Seen:
    return Seen.of(7, entries)


def a_check(node: str, service: str = "", status: str = "critical") -> dict[str, str]:
    return {"Node": node, "CheckID": "c", "Status": status, "ServiceName": service}


WELL = seen(an_entry("n1", "one"), an_entry("n2", "two"))
SICK = seen(an_entry("n1", "one", check="critical"))


@pytest.mark.parametrize(
    ("known", "checks", "expected"),
    [
        ({"a": WELL}, [], set()),
        ({"a": WELL}, [a_check("n1", "a")], {"a"}),
        ({"a": SICK}, [], {"a"}),
        ({"a": SICK}, [a_check("n1", "a")], set()),
        ({"a": SICK}, [a_check("n1", "A")], set()),
        ({"a": SICK}, [a_check("n1", "a", "warning")], {"a"}),
        ({"a": WELL, "b": seen(an_entry("n3", "x"))}, [a_check("n2")], {"a"}),
        ({"a": SICK, "b": WELL}, [a_check("n1")], {"b"}),
        ({}, [a_check("n1", "new")], {"new"}),
    ],
)
def test_checks_say_which_services_they_concern(
    known: dict[str, Seen], checks: list[dict[str, str]], expected: set[str]
) -> None:
    assert set(by_checks(known, checks)) == expected


def test_a_node_that_changed_concerns_the_services_on_it() -> None:
    now = {"n1": 1, "n2": 9}

    assert list(by_nodes({"a": WELL, "b": SICK}, now)) == ["a"]


def test_names_that_came_and_went_are_read() -> None:
    assert by_name({"a": WELL, "b": WELL}, frozenset({"b", "c"})) == {"a", "c"}
