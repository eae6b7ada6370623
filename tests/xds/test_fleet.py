"""Who is told what, and when a revision is live."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable

import pytest

from mesh.clock import breathe
from mesh.identity import SpiffeId
from mesh.proxies import Interception, Role
from mesh.scope import Scope
from mesh.services import ServiceKey
from mesh.views import EndpointsView, OutboundView
from mesh.world import World
from tests.support.config import (
    a_mesh,
    a_port,
    a_service,
    a_virtual_service,
    a_workload,
    document,
)
from tests.support.fleets import (
    HurriedClock,
    a_caller,
    a_fleet,
    a_node,
    accept,
    has,
    refuse,
    until,
)
from xds import envoy
from xds.admission import NotAdmitted, Reason
from xds.directory import Caller, Refusal
from xds.facets import Bench, InboundFacet, Made, OutboundFacet, Turn
from xds.member import Member
from xds.workshop import Seat, Workshop

MESH = (
    a_service("reviews"),
    a_service("ratings"),
    a_service("shop", "web", exportTo=["."]),
    a_workload("reviews", "10.0.0.1"),
    a_workload("ratings", "10.0.0.2"),
    a_workload("shop", "10.0.0.3", "web"),
)
REVIEWS = "outbound|9080||reviews.bookinfo.svc.cluster.local"


def versions(*members: Member) -> list[int]:
    return [member.assignment.version for member in members]


def denial(name: str, namespace: str = "bookinfo") -> str:
    return document("AuthorizationPolicy", name, namespace, action="DENY", rules=[{}])


async def test_a_proxy_that_joins_is_given_everything_it_shall_have() -> None:
    async with a_fleet(*MESH) as mesh:
        member = await mesh.join("reviews")

        assert REVIEWS in has(member, envoy.CLUSTER)
        assert "inbound|9080||" in has(member, envoy.CLUSTER)
        assert REVIEWS in has(member, envoy.ENDPOINTS)
        assert {"virtualOutbound", "virtualInbound"} <= has(member, envoy.LISTENER).keys()
        assert "9080" in has(member, envoy.ROUTES)
        assert member.assignment.value.revision == "r1"


async def test_proxies_of_one_namespace_share_their_facets_but_the_inbound_one() -> None:
    async with a_fleet(*MESH) as mesh:
        reviews, ratings, shop = [
            await mesh.join("reviews"),
            await mesh.join("ratings"),
            await mesh.join("shop", "web"),
        ]

        def facet(member: Member, kind: type) -> object:
            (found,) = (one for one in member.facets if isinstance(one, kind))
            return found

        assert facet(reviews, OutboundFacet) is facet(ratings, OutboundFacet)
        assert facet(reviews, OutboundFacet) is not facet(shop, OutboundFacet)
        assert facet(reviews, InboundFacet) is not facet(ratings, InboundFacet)
        assert reviews.facets[-1] is shop.facets[-1]


async def test_two_that_are_equal_share_every_part() -> None:
    second = a_workload("reviews", "10.0.0.9", name="twin-1", serviceAccount="twin")
    async with a_fleet(*MESH, second) as mesh:
        one, twin = await mesh.join("reviews"), await mesh.join("twin")

        assert one.facets == twin.facets
        assert one.assignment.value == twin.assignment.value


async def test_a_change_in_one_namespace_is_told_to_those_who_see_it_alone() -> None:
    async with a_fleet(*MESH) as mesh:
        members = await mesh.join("reviews"), await mesh.join("ratings"), await mesh.join("shop", "web")
        before = versions(*members)
        await mesh.publish(
            *MESH,
            document(
                "DestinationRule",
                "shop",
                "web",
                host="shop",
                subsets=[{"name": "v1", "labels": {"v": "1"}}],
                exportTo=["."],
            ),
        )
        assert versions(*members) == [before[0], before[1], before[2] + 1]

        await mesh.publish(*MESH)
        before = versions(*members)
        await mesh.publish(*MESH, denial("web", "web"))
        assert versions(*members) == [before[0], before[1], before[2] + 1]


async def test_one_workloads_policy_is_told_to_that_workload() -> None:
    policy = document(
        "PeerAuthentication",
        "reviews",
        mtls={"mode": "STRICT"},
        selector={"matchLabels": {"app": "reviews"}},
    )
    async with a_fleet(*MESH) as mesh:
        reviews, ratings = await mesh.join("reviews"), await mesh.join("ratings")
        before = versions(reviews, ratings)
        await mesh.publish(*MESH, policy)

        assert versions(reviews, ratings) == [before[0] + 1, before[1]]


async def test_an_endpoint_that_moves_changes_that_type_and_no_other() -> None:
    async with a_fleet(*MESH) as mesh:
        member = await mesh.join("ratings")
        before = member.assignment.value.parts
        await mesh.publish(*MESH[:3], a_workload("reviews", "10.9.9.9"), *MESH[4:])
        after = member.assignment.value.parts

        assert {url for url in envoy.TYPES if before[url] != after[url]} == {envoy.ENDPOINTS}
        assert b"10.9.9.9" in has(member, envoy.ENDPOINTS)[REVIEWS].body


async def test_a_commit_without_consequences_is_told_to_nobody_and_live_at_once() -> None:
    async with a_fleet(*MESH) as mesh:
        member = await mesh.join("reviews")
        accept(member)
        before = versions(member)
        await mesh.publish(*MESH)

        assert versions(member) == before
        assert member.is_live
        assert mesh.fleet.progress is not None
        assert mesh.fleet.progress.acknowledged_at is not None


async def test_a_workload_that_is_renamed_by_labels_moves_to_other_facets() -> None:
    async with a_fleet(*MESH) as mesh:
        member = await mesh.join("reviews")
        await mesh.publish(*MESH[:3], a_workload("reviews", labels={"app": "ratings"}), *MESH[4:])

        assert member.proxy.labels == (("app", "ratings"),)
        await mesh.publish(*MESH[:3], a_workload("reviews", labels={"app": "none"}), *MESH[4:])
        assert "inbound|9080||" not in has(member, envoy.CLUSTER)


async def test_a_proxy_whose_workload_is_gone_keeps_what_it_has() -> None:
    async with a_fleet(*MESH) as mesh:
        member = await mesh.join("shop", "web")
        await mesh.publish(*MESH[:5])

        assert "virtualOutbound" in has(member, envoy.LISTENER)


async def test_a_newcomer_waits_until_its_facets_are_made() -> None:
    async with a_fleet(*MESH) as mesh:
        joining = asyncio.create_task(mesh.join("reviews"))
        await breathe()
        assert not joining.done()

        assert has(await joining, envoy.CLUSTER)


async def test_one_that_comes_back_finds_its_facets_made() -> None:
    async with a_fleet(*MESH) as mesh:
        (await mesh.join("reviews")).leave()
        made = mesh.fleet.memo.made.total()
        member = await mesh.join("reviews")

        assert has(member, envoy.CLUSTER)
        assert mesh.fleet.memo.made.total() == made


@pytest.mark.parametrize("moment", range(0, 40, 3))
async def test_nobody_is_seated_in_the_middle_of_a_turn_with_half_of_it(moment: int) -> None:
    """An empty part would tell a proxy that comes back to forget all that it has."""
    async with a_fleet(*MESH, clock=HurriedClock()) as mesh:
        first = await mesh.join("reviews")
        for _ in range(2):
            mesh.offer(*MESH, denial("a"), a_virtual_service("reviews", "ratings"))
            for _ in range(moment):
                await breathe()
            members = await asyncio.gather(mesh.join("ratings"), mesh.join("shop", "web"))
            for member in (first, *members):
                assert {"virtualOutbound", "virtualInbound"} <= has(member, envoy.LISTENER).keys()
            mesh.offer(*MESH)


async def test_one_that_gives_up_while_it_waits_was_never_here() -> None:
    async with a_fleet(*MESH) as mesh:
        joining = asyncio.create_task(mesh.join("reviews"))
        await breathe()
        joining.cancel()
        await asyncio.wait({joining})

        assert mesh.fleet.members == ()


@pytest.mark.parametrize(
    ("app", "reason", "message"),
    [
        (
            "stranger",
            Reason.UNKNOWN,
            "no proxy stranger-1 is known in ns/bookinfo: refused",
        ),
        (
            "ratings",
            Reason.MACHINE,
            (
                "machine ratings-1 presented a certificate of ns/bookinfo/sa/ratings"
                " but connects as proxy reviews-1: refused"
            ),
        ),
    ],
)
async def test_who_is_not_who_it_says_is_not_let_in(app: str, reason: Reason, message: str) -> None:
    async with a_fleet(*MESH) as mesh:
        node = a_node("stranger") if app == "stranger" else a_node("reviews")
        with pytest.raises(NotAdmitted) as refused:
            await mesh.fleet.join(node, {}, a_caller(app))

        assert (refused.value.reason, str(refused.value)) == (reason, message)
        assert mesh.fleet.members == ()


async def test_of_a_proxys_own_words_only_the_capture_is_taken() -> None:
    async with a_fleet(*MESH) as mesh:
        member = await mesh.join(
            "reviews", LABELS={"app": "ratings"}, INTERCEPTION_MODE="NONE", HTTP_PROXY_PORT="3128"
        )
        assert member.proxy.labels == (("app", "reviews"),)
        assert member.proxy.interception is Interception.NONE
        assert member.proxy.http_proxy_port == 3128

        odd = await mesh.join("ratings", INTERCEPTION_MODE="MAGIC", HTTP_PROXY_PORT="70000")
        assert odd.proxy.interception is Interception.REDIRECT
        assert odd.proxy.http_proxy_port == 0


async def test_a_revision_is_live_when_everybody_acknowledged_every_type() -> None:
    async with a_fleet(*MESH) as mesh:
        reviews, ratings = await mesh.join("reviews"), await mesh.join("ratings")
        accept(reviews)
        assert reviews.is_live
        assert not ratings.is_live

        accept(ratings)
        await mesh.publish(*MESH, a_service("more"))
        progress = mesh.fleet.progress
        assert progress is not None
        assert progress.acknowledged_at is None
        accept(reviews)
        accept(ratings, envoy.CLUSTER, envoy.ENDPOINTS)
        assert not ratings.is_live
        accept(ratings)
        assert mesh.fleet.progress is not None
        assert mesh.fleet.progress.acknowledged_at is not None


async def test_that_a_revision_is_live_is_said_when_somebody_has_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "xds.fleet")
    async with a_fleet(*MESH) as mesh:
        assert caplog.records == []
        member = await mesh.join("reviews")
        accept(member)
        await mesh.publish(*MESH, a_service("more"))
        accept(member)

        assert {(record.msg, vars(record)["proxies"]) for record in caplog.records} == {("revision live", 1)}
        assert vars(caplog.records[-1])["revision"] == mesh.fleet.world.revision[:7]


async def test_endpoints_that_move_later_do_not_make_a_revision_less_live() -> None:
    """The revision was had; what came after it is not of it."""
    async with a_fleet(*MESH) as mesh:
        member = await mesh.join("reviews")
        accept(member)
        await mesh.publish(*MESH, a_service("more"))
        accept(member)
        world = mesh.worlds.value
        moved = mesh.offer(*MESH, a_service("more"), a_workload("more", "10.0.0.8"))
        object.__setattr__(moved, "revision", world.revision)
        await until(lambda: mesh.fleet.world is moved)

        assert member.is_live


async def test_one_that_leaves_is_waited_for_no_longer() -> None:
    async with a_fleet(*MESH) as mesh:
        reviews, slow = await mesh.join("reviews"), await mesh.join("ratings")
        accept(reviews)
        await mesh.publish(*MESH, a_service("more"))
        accept(reviews)
        assert mesh.fleet.progress is not None
        assert mesh.fleet.progress.acknowledged_at is None
        slow.leave()

        assert mesh.fleet.progress.acknowledged_at is not None
        assert mesh.fleet.members == (reviews,)


BAD = a_service("bad")
BAD_NAME = "outbound|9080||bad.bookinfo.svc.cluster.local"


async def test_what_nobody_ever_took_is_withdrawn_for_all_and_stays_reported() -> None:
    async with a_fleet(*MESH) as mesh:
        reviews, ratings = await mesh.join("reviews"), await mesh.join("ratings")
        for member in (reviews, ratings):
            accept(member)
        await mesh.publish(*MESH, BAD)
        assert BAD_NAME in has(ratings, envoy.CLUSTER)

        refusal = refuse(reviews, envoy.CLUSTER, BAD_NAME)
        assert BAD_NAME not in has(reviews, envoy.CLUSTER)
        assert BAD_NAME not in has(ratings, envoy.CLUSTER)
        assert REVIEWS in has(ratings, envoy.CLUSTER)
        accept(reviews)
        assert list(reviews.refusals.values()) == [refusal]
        assert reviews.is_live


async def test_what_another_took_is_the_hosts_own_trouble_and_stays() -> None:
    async with a_fleet(*MESH) as mesh:
        reviews, ratings = await mesh.join("reviews"), await mesh.join("ratings")
        await mesh.publish(*MESH, BAD)
        accept(ratings)
        refuse(reviews, envoy.CLUSTER, BAD_NAME)

        assert BAD_NAME in has(reviews, envoy.CLUSTER)
        assert BAD_NAME in has(ratings, envoy.CLUSTER)
        accept(reviews)
        assert reviews.refusals == {}


async def test_older_bytes_in_the_place_of_refused_ones_do_not_hide_the_refusal() -> None:
    async with a_fleet(*MESH, BAD) as mesh:
        member = await mesh.join("reviews")
        await mesh.join("ratings")
        accept(member)
        worse = a_service("bad", subjectAltNames=["spiffe://x/y"])
        await mesh.publish(*MESH, worse)
        before = has(member, envoy.CLUSTER)[BAD_NAME]
        refusal = refuse(member, envoy.CLUSTER, BAD_NAME)
        assert has(member, envoy.CLUSTER)[BAD_NAME].version != before.version
        accept(member)

        assert list(member.refusals.values()) == [refusal]


async def test_a_facet_that_cannot_be_made_keeps_its_parts_and_costs_nobody_else_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bug of ours that the new world brings to light: it is reported, and heals with a world without it."""
    async with a_fleet(*MESH) as mesh:
        reviews, shop = await mesh.join("reviews"), await mesh.join("shop", "web")
        before = has(reviews, envoy.CLUSTER)
        make = OutboundFacet.make

        def poisonous(facet: OutboundFacet, turn: Turn, bench: Bench) -> Made:
            if facet in reviews.facets:
                raise ZeroDivisionError("a bug")
            return make(facet, turn, bench)

        monkeypatch.setattr(OutboundFacet, "make", poisonous)
        await mesh.publish(*MESH, a_service("more"))
        assert has(reviews, envoy.CLUSTER) == before
        assert "outbound|9080||more.bookinfo.svc.cluster.local" in has(shop, envoy.CLUSTER)
        (broken,) = mesh.fleet.memo.broken
        assert broken.reason == "ZeroDivisionError: a bug"

        monkeypatch.undo()
        await mesh.publish(*MESH)
        assert mesh.fleet.memo.broken == ()


