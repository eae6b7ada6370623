"""A session against a model of Envoy's delta client."""

from __future__ import annotations

from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from tests.support.memberships import (
    FakeMembership,
    a_part,
    an_assignment,
    some_settings,
)
from tests.support.model_envoy import ModelEnvoy, converse
from xds import envoy
from xds.bodies import content_of
from xds.resources import Assignment, Resource
from xds.session import Session

NAMES = "abcde"

# A busy machine is not a failure; a search for one needs no more than this.
modelled = trying(deadline=None, max_examples=60)


def a_mesh(
    clusters: dict[str, str],
    tables: dict[str, str],
    revision: str = "r",
    endpoints: dict[str, str] | None = None,
) -> Assignment:
    """Clusters and their endpoints by content, and tables (each with its listener) by their cluster."""
    return an_assignment(
        a_part(envoy.CLUSTER, **clusters),
        a_part(envoy.ENDPOINTS, **(clusters if endpoints is None else endpoints)),
        a_part(envoy.LISTENER, **dict.fromkeys(tables, "l")),
        a_part(envoy.ROUTES, **tables),
        revision=revision,
    )


@st.composite
def meshes(draw: st.DrawFn, contents: tuple[str, ...] = ("v1", "v2")) -> Assignment:
    clusters = draw(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(contents), min_size=1))
    tables = draw(st.dictionaries(st.sampled_from("xy"), st.sampled_from(sorted(clusters))))
    endpoints = {name: draw(st.sampled_from(contents)) for name in clusters}
    return a_mesh(
        clusters,
        {name: f"{cluster}.{clusters[cluster]}" for name, cluster in tables.items()},
        endpoints=endpoints,
    )


def wanted(assignment: Assignment, type_url: str) -> dict[str, Resource]:
    return {
        name: resource
        for part in assignment.parts.get(type_url, ())
        for name, resource in part.resources.items()
    }


def assert_holds(proxy: ModelEnvoy, assignment: Assignment) -> None:
    for type_url in (envoy.CLUSTER, envoy.ENDPOINTS, envoy.LISTENER, envoy.ROUTES):
        target = wanted(assignment, type_url)
        assert {name: content_of(v) for name, v in proxy.recorded[type_url].items()} == {
            name: resource.version for name, resource in target.items()
        }
        assert proxy.active[type_url] == {
            name: resource.body.decode(errors="replace").rpartition("=")[2]
            for name, resource in target.items()
        }


class Connection:
    """A membership with its session, as the server would have them."""

    def __init__(self, assignment: Assignment, **words: object) -> None:
        self.member = FakeMembership(assignment)
        self.settings = some_settings(**words)
        self.session = Session(self.member, self.settings, 0.0)

    def publish(self, assignment: Assignment, now: float = 0.0) -> None:
        self.member.assignment.publish(assignment)
        self.session.assign(assignment, now)

    def again(self) -> None:
        """The stream broke and came back."""
        self.session = Session(self.member, self.settings, 0.0)


@modelled
@given(st.lists(meshes(), min_size=1, max_size=5))
def test_a_proxy_ends_with_exactly_the_newest_target(worlds: list[Assignment]) -> None:
    proxy, connection = ModelEnvoy(), Connection(worlds[0])
    proxy.connect()
    for world in worlds:
        connection.publish(world)
        converse(connection.session, proxy)
        assert_holds(proxy, world)
        assert connection.member.held == {envoy.SECRET: ()} | dict(world.parts)
    assert proxy.broken == []


@modelled
@given(st.lists(meshes(), min_size=2, max_size=6), st.data())
def test_targets_that_change_in_the_middle_break_nothing(
    worlds: list[Assignment], data: st.DataObject
) -> None:
    """Requests and responses are delivered in any order of turns; the newest target wins."""
    proxy, connection = ModelEnvoy(), Connection(worlds[0])
    proxy.connect()
    todo = worlds[1:]
    while todo:
        match data.draw(st.sampled_from(["publish", "hear", "write", "reconnect"])):
            case "publish":
                connection.publish(todo.pop(0))
            case "hear" if proxy.requests:
                connection.session.hear(proxy.requests.popleft(), 0.0)
            case "write":
                for response in connection.session.responses(0.0):
                    proxy.receive(response.message)
            case "reconnect":
                connection.again()
                proxy.connect()
    converse(connection.session, proxy)
    assert_holds(proxy, worlds[-1])
    assert proxy.broken == []


