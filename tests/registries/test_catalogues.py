"""The catalogue after any changes is that from scratch, and no more is made for it than changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from mesh.services import Catalogue, Provider, ServiceKey
from registries.answers import Answer, Instance, Offer
from registries.catalogues import Catalogues
from registries.combine import Shares
from registries.draft import Draft
from tests.support.claims import HOST, NAMESPACE, a_service, a_workload, an_instance, an_offer, serving

REGISTRIES = {
    "east": Provider.KUBERNETES,
    "west": Provider.KUBERNETES,
    "dc1": Provider.CONSUL,
    "git": Provider.GIT,
}
HOSTS = ("web.shop.svc.cluster.local", "db.service.consul", "api.example.com")
NAMESPACES = ("shop", "bank")
SHARES: tuple[Shares, ...] = (
    {},
    {"dc1": ("*",)},
    {"git": ("*.example.com",), "east": ("db.service.consul",)},
)

registries = st.sampled_from(tuple(REGISTRIES))
namespaces = st.sampled_from(NAMESPACES)
hosts = st.sampled_from(HOSTS)
numbers = st.integers(1, 6)


def said(one: Catalogue) -> tuple[object, ...]:
    """A catalogue as plain values."""
    return (
        dict(one.services),
        {key: (dict(found.by_port), found.accounts) for key, found in one.endpoints.items()},
        dict(one.workloads),
        dict(one.inbound),
        {key: (dict(found.by_port), found.accounts) for key, found in one.behind.items()},
        one.ties,
    )


class Registries(RuleBasedStateMachine):
    """Adds, removes, flaps and restarts over four registries; a recompute from scratch is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.catalogues = Catalogues()
        self.order = tuple(REGISTRIES)
        self.drafts: dict[str, Draft] = {}
        self.shares: Shares = {}

    @initialize(shares=st.sampled_from(SHARES))
    def share(self, shares: Shares) -> None:
        self.shares = shares

    def draft(self, registry: str) -> Draft:
        return self.drafts.setdefault(registry, Draft(registry, REGISTRIES[registry]))

    @rule(
        registry=registries,
        namespace=namespaces,
        host=hosts,
        at=st.frozensets(numbers, max_size=4),
        unready=st.frozensets(numbers, max_size=2),
        port=st.sampled_from((80, 8080)),
        selector=st.sampled_from((None, {}, {"app": "a"})),
    )
    def offers(
        self,
        registry: str,
        namespace: str,
        host: str,
        at: frozenset[int],
        unready: frozenset[int],
        port: int,
        selector: dict[str, str] | None,
    ) -> None:
        """A service is there, or is another than before."""
        service = a_service(
            host, provider=REGISTRIES[registry], registry=registry, namespace=namespace, selector=selector
        )

        def instance(number: int) -> Instance:
            return serving(a_workload(f"10.0.0.{number}", f"{registry}-{number}", namespace=namespace), port)

        self.draft(registry).put(
            an_offer(service, *map(instance, at), unready=map(instance, sorted(unready - at)))
        )

    @rule(registry=registries, namespace=namespaces, host=hosts)
    def withdraws(self, registry: str, namespace: str, host: str) -> None:
        self.draft(registry).withdraw(namespace, host)

    @rule(
        registry=registries,
        namespace=namespaces,
        number=numbers,
        name=st.sampled_from(("own", "common")),
        app=st.sampled_from("ab"),
        is_ready=st.booleans(),
    )
    def knows(
        self, registry: str, namespace: str, number: int, name: str, app: str, *, is_ready: bool
    ) -> None:
        """A workload is there, under a name that others may use, too."""
        called = f"{registry}-{number}" if name == "own" else f"common-{number % 2}"
        workload = a_workload(
            f"10.0.0.{number}", called, namespace=namespace, labelled={"app": app}, is_ready=is_ready
        )
        self.draft(registry).put_workload(workload)

    @rule(registry=registries, namespace=namespaces, number=numbers, at=numbers)
    def moves(self, registry: str, namespace: str, number: int, at: int) -> None:
        """A workload has another address."""
        workload = a_workload(f"10.0.0.{at}", f"{registry}-{number}", namespace=namespace)
        self.draft(registry).put_workload(workload)

    @rule(registry=registries, namespace=namespaces, number=numbers)
    def forgets(self, registry: str, namespace: str, number: int) -> None:
        self.draft(registry).withdraw_workload(namespace, f"{registry}-{number}")

    @rule(registry=registries)
    def relists_nothing(self, registry: str) -> None:
        self.draft(registry).keep_only((), ())

    @rule(registry=registries)
    def is_removed(self, registry: str) -> None:
        self.drafts.pop(registry, None)

    @rule(shares=st.sampled_from(SHARES))
    def shares_otherwise(self, shares: Shares) -> None:
        self.shares = shares

    def answers(self) -> tuple[Answer, ...]:
        return tuple(self.drafts[name].answer() for name in self.order if name in self.drafts)

    @rule(order=st.permutations(tuple(REGISTRIES)))
    def are_in_another_order(self, order: list[str]) -> None:
        self.order = tuple(order)

    @rule()
    def are_quiet(self) -> None:
        """Any number of changes came before: what is served now is what it would be from scratch."""
        answers = self.answers()
        kept, fresh = self.catalogues.take(answers, self.shares), Catalogues().take(answers, self.shares)

        assert said(kept) == said(fresh)
        assert self.catalogues.take(answers, self.shares) is kept

    def teardown(self) -> None:
        self.are_quiet()