async def test_a_newcomer_whose_facet_cannot_be_made_is_refused_and_welcome_when_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It waits for nobody to mend a bug: others would wait behind it."""
    async with a_fleet(*MESH) as mesh:
        reviews = await mesh.join("reviews")

        def poisonous(facet: InboundFacet, turn: Turn, bench: Bench) -> Made:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(InboundFacet, "make", poisonous)
        for _ in range(2):
            async with asyncio.timeout(5):
                with pytest.raises(NotAdmitted) as refused:
                    await mesh.join("ratings")
            assert refused.value.reason is Reason.BROKEN
            assert str(refused.value) == (
                "what ratings-1.bookinfo shall have cannot be made, by a bug of the control plane: refused"
            )
        assert mesh.fleet.members == (reviews,)
        (broken,) = mesh.fleet.memo.broken
        assert broken.reason == "ZeroDivisionError: a bug"

        monkeypatch.undo()
        assert has(await mesh.join("ratings"), envoy.LISTENER)
        assert mesh.fleet.memo.broken == ()


async def test_what_could_never_be_made_is_forgotten_with_the_last_who_asked_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_fleet(*MESH) as mesh:

        def poisonous(facet: InboundFacet, turn: Turn, bench: Bench) -> Made:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(InboundFacet, "make", poisonous)
        with pytest.raises(NotAdmitted):
            await mesh.join("ratings")
        for number in range(2):
            await mesh.publish(*MESH, a_service(f"more-{number}"))

        assert mesh.fleet.memo.broken == ()
        assert [facet for facet in mesh.fleet.facets if isinstance(facet, InboundFacet)] == []


async def test_one_that_is_here_twice_refuses_for_itself_alone() -> None:
    """It has come back before its old stream was missed: its own trouble is still nobody else's."""
    async with a_fleet(*MESH) as mesh:
        old, new = await mesh.join("reviews"), await mesh.join("reviews")
        accept(old)
        await mesh.publish(*MESH, BAD)
        refuse(new, envoy.CLUSTER, BAD_NAME)

        assert BAD_NAME in has(new, envoy.CLUSTER)


