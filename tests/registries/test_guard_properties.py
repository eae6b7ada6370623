"""Whatever a registry says, and whenever: what the guard promises."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.kinds.guards import Guards
from registries.answers import Answer
from tests.support.guarded import Source

GUARDS = Guards()
DWELL = GUARDS.dwell.total_seconds()
HOSTS = ("a", "b", "c")
Said = dict[str, frozenset[int]]


@dataclass(frozen=True)
class Step:
    """Some seconds later the registry is heard or not, and says something."""

    after: float
    is_live: bool
    says: Said


def _numbers(host: str) -> st.SearchStrategy[frozenset[int]]:
    start = 100 * HOSTS.index(host)
    ranges = st.tuples(st.integers(0, 24), st.integers(0, 24)).map(
        lambda ends: frozenset(range(start + min(ends), start + max(ends)))
    )
    return st.one_of(st.just(frozenset()), ranges, st.frozensets(st.integers(start, start + 24)))


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from((0.0, 1.0, 4.0, 11.0, 31.0, 120.0, 299.0, 300.0)),
        st.sampled_from((True, True, True, False)),
        st.fixed_dictionaries({}, optional={host: _numbers(host) for host in HOSTS}),
    ),
    min_size=2,
    max_size=10,
)


def believed_of(answer: Answer, host: str) -> frozenset[int]:
    offer = answer.said("shop").offers.get(host)
    return frozenset(int(one.workload.name[1:]) for one in offer.instances) if offer else frozenset()


def is_drop(before: int, after: int) -> bool:
    return before > 10 and 2 * after < before


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_what_is_named_is_there_exactly_as_it_is_named(steps: list[Step]) -> None:
    source = Source()
    for step in steps:
        believed = source.says(step.says, after=step.after)
        source.guard.hear(source.now, is_live=step.is_live)
        for host, offer in source.said.said("shop").offers.items():
            there = believed.said("shop").offers[host]
            assert there.service is offer.service
            assert {id(instance) for instance in offer.instances} <= {id(one) for one in there.instances}
            assert list(there.instances) == sorted(there.instances, key=lambda one: one.place)
        assert source.said.said("shop").workloads.items() <= believed.said("shop").workloads.items()


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_what_is_lost_with_most_others_stays_for_the_time_in_which_the_registry_is_heard(
    steps: list[Step],
) -> None:
    source = Source()
    heard, is_live = 0.0, True
    promised: dict[tuple[str, int], tuple[float, int]] = {}
    before: Said = {}
    believed: Answer | None = None
    for step in steps:
        heard += step.after if is_live else 0.0
        was, believed = believed, source.says(step.says, after=step.after)
        total = sum(map(len, before.values()))
        is_all = is_drop(total, sum(map(len, step.says.values())))
        for host in HOSTS:
            now, then = step.says.get(host, frozenset()), before.get(host, frozenset())
            for key in [key for key in promised if key[0] == host]:
                # Back, or enough others are.
                if key[1] in now or not is_drop(promised[key][1], len(now)):
                    del promised[key]
            # Of the registry's own losses only what the next answer shows is promised here.
            for number in then - now if is_drop(len(then), len(now)) else ():
                promised[host, number] = heard, len(then)
            if is_all and was is not None:
                assert believed_of(was, host) - now <= believed_of(believed, host) | {
                    number
                    for number in believed_of(was, host)
                    if number not in then  # held from an earlier drop, with a time of its own
                }
        for (host, number), (since, _) in promised.items():
            if heard - since < DWELL:
                assert number in believed_of(believed, host)
        before, is_live = step.says, step.is_live
        source.guard.hear(source.now, is_live=is_live)


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_what_is_said_for_long_enough_is_believed(steps: list[Step]) -> None:
    source = Source()
    for step in steps:
        source.says(step.says, after=step.after)
        source.guard.hear(source.now, is_live=step.is_live)
    source.guard.hear(source.now, is_live=True)

    assert source.passes(DWELL) is source.said
    assert source.guard.deadline(source.now) is None
    assert not source.holds


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_looking_again_whenever_the_guard_asks_for_it_comes_to_an_end(steps: list[Step]) -> None:
    source = Source()
    for step in steps:
        source.says(step.says, after=step.after)
    looks = 0
    while (deadline := source.guard.deadline(source.now)) is not None:
        source.passes(max(deadline - source.now, 0.01))
        looks += 1
        assert looks < 50
    assert source.guard.believed is source.said


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_what_goes_below_half_of_the_most_within_the_dwell_is_held_in_however_many_steps(
    steps: list[Step],
) -> None:
    source = Source()
    heard, is_live = 0.0, True
    left: list[tuple[float, str, int]] = []
    before: Said = {}
    for step in steps:
        heard += step.after if is_live else 0.0
        believed = source.says(step.says, after=step.after)
        for host in HOSTS:
            now, then = step.says.get(host, frozenset()), before.get(host, frozenset())
            left.append((heard, host, len(then)))
            most = max(count for at, of, count in left if of == host and at + DWELL > heard)
            if is_drop(most, len(now)):
                assert then - now <= believed_of(believed, host)
        before, is_live = step.says, step.is_live
        source.guard.hear(source.now, is_live=is_live)