TestRegistries = Registries.TestCase
TestRegistries.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def many(services: int = 20, instances: int = 5) -> Iterator[Offer]:
    for number in range(services):
        places = (an_instance(f"10.0.{number}.{at}", name=f"s{number}-{at}") for at in range(instances))
        yield an_offer(a_service(f"s{number}.service.consul"), *places)


def noted(*offers: Offer) -> Draft:
    draft = Draft("consul", Provider.CONSUL)
    for offer in offers:
        draft.put(offer)
        for instance in offer.instances:
            draft.put_workload(instance.workload)
    return draft


def test_one_instance_that_goes_combines_one_service_and_leaves_all_else_the_same_objects() -> None:
    offers = list(many())
    draft, catalogues = noted(*offers), Catalogues()
    before = catalogues.take((draft.answer(),), {})
    draft.put(replace(offers[3], instances=offers[3].instances[1:]))
    now = catalogues.take((draft.answer(),), {})

    changed = ServiceKey("s3.service.consul", NAMESPACE)
    assert catalogues.combined == len(offers) + 1
    assert list(now.endpoints.changed_since(before.endpoints)) == [changed]
    assert now.services is before.services
    assert now.behind is before.behind
    assert now.workloads is before.workloads
    assert list(now.inbound.changed_since(before.inbound)) == [(NAMESPACE, "s3-0")]


def test_an_equal_answer_is_no_news() -> None:
    draft, catalogues = noted(*many(3)), Catalogues()
    before = catalogues.take((draft.answer(),), {})
    for offer in many(3):
        draft.put(offer)

    assert not draft.is_changed
    assert catalogues.take((draft.answer(),), {}) is before


def test_a_service_deleted_and_made_again_has_no_endpoint_of_its_former_life() -> None:
    draft, catalogues = noted(an_offer(a_service(HOST), an_instance("10.0.0.1"))), Catalogues()
    catalogues.take((draft.answer(),), {})
    draft.withdraw(NAMESPACE, HOST)
    catalogues.take((draft.answer(),), {})
    draft.put(an_offer(a_service(HOST), an_instance("10.0.0.2")))
    found = catalogues.take((draft.answer(),), {})

    assert [one.address for one in found.endpoints[ServiceKey(HOST, NAMESPACE)].by_port[80]] == ["10.0.0.2"]


def test_two_workloads_of_one_address_are_cleaned_up_one_by_one() -> None:
    one, other = a_workload("10.0.0.1", "one"), a_workload("10.0.0.1", "other")
    draft, catalogues = noted(an_offer(a_service(HOST), an_instance("10.0.0.1", name="one"))), Catalogues()
    draft.put_workload(one)
    draft.put_workload(other)
    catalogues.take((draft.answer(),), {})
    draft.withdraw_workload(NAMESPACE, "one")
    found = catalogues.take((draft.answer(),), {})
    assert set(found.workloads) == {(NAMESPACE, "other")}

    draft.withdraw_workload(NAMESPACE, "other")
    draft.withdraw(NAMESPACE, HOST)
    found = catalogues.take((draft.answer(),), {})
    assert (len(found.workloads), len(found.inbound), len(found.services)) == (0, 0, 0)


def test_a_registry_that_is_removed_together_with_what_it_shared_is_served_no_more() -> None:
    kubernetes = noted(an_offer(a_service(HOST), an_instance("10.0.0.1"))).answer()
    other = Draft("dc2", Provider.CONSUL)
    other.put(an_offer(a_service("db.x", namespace="elsewhere"), an_instance("10.0.0.2")))
    catalogues = Catalogues()
    catalogues.take((kubernetes, other.answer()), {"dc2": ("*",)})
    found = catalogues.take((kubernetes,), {})

    assert [str(key) for key in found.services] == [f"{NAMESPACE}/{HOST}"]


def test_what_is_withdrawn_while_the_order_of_registries_changes_is_gone() -> None:
    one, two = noted(an_offer(a_service(HOST), an_instance("10.0.0.1"))), Draft("dc2", Provider.CONSUL)
    two.put(an_offer(a_service("db.x", registry="dc2"), an_instance("10.0.0.2", name="db")))
    two.put_workload(a_workload("10.0.0.2", "db"))
    catalogues = Catalogues()
    catalogues.take((one.answer(), two.answer()), {})
    one.keep_only((), ())
    two.withdraw_workload(NAMESPACE, "db")
    found = catalogues.take((two.answer(), one.answer()), {})

    assert [str(key) for key in found.services] == [f"{NAMESPACE}/db.x"]
    assert dict(found.workloads) == {}


def test_a_workload_that_is_said_again_in_equal_words_is_the_same_object() -> None:
    catalogues = Catalogues()
    before = catalogues.take((noted(*many(3)).answer(),), {})
    now = catalogues.take((noted(*many(3)).answer(),), {})

    assert now.workloads is before.workloads
    assert now.endpoints is before.endpoints


def test_thousands_of_quiet_namespaces_are_not_looked_at() -> None:
    draft, catalogues = Draft("consul", Provider.CONSUL), Catalogues()
    for number in range(50):
        draft.put(an_offer(a_service(f"s{number}.x", namespace=f"n{number}"), an_instance("10.0.0.1")))
    catalogues.take((draft.answer(),), {})
    quiet = [one for name, one in catalogues._namespaces.items() if name != "n7"]
    for one in quiet:
        one.follow = None  # type: ignore[assignment,method-assign]
    draft.put(an_offer(a_service("s7.x", namespace="n7"), an_instance("10.0.0.2")))
    catalogues.take((draft.answer(),), {})

    assert catalogues.combined == 51