async def test_what_only_one_proxy_has_is_not_withdrawn_because_it_refused() -> None:
    """The fault may be the host's own, an address in use, say: its session tries again."""
    async with a_fleet(*MESH) as mesh:
        member = await mesh.join("reviews")
        accept(member)
        await mesh.publish(*MESH, BAD)
        refuse(member, envoy.CLUSTER, BAD_NAME)

        assert BAD_NAME in has(member, envoy.CLUSTER)
        assert len(member.refusals) == 1


async def test_a_refusal_is_forgotten_when_nobody_wants_the_resource_any_more() -> None:
    async with a_fleet(*MESH) as mesh:
        member = await mesh.join("reviews")
        accept(member)
        await mesh.publish(*MESH, BAD)
        refuse(member, envoy.CLUSTER, BAD_NAME)
        accept(member)
        await mesh.publish(*MESH)
        accept(member)

        assert member.refusals == {}


async def test_a_refusal_of_a_whole_response_is_forgotten_with_the_next_that_is_taken() -> None:
    async with a_fleet(*MESH) as mesh:
        member = await mesh.join("reviews")
        member.refused(Refusal(type_url=envoy.LISTENER, name="", version="", message="no"))
        assert len(member.refusals) == 1
        accept(member)

        assert member.refusals == {}


