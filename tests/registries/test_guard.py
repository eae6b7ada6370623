"""The guard, rule by rule: what is held, what flows, and for how long."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from mesh.kinds.guards import Guards
from mesh.services import ServiceKey
from registries.answers import Answer, Offer, Remark
from registries.drops import Moment
from registries.guard import Guard
from registries.holds import Held, Measure
from tests.support.answers import a_service, an_answer, an_instance, an_offer
from tests.support.guarded import NOON, Source

MINUTES = 60.0


def counts(answer: Answer) -> dict[str, int]:
    """How many instances each service has."""
    return {
        host: len(offer.instances)
        for said in answer.namespaces.values()
        for host, offer in said.offers.items()
    }


def numbers(answer: Answer, host: str) -> set[int]:
    return {int(i.workload.name[1:]) for i in answer.said("shop").offers[host].instances}


ALL = {"web": range(20)}
# Beside it, so that what one service loses is not half of the registry.
REST = {"rest": range(100, 200)}
REST_ALONE = {"rest": 100}


def test_an_answer_is_handed_on_as_it_is() -> None:
    guard = Guard(Guards())
    for answer in (an_answer(ALL), an_answer({"web": range(15)}), an_answer({"web": range(30)})):
        assert guard.take(answer, Moment(0.0, NOON)) is answer
    assert guard.deadline(0.0) is None


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        (20, 10, 10),  # half is not more than half
        (20, 9, 20),
        (20, 0, 20),
        (11, 5, 11),
        (10, 0, 0),  # 10 are not more than 10
        (1, 0, 0),
    ],
)
def test_more_than_the_share_of_more_than_so_many_is_held(before: int, after: int, left: int) -> None:
    source = Source()
    source.says({"web": range(before), **REST})

    assert counts(source.says({"web": range(after), **REST}))["web"] == left


def test_the_users_share_and_number_count() -> None:
    source = Source(Guards(share=20, above=3))
    source.says({"web": range(5), **REST})
    assert counts(source.says({"web": range(4), **REST}))["web"] == 4
    assert counts(source.says({"web": range(3), **REST}))["web"] == 4


def test_a_service_that_vanishes_stays_whole() -> None:
    source = Source()
    first = source.says({**ALL, **REST})

    believed = source.says(REST)

    assert believed.said("shop").offers["web"] is first.said("shop").offers["web"]
    assert counts(source.passes(4 * MINUTES + 59)) == {"web": 20, "rest": 100}
    assert counts(source.passes(1)) == {"rest": 100}


def test_a_small_service_that_vanishes_goes() -> None:
    source = Source()
    source.says({"web": range(10), **REST})
    assert counts(source.says(REST)) == {"rest": 100}


def test_what_is_added_and_changed_flows_while_removals_are_held() -> None:
    source = Source()
    source.says({**ALL, **REST})
    changed = an_instance(1, is_draining=True)

    believed = source.says({"web": [changed, 500], "new": [7], **REST})

    assert numbers(believed, "web") == {*range(20), 500}
    assert changed in believed.said("shop").offers["web"].instances
    assert counts(believed)["new"] == 1
    places = [instance.place for instance in believed.said("shop").offers["web"].instances]
    assert places == sorted(places)


def test_a_service_that_changed_is_believed_with_the_instances_that_are_held() -> None:
    source = Source()
    source.says({**ALL, **REST})
    service = replace(a_service("web"), addresses=("10.9.0.1",))

    believed = source.says(an_answer([Offer(service, ()), an_offer("rest", range(100, 200))]))

    assert believed.said("shop").offers["web"].service.addresses == ("10.9.0.1",)
    assert counts(believed)["web"] == 20


def test_instances_that_are_no_longer_ready_are_held_like_those_that_are_gone() -> None:
    source = Source()
    source.says({**ALL, **REST})
    unready = Offer(a_service("web"), (), tuple(an_instance(n) for n in range(20)))

    offer = source.says(an_answer([unready, an_offer("rest", range(100, 200))])).said("shop").offers["web"]

    assert (len(offer.instances), len(offer.unready)) == (20, 0)
    offer = source.passes(5 * MINUTES).said("shop").offers["web"]
    assert (len(offer.instances), len(offer.unready)) == (0, 20)


def test_a_set_that_is_replaced_is_no_drop() -> None:
    source = Source()
    source.says({**ALL, **REST})
    assert numbers(source.says({"web": range(50, 70), **REST}), "web") == {*range(50, 70)}


def test_an_instance_that_drains_is_there() -> None:
    source = Source()
    source.says({**ALL, **REST})
    believed = source.says({"web": [an_instance(n, is_draining=True) for n in range(20)], **REST})
    assert not source.holds
    assert all(instance.is_draining for instance in believed.said("shop").offers["web"].instances)


def test_an_instance_that_moves_to_another_port_or_address_is_not_missing() -> None:
    source = Source()
    source.says({**ALL, **REST})

    believed = source.says({"web": [an_instance(0, port=9090), an_instance(300, name="w1"), 2, 3, 4], **REST})

    offer = believed.said("shop").offers["web"]
    assert len(offer.instances) == 20
    assert [i.ports for i in offer.instances if i.workload.name == "w0"] == [((80, 9090),)]
    assert [i.workload.address for i in offer.instances if i.workload.name == "w1"] == ["10.0.1.44"]


def test_an_instance_that_returns_elsewhere_later_is_no_longer_missing() -> None:
    source = Source()
    source.says({**ALL, **REST})
    source.says({"web": range(3), **REST})

    believed = source.says({"web": [0, 1, 2, an_instance(19, port=9090)], **REST})

    assert [i.ports for i in believed.said("shop").offers["web"].instances if i.workload.name == "w19"] == [
        ((80, 9090),)
    ]


def test_one_that_bleeds_away_in_several_answers_is_held_where_the_line_is_crossed() -> None:
    source = Source()
    source.says({**ALL, **REST})
    for left in (16, 13, 10):
        assert counts(source.says({"web": range(left), **REST}, after=2))["web"] == left
    assert counts(source.says({"web": range(7), **REST}, after=2))["web"] == 10


def test_one_that_shrinks_slowly_is_believed() -> None:
    source = Source()
    source.says({**ALL, **REST})
    for left in (16, 13, 10, 7, 4):
        assert counts(source.says({"web": range(left), **REST}, after=150))["web"] == left
    assert not source.holds


def test_a_registry_that_bleeds_to_zero_over_two_minutes_is_held_at_half() -> None:
    source = Source()
    source.says({"web": range(60)})
    for left in range(59, -1, -1):
        believed = source.says({"web": range(left)} if left else {}, after=2)
        assert counts(believed)["web"] == max(left, 30)
    # Each is believed in its turn, when it has been missing for the dwell.
    assert counts(source.passes(4 * MINUTES))["web"] == 30
    assert counts(source.passes(2)) == {"web": 29}
    assert counts(source.passes(2 * MINUTES)) == {}


def test_great_steps_just_longer_than_a_moment_are_one_drop() -> None:
    source = Source()
    source.says({"web": range(100)})
    left = [counts(source.says({"web": range(said)}, after=10.1))["web"] for said in (60, 36, 22, 14, 9, 0)]
    assert left == [60] * 6


def test_a_service_that_is_scaled_down_within_the_dwell_shrinks_to_half_and_then_goes() -> None:
    source = Source()
    source.says({"web": range(50), **REST})
    believed = [
        counts(source.says({"web": range(said), **REST}, after=60))["web"] for said in (45, 40, 35, 30, 20)
    ]
    assert believed == [45, 40, 35, 30, 30]
    assert [(held.missing, held.of) for held in source.holds] == [(10, 30)]
    assert counts(source.passes(5 * MINUTES))["web"] == 20


def test_a_number_that_was_left_before_an_outage_is_what_the_first_answer_after_it_is_measured_against() -> (
    None
):
    source = Source()
    source.says({"web": range(60), **REST})
    source.says({"web": range(31), **REST})
    source.guard.hear(source.now, is_live=False)
    source.now += 60 * MINUTES
    source.guard.hear(source.now, is_live=True)
    assert counts(source.says({"web": range(20), **REST}))["web"] == 31


def test_many_small_losses_are_one_of_the_registry() -> None:
    source = Source()
    services = {f"s{n}": range(3 * n, 3 * n + 3) for n in range(10)}
    first = source.says(services)

    believed = source.says({"s0": range(3), "s1": range(3, 6)})

    assert believed is first
    assert [(held.service, held.measure, held.missing, held.of) for held in source.holds] == [
        (None, Measure.INSTANCES, 24, 30),
        (None, Measure.WORKLOADS, 24, 30),
    ]
    assert counts(source.passes(5 * MINUTES)) == {"s0": 3, "s1": 3}


def test_services_without_instances_are_counted_too() -> None:
    source = Source()
    first = source.says({f"s{n}": [] for n in range(12)})

    assert source.says({"s0": []}) is first
    assert [(held.measure, held.missing, held.of) for held in source.holds] == [(Measure.SERVICES, 11, 12)]
    assert counts(source.passes(5 * MINUTES)) == {"s0": 0}


def test_workloads_that_vanish_at_once_are_held() -> None:
    source = Source()
    full = an_answer(ALL)
    source.says(full)

    bare = an_answer(full.said("shop").offers.values(), workloads=())

    assert source.says(bare).said("shop").workloads == full.said("shop").workloads
    assert not source.passes(5 * MINUTES).said("shop").workloads


def test_a_workload_stays_as_long_as_its_instance() -> None:
    source = Source()
    idle = [an_instance(900).workload]
    rest = an_offer("rest", range(100, 200))
    busy = [instance.workload for instance in rest.instances]
    web = an_offer("web", range(20))
    source.says(an_answer([web, rest], workloads=[*busy, *idle, *(i.workload for i in web.instances)]))

    believed = source.says(
        an_answer([an_offer("web", [0]), rest], workloads=[*busy, an_instance(0).workload])
    )

    # Nobody's, and its loss is none of the service's.
    assert "w900" not in believed.said("shop").workloads
    assert {f"w{n}" for n in range(20)} <= believed.said("shop").workloads.keys()
    assert len(source.passes(5 * MINUTES).said("shop").workloads) == 101


def test_remarks_are_never_held() -> None:
    source = Source()
    source.says(ALL)
    remark = Remark(about="web", message="no such port")

    assert source.says(an_answer({}, remarks=(remark,))).remarks == (remark,)


def test_the_time_counts_for_each_instance_by_itself() -> None:
    source = Source()
    source.says({**ALL, **REST})
    source.says({"web": range(8), **REST})
    assert counts(source.says({"web": range(5), **REST}, after=2 * MINUTES))["web"] == 20

    assert numbers(source.passes(3 * MINUTES), "web") == {*range(8)}
    assert source.guard.deadline(source.now) is not None


def test_one_that_returns_and_leaves_again_has_its_time_anew() -> None:
    source = Source()
    source.says({**ALL, **REST})
    source.says({"web": range(5), **REST})
    source.says({"web": range(6), **REST}, after=4 * MINUTES)
    source.says({"web": range(5), **REST}, after=10)

    assert numbers(source.passes(50), "web") == {*range(6)}


def test_time_in_which_the_registry_is_not_heard_does_not_count() -> None:
    source = Source()
    source.says({**ALL, **REST})
    source.says({"web": [], **REST})
    source.now += 4 * MINUTES
    source.guard.hear(source.now, is_live=False)

    assert counts(source.passes(60 * MINUTES))["web"] == 20
    assert source.guard.deadline(source.now) is None
    assert [held.believed_at for held in source.holds] == [None]

    source.guard.hear(source.now, is_live=True)
    assert source.guard.deadline(source.now) == source.now + 60
    assert counts(source.passes(59))["web"] == 20
    assert counts(source.passes(1))["web"] == 0


def test_a_source_that_comes_back_is_seen_by_nobody() -> None:
    source = Source()
    first = counts(source.says({**ALL, **REST}))
    for left in (0, 5, 9, 20):
        assert counts(source.says({"web": range(left), **REST}, after=20)) == first
    assert not source.holds
    assert source.guard.deadline(source.now) is None


def test_a_source_that_comes_back_in_pieces_is_seen_by_nobody() -> None:
    source = Source()
    first = counts(source.says({**ALL, **REST}))
    # Enough are back from the third on, and more come within half a minute of each other.
    for left in (0, 6, 12, 14, 16, 20):
        assert counts(source.says({"web": range(left), **REST}, after=29)) == first


def test_what_does_not_come_back_with_the_others_is_believed_half_a_minute_later() -> None:
    source = Source()
    source.says({**ALL, **REST})
    source.says({"web": [], **REST})
    source.says({"web": range(15), **REST})

    assert source.guard.deadline(source.now) == source.now + 30
    assert len(numbers(source.passes(29), "web")) == 20
    assert numbers(source.passes(1), "web") == {*range(15)}


def test_a_set_that_is_replaced_one_after_the_other_is_believed_when_enough_are_there() -> None:
    source = Source()
    source.says({**ALL, **REST})
    source.says({"web": [], **REST}, after=5)
    for there in (5, 10, 15, 20):
        source.says({"web": range(500, 500 + there), **REST}, after=10)

    assert numbers(source.passes(10), "web") == {*range(500, 520)}


def test_a_drop_that_goes_on_while_it_is_over_is_none_that_is_over() -> None:
    source = Source()
    source.says({**ALL, **REST})
    source.says({"web": [], **REST})
    source.says({"web": range(12), **REST})
    source.says({"web": [], **REST}, after=10)

    assert len(numbers(source.passes(60), "web")) == 20
    # Those that were back have their time anew.
    assert numbers(source.passes(4 * MINUTES - 80), "web") == {*range(20)}


def test_an_old_loss_that_is_believed_does_not_end_the_hold_of_a_new_one() -> None:
    source = Source()
    source.says({"web": range(11)})
    source.says({})
    source.says({"web": [*range(10), 11]}, after=0)
    # One is still missing since then, and believed in the very moment in which the others go.
    source.says({}, after=5 * MINUTES)
    assert numbers(source.passes(31), "web") == {*range(10), 11}


def test_small_changes_after_a_great_one_was_believed_are_none_of_it() -> None:
    source = Source()
    source.says({"web": range(100), **REST})
    source.says({"web": range(30), **REST})
    source.says({"web": range(29), **REST}, after=4 * MINUTES)
    assert numbers(source.passes(1 * MINUTES), "web") == {*range(30)}
    assert numbers(source.passes(30), "web") == {*range(29)}


def test_the_operators_word_believes_everything_at_once() -> None:
    source = Source()
    source.says({**ALL, **REST})
    source.says({})
    assert source.holds

    source.guard.release()

    assert counts(source.passes(0)) == {}
    assert not source.holds
    assert source.guard.deadline(source.now) is None
    # And what follows is measured against what is left.
    assert counts(source.says({"web": range(3)}, after=0)) == {"web": 3}
    assert counts(source.says({}, after=0)) == {}


def test_a_guard_that_is_disabled_lets_nothing_go_that_is_held_already() -> None:
    source = Source()
    source.says({**ALL, **REST})
    source.says({})
    source.guard.configure(Guards(disabled=True))

    assert counts(source.passes(4 * MINUTES)) == {"web": 20, "rest": 100}
    assert counts(source.passes(1 * MINUTES)) == {}

    source.says({**ALL, **REST})
    assert counts(source.says({})) == {}


def test_a_guard_that_is_disabled_while_a_registry_bleeds_holds_the_rest_as_well() -> None:
    source = Source()
    source.says({**ALL, **REST})
    source.says(REST)
    source.guard.configure(Guards(disabled=True))
    assert counts(source.says({"rest": range(100, 101)}))["web"] == 20


def test_another_share_and_dwell_hold_for_what_is_held_later() -> None:
    source = Source()
    source.says({**ALL, **REST})
    source.says({"web": [], **REST})
    source.guard.configure(Guards(share=90, dwell=timedelta(minutes=1)))
    assert [held.believed_at for held in source.holds] == [source.moment.wall + timedelta(minutes=5)]
    assert len(numbers(source.passes(4 * MINUTES), "web")) == 20
    assert numbers(source.passes(1 * MINUTES), "web") == set()

    assert counts(source.says({"web": [], "rest": range(100, 120)}))["rest"] == 20
    assert counts(source.says({"web": []}))["rest"] == 20
    assert counts(source.passes(1 * MINUTES)) == {"web": 0}


def test_the_first_answer_after_a_restart_is_measured_against_what_was_kept() -> None:
    kept = an_answer({**ALL, **REST})
    source = Source(kept=kept)
    assert source.guard.believed is kept
    assert source.says({}) is kept
    assert counts(source.passes(5 * MINUTES)) == {}


def test_what_is_held_is_told() -> None:
    source = Source()
    source.says({**ALL, **REST})
    source.says({"web": range(5), **REST})
    at = NOON + timedelta(seconds=120)
    held = Held(
        service=ServiceKey("web", "shop"),
        measure=Measure.INSTANCES,
        missing=15,
        of=20,
        since=at,
        believed_at=at + timedelta(minutes=5),
    )
    assert source.holds == (held,)
    source.passes(60)
    assert source.holds == (held,)
    assert source.guard.counts == (120, 2, 120)


def test_only_what_changed_is_looked_at() -> None:
    source = Source()
    source.says({f"s{n}": range(20 * n, 20 * n + 20) for n in range(50)})
    source.says({f"s{n}": range(20 * n, 20 * n + (20 if n else 19)) for n in range(50)})
    assert source.guard.looked_at == 1
    source.says({f"s{n}": range(20 * n, 20 * n + (20 if n else 3)) for n in range(50)})
    assert source.guard.looked_at == 2


def test_what_does_not_change_stays_the_same_object_while_something_is_held() -> None:
    source = Source()
    offers = [an_offer("web", range(20)), an_offer("rest", range(100, 200)), an_offer("far", [1], "away")]
    first = source.says(an_answer(offers))
    believed = source.says(an_answer([an_offer("web", [0]), *offers[1:], an_offer("new", [9])]))

    assert believed.said("away") is first.said("away")
    for host in ("web", "rest"):
        assert believed.said("shop").offers[host] is first.said("shop").offers[host]
    assert source.passes(1) is believed


def test_one_service_that_stays_away_is_held_longer_than_the_rest_of_the_registry() -> None:
    source = Source()
    source.says({**ALL, **REST, "small": [900]})
    source.says({})
    source.says(REST)

    believed = source.passes(30)

    assert counts(believed) == {"web": 20, "rest": 100}
    # The workloads of what is held stay with it, and no other.
    assert len(believed.said("shop").workloads) == 120
    assert [(held.service, held.missing) for held in source.holds] == [(ServiceKey("web", "shop"), 20)]
    assert counts(source.passes(4 * MINUTES)) == REST_ALONE


def test_services_that_have_settled_are_no_longer_remembered() -> None:
    source = Source()
    source.says({**ALL, **REST})
    source.says({"web": [0], **REST})
    source.passes(5 * MINUTES)
    source.says({"web": [0], "rest": range(100, 199)})
    source.says({"web": [0], "rest": range(100, 200)}, after=5 * MINUTES)
    assert source.guard._services == {}
