"""What a stream wants: every state and every input."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xds import envoy
from xds.subscription import EVERYTHING, Asked, Interest, heard


def some(*names: str) -> Interest:
    return Interest(wildcard=False, names=frozenset(names))


def all_and(*names: str) -> Interest:
    return Interest(wildcard=True, names=frozenset(names))


def asked(answer: str = "", dropped: str = "", *, widened: bool = False, narrowed: bool = False) -> Asked:
    return Asked(answer=frozenset(answer), dropped=frozenset(dropped), widened=widened, narrowed=narrowed)


# before, subscribe, unsubscribe -> after, asked. Names are single letters, "*" is the wildcard.
TABLE = [
    (None, "", "", EVERYTHING, asked(widened=True)),
    (None, "*", "", EVERYTHING, asked(widened=True)),
    (None, "a", "", some("a"), asked("a")),
    (None, "*a", "", all_and("a"), asked("a", widened=True)),
    (None, "", "a", EVERYTHING, asked(dropped="a", widened=True)),
    (EVERYTHING, "", "", EVERYTHING, asked()),
    (EVERYTHING, "*", "", EVERYTHING, asked()),
    (EVERYTHING, "a", "", all_and("a"), asked("a")),
    (EVERYTHING, "", "a", EVERYTHING, asked(dropped="a")),
    (EVERYTHING, "", "*", some(), asked(narrowed=True)),
    (EVERYTHING, "a", "*", some("a"), asked("a", narrowed=True)),
    (all_and("a"), "", "a", EVERYTHING, asked("a")),
    (all_and("a"), "", "*", some("a"), asked(narrowed=True)),
    (all_and("a"), "a", "", all_and("a"), asked("a")),
    (all_and("a"), "", "*a", some(), asked(dropped="a", narrowed=True)),
    (some("a"), "", "", some("a"), asked()),
    (some("a"), "a", "", some("a"), asked("a")),
    (some("a"), "b", "", some("a", "b"), asked("b")),
    (some("a"), "", "a", some(), asked(dropped="a")),
    (some("a"), "b", "a", some("b"), asked("b", dropped="a")),
    (some("a"), "a", "a", some("a"), asked("a")),
    (some("a"), "", "b", some("a"), asked(dropped="b")),
    (some("a"), "", "*", some("a"), asked()),
    (some("a"), "*", "", all_and("a"), asked(widened=True)),
    (some(), "", "", some(), asked()),
]


@pytest.mark.parametrize(("before", "subscribe", "unsubscribe", "after", "said"), TABLE)
def test_each_input_in_each_state(
    before: Interest | None, subscribe: str, unsubscribe: str, after: Interest, said: Asked
) -> None:
    assert heard(before, envoy.CLUSTER, subscribe, unsubscribe) == (after, said)


@pytest.mark.parametrize("type_url", [envoy.ENDPOINTS, envoy.ROUTES, envoy.SECRET])
def test_silence_means_everything_for_clusters_and_listeners_alone(type_url: str) -> None:
    assert heard(None, type_url, "", "") == (some(), asked())
    assert heard(None, envoy.LISTENER, "", "") == (EVERYTHING, asked(widened=True))


words = st.sets(st.sampled_from("*abc"))


@settings(deadline=None)
@given(st.lists(st.tuples(words, words), min_size=1))
def test_a_named_name_stays_until_it_is_let_go(requests: list[tuple[set[str], set[str]]]) -> None:
    """The interest is what the words say, whatever came before; every question is answered."""
    interest, names = None, set[str]()
    for subscribe, unsubscribe in requests:
        interest, said = heard(interest, envoy.ENDPOINTS, subscribe, unsubscribe)
        names = (names - unsubscribe) | (subscribe - {"*"})
        assert interest.names == names
        assert subscribe - {"*"} <= said.answer
        assert said.answer.isdisjoint(said.dropped)