async def test_corrected_bytes_are_innocent() -> None:
    async with a_fleet(*MESH) as mesh:
        member = await mesh.join("reviews")
        accept(member)
        await mesh.publish(*MESH, BAD)
        refuse(member, envoy.CLUSTER, BAD_NAME)
        await mesh.publish(*MESH, a_service("bad", subjectAltNames=["spiffe://x/y"]))

        assert BAD_NAME in has(member, envoy.CLUSTER)


async def test_forgetting_what_is_not_in_force_is_noticed_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is asked for again, nothing is made again, and nobody is told anything."""
    async with a_fleet(*MESH) as mesh:
        members = await mesh.join("reviews"), await mesh.join("ratings"), await mesh.join("shop", "web")
        await mesh.publish(*MESH)
        before, made = versions(*members), mesh.fleet.memo.made.total()
        monkeypatch.setattr("mesh.interning._FEW", -(10**6))
        for _ in range(3):
            await mesh.publish(*MESH)

        assert versions(*members) == before
        assert mesh.fleet.memo.made.total() == made


async def test_what_was_in_force_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what was in force for a while since things were last forgotten."""
    async with a_fleet(*MESH) as mesh:
        await mesh.join("reviews")
        sizes = []
        for number in range(12):
            monkeypatch.setattr("mesh.interning._FEW", 10**6 if number % 4 else -(10**6))
            await mesh.publish(*MESH, a_virtual_service("reviews", "ratings", name=f"v{number}"))
            if number % 4 == 0:
                sizes.append(len(mesh.fleet.memo))

        assert len(set(sizes)) == 1


