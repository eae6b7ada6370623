"""What belongs together in a cluster, and how little is done when something changes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.clock import breathe
from mesh.kinds.selectors import LabelSelector, LabelSelectorRequirement
from registries.kubernetes import inventory, objects
from registries.kubernetes.reading import Reading
from tests.support.cluster_objects import (
    a_namespace,
    a_node,
    a_pod,
    a_service,
    a_slice,
    an_endpoint,
)
from tests.support.cluster_registries import serving
from tests.support.cluster_states import PARSERS, ClusterState, places, told

SHOPS = Reading(
    registry="east",
    discovery_selectors=(
        LabelSelector(match_expressions=(LabelSelectorRequirement(key="mesh", operator="Exists"),)),
    ),
)


async def a_large_cluster() -> ClusterState:
    """Twenty Services of five Pods each."""
    state = ClusterState()
    for number in range(20):
        app = f"app{number}"
        state.put("service", a_service(app))
        pods = [(f"{app}-{pod}", f"10.{number}.0.{pod}") for pod in range(5)]
        state.put("pod", *(a_pod(name, address=address) for name, address in pods))
        state.put("slice", a_slice(*(an_endpoint(name, address) for name, address in pods), service=app))
    state.put("node", a_node())
    await state.answer()
    return state


async def joins(state: ClusterState, kind: str, item: dict[str, Any]) -> int:
    before = state.inventory.joins
    state.put(kind, item)
    await state.answer()
    return state.inventory.joins - before


async def test_a_slice_joins_its_own_service_and_no_other() -> None:
    state = await a_large_cluster()

    assert await joins(state, "slice", a_slice(an_endpoint("app3-0", "10.3.0.0"), service="app3")) == 1


async def test_a_pod_joins_the_services_that_it_is_behind() -> None:
    state = await a_large_cluster()

    assert await joins(state, "pod", a_pod("app3-0", address="10.3.0.0", labels={"version": "v2"})) == 1


async def test_what_a_kubelet_reports_of_a_pod_joins_nothing_as_long_as_it_does_not_matter() -> None:
    state = await a_large_cluster()
    busy = a_pod("app3-0", address="10.3.0.0", containerStatuses=[{"restartCount": 7}])

    assert await joins(state, "pod", busy) == 0


async def test_a_node_joins_only_when_it_has_moved() -> None:
    state = await a_large_cluster()

    assert await joins(state, "node", a_node()) == 0
    assert await joins(state, "node", a_node(zone="eu-2")) == 20


async def test_a_namespace_joins_only_when_it_is_read_from_now_on() -> None:
    state = await a_large_cluster()

    assert await joins(state, "namespace", a_namespace(team="a")) == 0


async def test_what_did_not_change_stays_the_same_object() -> None:
    state = await a_large_cluster()
    before = await state.answer()
    state.put("pod", a_pod("app3-0", address="10.3.0.0", labels={"version": "v2"}))
    after = await state.answer()

    def offers(answer: Any) -> dict[str, Any]:
        return dict(answer.said("shop").offers.items())

    changed = [host for host, offer in offers(after).items() if offer is not offers(before)[host]]
    assert changed == ["app3.shop.svc.cluster.local"]
    old, new = offers(before)[changed[0]], offers(after)[changed[0]]
    assert [a is b for a, b in zip(old.instances, new.instances, strict=True)] == [
        False,
        True,
        True,
        True,
        True,
    ]
    assert old.service is new.service


async def test_the_instance_of_a_pod_holds_the_very_workload_of_the_pod() -> None:
    state = await a_large_cluster()
    said = (await state.answer()).said("shop")

    assert said.offers["app3.shop.svc.cluster.local"].instances[0].workload is said.workloads["app3-0"]


async def test_a_namespace_that_is_not_selected_is_as_if_absent_until_it_is() -> None:
    state = ClusterState(SHOPS)
    state.put("service", a_service())
    state.put("pod", a_pod())
    state.put("slice", a_slice(an_endpoint()))
    seen = []
    for labels in (None, {}, {"mesh": "yes"}, {}):
        if labels is not None:
            state.put("namespace", a_namespace("shop", **labels))
        answer = await state.answer()
        seen.append((answer.services, answer.instances, len(answer.said("shop").workloads)))

    assert seen == [(0, 0, 0), (0, 0, 0), (1, 1, 1), (0, 0, 0)]


async def test_a_service_deleted_and_created_again_keeps_no_stale_endpoint() -> None:
    """istio#36510."""
    state = ClusterState()
    state.put("service", a_service())
    state.put("pod", a_pod("reviews-1", address="10.1.0.1"), a_pod("reviews-2", address="10.1.0.2"))
    state.put("slice", a_slice(an_endpoint("reviews-1", "10.1.0.1")))
    await state.answer()
    state.drop("service", ("shop", "reviews"))
    state.drop("slice", ("shop", "reviews-a"))
    assert await state.offer() is None
    state.put("service", a_service())
    state.put("slice", a_slice(an_endpoint("reviews-2", "10.1.0.2"), name="reviews-b"))
    offer = await state.offer()

    assert offer is not None
    assert places(offer.instances) == ["10.1.0.2:{9080: 8080}"]