@modelled
@given(st.lists(meshes(), min_size=2, max_size=6), st.data())
def test_no_cluster_is_left_waiting_for_endpoints_when_its_change_met_theirs(
    worlds: list[Assignment], data: st.DataObject
) -> None:
    """consul#17640, #10563: a cluster that changed while its endpoints were on their way stayed without."""
    proxy, connection = ModelEnvoy(), Connection(worlds[0])
    proxy.connect()
    for world in worlds[1:]:
        for _ in range(data.draw(st.integers(0, 4))):
            if proxy.requests and data.draw(st.booleans()):
                connection.session.hear(proxy.requests.popleft(), 0.0)
            else:
                for response in connection.session.responses(0.0):
                    proxy.receive(response.message)
        connection.publish(world)
    converse(connection.session, proxy)
    assert_holds(proxy, worlds[-1])
    assert proxy.warming == set()


@modelled
@given(meshes(("v1", "bad1", "bad2")), meshes(), st.booleans())
def test_refused_resources_do_not_keep_the_others_back(
    world: Assignment, cure: Assignment, comes_back: bool
) -> None:
    """Every good resource is active and on record; each bad one is found and told once."""
    proxy, connection = ModelEnvoy(), Connection(world)
    proxy.connect()
    converse(connection.session, proxy)
    bad = {name for name, resource in wanted(world, envoy.CLUSTER).items() if b"=bad" in resource.body}
    assert set(proxy.active[envoy.CLUSTER]) == set(wanted(world, envoy.CLUSTER)) - bad
    assert set(proxy.recorded[envoy.CLUSTER]) == set(proxy.active[envoy.CLUSTER])
    assert all("." not in version for version in proxy.recorded[envoy.CLUSTER].values())
    told = [refusal.name for refusal in connection.member.refusals if refusal.type_url == envoy.CLUSTER]
    assert sorted(told) == sorted(bad)
    if comes_back:
        connection.again()
        proxy.connect()
    connection.publish(cure)
    converse(connection.session, proxy)
    assert_holds(proxy, cure)


@modelled
@given(meshes())
def test_a_proxy_that_comes_back_unchanged_is_sent_nothing(world: Assignment) -> None:
    proxy, connection = ModelEnvoy(), Connection(world)
    proxy.connect()
    converse(connection.session, proxy)
    connection.again()
    connection.member.held.clear()
    proxy.connect()
    proxy.received.clear()
    converse(connection.session, proxy)
    assert [resource.name for response in proxy.received for resource in response.resources] == []
    assert connection.member.held == {envoy.SECRET: ()} | dict(world.parts)


def test_what_a_proxy_holds_is_told_again_when_its_target_left_and_came_back_unseen() -> None:
    """The session sees the newest target only; the membership has forgotten what it was told meanwhile."""
    world = a_mesh({"a": "v1"}, {"table": "v1"})
    proxy, connection = ModelEnvoy(), Connection(world)
    proxy.connect()
    converse(connection.session, proxy)
    held = dict(connection.member.held)
    del connection.member.held[envoy.CLUSTER]
    connection.publish(Assignment(world.parts, "r2"))

    assert connection.member.held == held


def test_a_quiet_hour_does_not_use_up_the_patience_of_the_next_change() -> None:
    """The deadline of a phase is counted from its beginning, not from the last change before it."""
    proxy, connection = ModelEnvoy(), Connection(a_mesh({"a": "v1"}, {"x": "a.v1"}))
    proxy.connect()
    converse(connection.session, proxy)
    connection.publish(a_mesh({"a": "v2"}, {"x": "a.v1"}), now=1.0)
    converse(connection.session, proxy, now=1.0)
    connection.publish(a_mesh({"a": "v2", "b": "v1"}, {"x": "b.v1"}), now=3600.0)
    assert [response.type_url for response in connection.session.responses(3600.0)] == [envoy.CLUSTER]
    assert connection.session.due(3600.0) == 3605.0
    assert [response.type_url for response in connection.session.responses(3610.0)] == [envoy.ROUTES]


def test_many_proxies_of_one_kind_share_every_body() -> None:
    """The number of bodies built does not grow with the number of streams."""
    settings = some_settings()
    before, after = a_mesh({"a": "v1", "b": "v1"}, {}), a_mesh({"a": "v2", "b": "v1"}, {})
    proxies = [ModelEnvoy() for _ in range(20)]
    sessions = [Session(FakeMembership(before), settings, 0.0) for _ in proxies]
    for proxy, session in zip(proxies, sessions, strict=True):
        proxy.connect()
        converse(session, proxy)
    assert (settings.bodies.built, settings.bodies.sent) == (3, 60)
    for proxy, session in zip(proxies, sessions, strict=True):
        session.assign(after, 0.0)
        converse(session, proxy)
        assert_holds(proxy, after)
    # One step each of clusters and endpoints, and the step of the listeners, which is empty.
    assert (settings.bodies.built, settings.bodies.sent) == (6, 100)