async def test_a_gateway_is_told_of_its_own_servers() -> None:
    edge = a_workload("edge", "10.0.0.7")
    server = {"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    gateway = document("Gateway", "edge", selector={"app": "edge"}, servers=[server])
    routed = a_virtual_service("shop.example.com", "reviews", name="shop", gateways=["edge"])
    async with a_fleet(*MESH, edge, gateway, routed) as mesh:
        member = await mesh.join("edge", role=Role.GATEWAY)

        assert list(has(member, envoy.LISTENER)) == ["0.0.0.0_8080"]
        assert list(has(member, envoy.ROUTES)) == ["http.8080"]
        assert REVIEWS in has(member, envoy.CLUSTER)
        assert not any("ratings" in name for name in has(member, envoy.CLUSTER))


async def test_a_service_port_that_comes_reaches_its_clients_and_its_workloads() -> None:
    async with a_fleet(*MESH) as mesh:
        member = await mesh.join("reviews")
        await mesh.publish(a_service("reviews", ports=[a_port(9080), a_port(81)]), *MESH[1:])

        assert {"outbound|81||reviews.bookinfo.svc.cluster.local", "inbound|81||"} <= has(
            member, envoy.CLUSTER
        ).keys()


async def test_one_that_was_moved_to_other_facets_is_live_with_theirs_and_not_with_its_old_ones() -> None:
    """What it held of the old may well be younger than what the new were adopted with."""
    own = document(
        "Sidecar", "own", egress=[{"hosts": ["*/*"]}], workloadSelector={"labels": {"app": "ratings"}}
    )
    seen = document(
        "Sidecar", "own", egress=[{"hosts": ["./*"]}], workloadSelector={"labels": {"app": "ratings"}}
    )
    async with a_fleet(*MESH, own) as mesh:
        reviews, ratings = await mesh.join("reviews"), await mesh.join("ratings")
        for member in (reviews, ratings):
            accept(member)
        await mesh.publish(*MESH, own, a_service("more"))
        await mesh.publish(*MESH, seen, a_service("more"))
        for member in (reviews, ratings):
            accept(member)
        await mesh.publish(*MESH, a_service("more"))

        assert not ratings.is_live
        accept(ratings)
        assert ratings.is_live


async def test_a_revision_is_not_live_while_proxies_are_still_being_told_of_it() -> None:
    """They are told one after another; one that leaves in the middle must not end the count."""
    async with a_fleet(*MESH, clock=HurriedClock()) as mesh:
        members = await mesh.join("reviews"), await mesh.join("ratings"), await mesh.join("shop", "web")
        for member in members:
            accept(member)
        world = mesh.offer(*MESH, a_service("more"))
        await until(
            lambda: mesh.fleet.progress is not None and mesh.fleet.progress.revision == world.revision
        )
        assert [member.is_live for member in members] == [False, False, False]
        members[0].leave()

        assert mesh.fleet.progress is not None
        assert mesh.fleet.progress.acknowledged_at is None


async def test_one_that_was_told_nothing_yet_has_no_revision() -> None:
    async with a_fleet(*MESH) as mesh:
        joining = asyncio.create_task(mesh.join("reviews"))
        await breathe()
        (member,) = mesh.fleet.members

        assert not member.is_live
        await joining


async def test_what_is_refused_while_a_newcomer_is_made_for_is_withdrawn_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entered, gate, make = threading.Event(), threading.Event(), Workshop.make

    def slowly(workshop: Workshop, seats: list[Seat]) -> None:
        entered.set()
        assert gate.wait(timeout=10)
        make(workshop, seats)

    async with a_fleet(*MESH) as mesh:
        reviews = await mesh.join("reviews")
        await mesh.join("ratings")
        accept(reviews)
        await mesh.publish(*MESH, BAD)
        monkeypatch.setattr(Workshop, "make", slowly)
        joining = asyncio.create_task(mesh.join("shop", "web"))
        await until(entered.is_set)
        refuse(reviews, envoy.CLUSTER, BAD_NAME)
        gate.set()
        await joining

        assert BAD_NAME not in has(reviews, envoy.CLUSTER)


async def test_a_certificate_of_another_mesh_is_not_of_this_one_though_one_authority_signed_both() -> None:
    async with a_fleet(*MESH, a_mesh(trustDomainAliases=["old.example"])) as mesh:
        foreign = Caller(SpiffeId("other.example", "bookinfo", "reviews"), "reviews-1")
        with pytest.raises(NotAdmitted) as refused:
            await mesh.fleet.join(a_node("reviews"), {}, foreign)
        assert (refused.value.reason, str(refused.value)) == (
            Reason.IDENTITY,
            "machine reviews-1 presented a certificate of trust domain other.example: refused",
        )

        former = Caller(SpiffeId("old.example", "bookinfo", "reviews"), "reviews-1")
        assert await mesh.fleet.join(a_node("reviews"), {}, former)


async def test_a_change_of_routes_does_not_look_at_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ServiceKey] = []
    endpoints = Scope.endpoints

    def watched(scope: Scope, world: World, view: OutboundView, keys: Iterable[ServiceKey]) -> EndpointsView:
        keys = tuple(keys)
        asked.extend(keys)
        return endpoints(scope, world, view, keys)

    async with a_fleet(*MESH, a_virtual_service("reviews", "reviews")) as mesh:
        member = await mesh.join("ratings")
        monkeypatch.setattr(Scope, "endpoints", watched)
        await mesh.publish(*MESH, a_virtual_service("reviews", "ratings"))
        assert asked == []
        assert REVIEWS in has(member, envoy.ENDPOINTS)

        await mesh.publish(*MESH[:3], a_workload("reviews", "10.9.9.9"), *MESH[4:])
        assert [key.host for key in asked] == ["reviews.bookinfo.svc.cluster.local"]
        assert b"10.9.9.9" in has(member, envoy.ENDPOINTS)[REVIEWS].body


async def test_one_that_comes_back_again_and_again_leaves_nothing_behind() -> None:
    """Connections end after half an hour; a quiet mesh must not grow by that."""
    async with a_fleet(*MESH) as mesh:
        sizes = set()
        for _ in range(5):
            (await mesh.join("reviews")).leave()
            sizes.add(mesh.fleet.remembered)

        assert len(sizes) == 1