async def test_a_healthy_endpoint_that_is_deleted_is_withdrawn() -> None:
    """istio#38069."""
    state = ClusterState()
    state.put("service", a_service())
    state.put("pod", a_pod())
    state.put("slice", a_slice(an_endpoint()))
    await state.answer()
    state.put("slice", a_slice())
    offer = await state.offer()

    assert offer is not None
    assert offer.instances == ()


async def test_a_rollout_is_no_outage_though_slices_are_heard_before_the_pods_they_name() -> None:
    state = ClusterState()
    state.put("service", a_service())
    state.put("pod", a_pod("reviews-1", address="10.1.0.1"))
    state.put("slice", a_slice(an_endpoint("reviews-1", "10.1.0.1")))
    await state.answer(0)
    state.put("slice", a_slice(an_endpoint("reviews-2", "10.1.0.2")))
    ahead = serving(await state.answer(1))
    state.put("pod", a_pod("reviews-2", address="10.1.0.2"))
    agreed = serving(await state.answer(2))
    state.put("slice", a_slice(an_endpoint("reviews-3", "10.1.0.3")))
    later = [serving(await state.answer(now)) for now in (3, 4, 5)]

    assert (ahead, agreed) == (["10.1.0.1"], ["10.1.0.2"])
    assert later == [["10.1.0.2"], ["10.1.0.2"], []]
    assert not state.inventory.is_waiting


async def test_a_pod_whose_labels_change_leaves_the_service_that_selected_it() -> None:
    state = ClusterState()
    state.put("service", a_service())
    state.put("pod", a_pod())
    before = await state.offer()
    state.put("pod", a_pod(app="another"))
    after = await state.offer()

    assert before is not None
    assert after is not None
    assert (len(before.unready), len(after.unready)) == (1, 0)


async def test_a_service_that_selects_others_forgets_those_it_selected() -> None:
    state = ClusterState()
    state.put("pod", a_pod("reviews-1", address="10.1.0.1"), a_pod("ratings-1", address="10.1.0.2"))
    found = []
    for app in ("reviews", "ratings"):
        state.put("service", a_service(selector={"app": app}))
        offer = await state.offer()
        assert offer is not None
        found.append([one.workload.name for one in offer.unready])

    assert found == [["reviews-1"], ["ratings-1"]]


async def test_a_pod_that_is_replaced_while_the_answer_is_made_is_not_mixed_with_its_successor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inventory, "_AT_ONCE", 1)
    state = ClusterState()
    state.put("service", a_service())
    state.put("pod", *(a_pod(f"reviews-{number}", address=f"10.1.0.{number}") for number in range(5)))
    state.put("slice", a_slice(an_endpoint("reviews-0", "10.1.0.0")))
    making = asyncio.create_task(state.answer())
    for _ in range(4):
        await breathe()
    for number in range(5):
        successor = a_pod(f"reviews-{number}", address=f"10.2.0.{number}", uid="new", labels={"is": "new"})
        state.put("pod", successor)
    state.put("slice", a_slice(an_endpoint("reviews-0", "10.2.0.0", uid="new")))
    offer = (await making).said("shop").offers["reviews.shop.svc.cluster.local"]

    (instance,) = offer.instances
    assert (instance.workload.address, dict(instance.workload.labels).get("is")) == ("10.2.0.0", "new")


async def test_a_service_scaled_to_nothing_is_empty_at_once() -> None:
    state = ClusterState()
    state.put("service", a_service())
    state.put("pod", a_pod())
    state.put("slice", a_slice(an_endpoint()))
    await state.answer(0)
    state.drop("pod", ("shop", "reviews-1"))
    state.put("slice", a_slice())

    assert serving(await state.answer(0)) == []


# Random histories. Few names, so that they meet.

