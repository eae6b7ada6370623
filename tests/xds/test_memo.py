"""What one broken resource costs: nothing but itself."""

from __future__ import annotations

from typing import NoReturn

import pytest

from mesh.names import ObjectKey
from xds.memo import Broken, LastMade, Memo


class Input:
    """Something with an identity."""

    def __init__(self, text: str = "") -> None:
        self.text = text


def resource(given: Input) -> str:
    if not given.text:
        raise ValueError("nothing to say")
    return f"made of {given.text}"


def cancelled(_given: Input) -> NoReturn:
    raise KeyboardInterrupt


def test_a_resource_is_made_once_for_the_same_input() -> None:
    memo, given = Memo(), Input("a")

    assert list(memo.resource("r", resource, given)) == list(memo.resource("r", resource, given))
    assert memo.made == {"resource": 1}


def test_a_resource_that_cannot_be_made_keeps_its_last_bytes_and_is_reported() -> None:
    memo, kept = Memo(), LastMade()
    with memo.on_behalf_of("facet", kept):
        list(memo.resource("r", resource, Input("a")))

        assert list(memo.resource("r", resource, Input())) == ["made of a"]
    assert memo.broken == (Broken("r", "resource", "ValueError: nothing to say"),)


def test_what_is_broken_names_the_objects_that_it_was_to_be_made_of() -> None:
    """Wherever in the arguments they are, each once."""
    cluster, policy, route = (ObjectKey(kind, "web", "a") for kind in ("ServiceEntry", "Policy", "Route"))

    def breaks(*_: object) -> NoReturn:
        raise ValueError("nothing to say")

    class Made(Input):
        sources = (cluster, policy)

    class Declared(Input):
        source = policy

    class Undeclared(Input):
        source = None

    memo = Memo()
    list(memo.resource("r", breaks, Made(), "text", (Declared(), Undeclared()), route))

    assert [broken.sources for broken in memo.broken] == [(cluster, policy, route)]


def test_a_resource_that_never_could_be_made_is_left_out() -> None:
    memo = Memo()

    assert list(memo.resource("r", resource, Input())) == []
    assert [broken.resource for broken in memo.broken] == ["r"]


def test_one_facets_last_bytes_are_never_anothers() -> None:
    """Every workload has a listener of the same name; another's would let in whom that one lets in."""
    memo = Memo()
    with memo.on_behalf_of("one", LastMade()):
        list(memo.resource("virtualInbound", resource, Input("one")))

    with memo.on_behalf_of("other", LastMade()):
        assert list(memo.resource("virtualInbound", resource, Input())) == []


def test_what_can_be_made_again_is_not_broken_any_more() -> None:
    memo = Memo()
    list(memo.resource("r", resource, Input()))

    assert list(memo.resource("r", resource, Input("b"))) == ["made of b"]
    assert memo.broken == ()


def test_what_is_well_for_one_facet_may_be_broken_for_another() -> None:
    memo = Memo()
    with memo.on_behalf_of("one", LastMade()):
        list(memo.resource("r", resource, Input()))
    with memo.on_behalf_of("other", LastMade()):
        list(memo.resource("r", resource, Input("fine")))

    assert [broken.resource for broken in memo.broken] == ["r"]
    memo.forget_owner("one")
    assert memo.broken == ()


def assignment(given: Input) -> str:
    return f"endpoints of {given.text}"


def test_a_cluster_stays_broken_though_its_endpoints_of_the_same_name_are_not() -> None:
    memo = Memo()
    list(memo.resource("r", resource, Input()))
    list(memo.resource("r", assignment, Input()))

    assert [(broken.resource, broken.function) for broken in memo.broken] == [("r", "resource")]


def test_a_bug_is_logged_once_and_not_at_every_turn(caplog: pytest.LogCaptureFixture) -> None:
    memo = Memo()
    for _ in range(3):
        list(memo.resource("r", resource, Input()))

    assert [record.getMessage() for record in caplog.records] == ["resource broken"]


def test_the_end_of_the_process_is_not_taken_for_a_bug() -> None:
    with pytest.raises(KeyboardInterrupt):
        list(Memo().resource("r", cancelled, Input()))


def test_resources_made_on_the_way_to_another_live_as_long_as_it() -> None:
    memo = Memo()
    parts = Input("part"), Input("whole")

    def whole(part: Input, _whole: Input) -> list[str]:
        return list(memo.resource("part", resource, part))

    first = memo.get(whole, *parts)
    memo.begin_generation()
    assert memo.get(whole, *parts) is first
    memo.end_generation()
    list(memo.resource("part", resource, parts[0]))

    assert memo.made == {"whole": 1, "resource": 1}
