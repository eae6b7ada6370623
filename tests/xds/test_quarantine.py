"""Whose fault a refusal is, and what a facet serves meanwhile."""

from __future__ import annotations

from tests.support.memberships import a_part, a_resource
from xds import envoy
from xds.directory import Refusal
from xds.quarantine import Fault, Quarantine, ReducedPart, withheld
from xds.resources import Part

GOOD = a_part(envoy.CLUSTER, a="v1", b="v1")
BAD = a_part(envoy.CLUSTER, a="v1", b="bad")


def a_refusal(content: str = "bad", name: str = "b") -> Refusal:
    version = a_resource(envoy.CLUSTER, name, content).version
    return Refusal(type_url=envoy.CLUSTER, name=name, version=version, message="no")


def contents(part: Part) -> dict[str, str]:
    return {name: resource.version for name, resource in part.resources.items()}


def test_bytes_that_nobody_took_give_way_to_the_last_that_were_taken() -> None:
    quarantine = Quarantine()
    quarantine.serve(GOOD)
    quarantine.acknowledged(GOOD)
    assert quarantine.serve(BAD) is BAD
    assert quarantine.refused(a_refusal()) is Fault.BYTES
    served = quarantine.serve(BAD)
    assert contents(served) == contents(GOOD)
    assert quarantine.serve(BAD) is served
    assert withheld((served,)) == frozenset()


def test_a_new_name_that_nobody_took_is_left_out_but_not_removed() -> None:
    """A control plane that was restarted does not know what its proxies once took: they keep it."""
    quarantine = Quarantine()
    quarantine.serve(BAD)
    assert quarantine.refused(a_refusal()) is Fault.BYTES
    served = quarantine.serve(BAD)
    assert isinstance(served, ReducedPart)
    assert sorted(served.resources) == ["a"]
    assert withheld((served,)) == {"b"}


def test_bytes_that_somebody_runs_are_not_at_fault() -> None:
    quarantine = Quarantine()
    quarantine.serve(GOOD)
    quarantine.acknowledged(GOOD)
    assert quarantine.refused(a_refusal("v1")) is Fault.HOST
    assert quarantine.serve(GOOD) is GOOD


def test_new_bytes_are_innocent() -> None:
    quarantine = Quarantine()
    quarantine.serve(BAD)
    quarantine.refused(a_refusal())
    assert quarantine.serve(GOOD) is GOOD
    assert quarantine.serve(BAD) is BAD


def test_a_later_acknowledgement_ends_the_quarantine() -> None:
    quarantine = Quarantine()
    quarantine.serve(BAD)
    quarantine.refused(a_refusal())
    quarantine.serve(BAD)
    assert quarantine.acknowledged(BAD) is True
    assert quarantine.serve(BAD) is BAD
    assert quarantine.refused(a_refusal()) is Fault.HOST


def test_a_refusal_of_what_is_not_served_any_more_changes_nothing() -> None:
    quarantine = Quarantine()
    assert quarantine.refused(a_refusal()) is Fault.OUTDATED
    quarantine.serve(GOOD)
    assert quarantine.refused(a_refusal()) is Fault.OUTDATED
    assert quarantine.refused(a_refusal(name="zz")) is Fault.OUTDATED
    assert quarantine.serve(GOOD) is GOOD