APPS, PODS, NODES, SPACES = ("a", "b"), (0, 1, 2), ("node-a", "node-b"), ("shop", "bank")
ADDRESSES = st.integers(1, 4).map(lambda number: f"10.1.0.{number}")
FLAGS = st.booleans()
SERVICES = st.builds(
    lambda app, space, selected, is_headless: (
        "service",
        a_service(
            app,
            space,
            selector={"app": selected} if selected else None,
            clusterIPs=["None" if is_headless else "10.96.0.1"],
        ),
    ),
    st.sampled_from(APPS),
    st.sampled_from(SPACES),
    st.sampled_from((*APPS, "")),
    FLAGS,
)
POD_OBJECTS = st.builds(
    lambda app, number, space, address, node, uid, is_over: (
        "pod",
        a_pod(
            f"pod-{number}",
            space,
            app=app,
            address=address,
            node=node,
            uid=uid,
            phase="Failed" if is_over else "Running",
        ),
    ),
    st.sampled_from(APPS),
    st.sampled_from(PODS),
    st.sampled_from(SPACES),
    ADDRESSES | st.just(""),
    st.sampled_from(NODES),
    st.sampled_from(("u1", "u2")),
    FLAGS,
)
ENDPOINTS = st.builds(
    lambda pod, address, uid, ready, serving, terminating: an_endpoint(
        pod, address, uid=uid, ready=ready, serving=serving, terminating=terminating
    ),
    st.sampled_from((*(f"pod-{number}" for number in PODS), None)),
    ADDRESSES,
    st.sampled_from(("u1", "u2")),
    FLAGS,
    FLAGS,
    FLAGS,
)
SLICES = st.builds(
    lambda app, number, space, endpoints: (
        "slice",
        a_slice(
            *({**one, **_in(one, space)} for one in endpoints),
            service=app,
            name=f"slice-{number}",
            namespace=space,
        ),
    ),
    st.sampled_from(APPS),
    st.integers(0, 2),
    st.sampled_from(SPACES),
    st.lists(ENDPOINTS, max_size=3),
)
NODE_OBJECTS = st.builds(
    lambda name, zone: ("node", a_node(name, zone=zone)),
    st.sampled_from(NODES),
    st.sampled_from(("z1", "z2")),
)
NAMESPACES = st.builds(
    lambda name, is_seen: ("namespace", a_namespace(name, **({"mesh": "yes"} if is_seen else {}))),
    st.sampled_from(SPACES),
    FLAGS,
)
PUTS = st.one_of(SERVICES, POD_OBJECTS, SLICES, NODE_OBJECTS, NAMESPACES)
EVENTS = st.lists(st.tuples(PUTS, st.sampled_from(("put", "put", "put", "drop", "answer"))), max_size=40)


def _in(endpoint: dict[str, Any], space: str) -> dict[str, Any]:
    target = endpoint.get("targetRef")
    return {"targetRef": {**target, "namespace": space}} if target else {}


@settings(max_examples=300, deadline=None)
@given(EVENTS, st.sampled_from((Reading(registry="east"), SHOPS)))
def test_after_any_history_the_answer_is_that_of_a_full_recompute(
    events: list[tuple[tuple[str, dict[str, Any]], str]], reading: Reading
) -> None:
    """Endpoints were lost, or dead ones kept, after rollouts (istio#52110, #54539, #43950)."""

    async def play() -> None:
        state = ClusterState(reading)
        last: dict[tuple[str, objects.Key], dict[str, Any]] = {}
        for (kind, item), what in events:
            key = PARSERS[kind](item).key
            if what == "drop":
                state.drop(kind, key)
                last.pop((kind, key), None)
            else:
                state.put(kind, item)
                last[kind, key] = item
            if what == "answer":
                await state.answer()
        afresh = ClusterState(reading)
        for (kind, _), item in reversed(last.items()):
            afresh.put(kind, item)

        assert told(await state.answer()) == told(await afresh.answer())

    asyncio.run(play())


@settings(max_examples=100, deadline=None)
@given(st.lists(PUTS, max_size=25), st.lists(PUTS, max_size=25))
def test_a_new_list_leaves_nothing_of_what_it_does_not_name(
    before: list[tuple[str, dict[str, Any]]], after: list[tuple[str, dict[str, Any]]]
) -> None:
    """Deletions that were missed in a gap are found by comparing with what is known (tombstones)."""

    async def play() -> None:
        state, afresh = ClusterState(), ClusterState()
        for kind, item in before:
            state.put(kind, item)
        await state.answer()
        for kind, parse in PARSERS.items():
            listed = {parse(item).key: parse(item) for one, item in after if one == kind}
            await state.table(kind).replace(list(listed.values()), {})
            await afresh.table(kind).replace(list(listed.values()), {})

        assert told(await state.answer()) == told(await afresh.answer())

    asyncio.run(play())
