"""Several registries speak of one thing: whose word holds, and what is reported."""

from __future__ import annotations

from dataclasses import replace

from mesh.services import Catalogue, Inbound, Provider, Resolution, ServiceKey, Workload
from registries.answers import Answer
from registries.catalogues import Catalogues
from registries.combine import REGISTRY_LABEL, Shares
from tests.support.claims import (
    HOST,
    NAMESPACE,
    a_port,
    a_service,
    a_workload,
    an_answer,
    an_instance,
    an_offer,
    serving,
)

KUBERNETES, CONSUL, GIT = Provider.KUBERNETES, Provider.CONSUL, Provider.GIT
WEB = ServiceKey(HOST, NAMESPACE)
SHARED: Shares = {"consul": (HOST,)}


def together(*answers: Answer, shares: Shares | None = None) -> Catalogue:
    return Catalogues().take(answers, shares or {})


def web(provider: Provider, *addresses: str, registry: str = "", **said: object) -> Answer:
    """The service web with an instance at each address."""
    service = a_service(HOST, provider=provider, registry=registry, **said)  # type: ignore[arg-type]
    return an_answer(provider, an_offer(service, *map(an_instance, addresses)), registry=registry)


def addresses(found: Catalogue, port: int = 80) -> list[str]:
    return [endpoint.address for endpoint in found.endpoints[WEB].by_port[port]]


def reported(found: Catalogue) -> list[str]:
    return [str(tie) for tie in found.ties]


def test_a_host_belongs_to_kubernetes_before_consul_before_git() -> None:
    found = together(web(KUBERNETES, "10.0.0.1"), web(CONSUL, "10.0.0.2"), web(GIT, "10.0.0.3"))

    assert addresses(found) == ["10.0.0.1"]
    assert found.services[WEB].provider is KUBERNETES
    assert reported(found) == [
        (
            f"registry consul: warning MW0015: {NAMESPACE}/{HOST} belongs to registry 'kubernetes':"
            " this one's claim is left out"
        ),
        (
            f"registry git: warning MW0015: {NAMESPACE}/{HOST} belongs to registry 'kubernetes':"
            " this one's claim is left out"
        ),
    ]


def test_a_host_that_is_shared_is_served_by_both() -> None:
    found = together(web(KUBERNETES, "10.0.0.1"), web(CONSUL, "10.0.0.2"), shares=SHARED)

    assert addresses(found) == ["10.0.0.1", "10.0.0.2"]
    assert reported(found) == []


def test_the_owner_may_share_as_well_and_by_wildcard() -> None:
    shares = {"kubernetes": ("*.shop.svc.cluster.local",)}
    found = together(web(KUBERNETES, "10.0.0.1"), web(CONSUL, "10.0.0.2"), shares=shares)

    assert addresses(found) == ["10.0.0.1", "10.0.0.2"]


def test_every_endpoint_says_which_registry_it_is_from() -> None:
    found = together(web(KUBERNETES, "10.0.0.1"), web(CONSUL, "10.0.0.2"), shares=SHARED)

    assert [dict(one.labels)[REGISTRY_LABEL] for one in found.endpoints[WEB].by_port[80]] == [
        "kubernetes",
        "consul",
    ]


def test_two_clusters_serve_a_host_together_as_in_istio() -> None:
    found = together(
        web(KUBERNETES, "10.0.0.1", registry="east", addresses=("10.96.0.1",)),
        web(KUBERNETES, "10.1.0.1", registry="west", addresses=("10.97.0.1",)),
    )

    assert addresses(found) == ["10.0.0.1", "10.1.0.1"]
    assert found.services[WEB].addresses == ("10.96.0.1", "10.97.0.1")
    assert reported(found) == []


def test_the_same_host_of_another_namespace_is_another_service() -> None:
    other = a_service(HOST, provider=CONSUL, namespace="elsewhere")
    found = together(web(KUBERNETES, "10.0.0.1"), an_answer(CONSUL, an_offer(other, an_instance("10.0.0.2"))))

    assert addresses(found) == ["10.0.0.1"]
    assert ServiceKey(HOST, "elsewhere") in found.services


def test_a_shared_port_is_found_by_number_then_by_name_then_by_being_the_only_one() -> None:
    ours = a_service(HOST, a_port(80, "http"), a_port(90, "admin"), provider=KUBERNETES)
    theirs = a_service(HOST, a_port(80, "http"), a_port(9999, "admin"))
    there = replace(an_instance("10.0.0.2"), ports=((80, 8000), (9999, 9000)))
    found = together(
        an_answer(KUBERNETES, an_offer(ours)), an_answer(CONSUL, an_offer(theirs, there)), shares=SHARED
    )

    assert [(one.address, one.port) for one in found.endpoints[WEB].by_port[80]] == [("10.0.0.2", 8000)]
    assert [(one.address, one.port) for one in found.endpoints[WEB].by_port[90]] == [("10.0.0.2", 9000)]

    only = an_offer(a_service(HOST, a_port(7777, "tcp")), an_instance("10.0.0.3", of=7777))
    found = together(web(KUBERNETES), an_answer(CONSUL, only), shares=SHARED)
    assert addresses(found) == ["10.0.0.3"]


def test_a_port_that_the_owner_has_not_is_not_served_and_reported() -> None:
    ours = a_service(HOST, a_port(80, "http"), a_port(90, "admin"), provider=KUBERNETES)
    theirs = an_offer(a_service(HOST, a_port(7777, "tcp")), an_instance("10.0.0.3", of=7777))
    found = together(an_answer(KUBERNETES, an_offer(ours)), an_answer(CONSUL, theirs), shares=SHARED)

    assert addresses(found) == []
    assert reported(found) == [
        (
            f"registry consul: warning MW0017: {NAMESPACE}/{HOST} belongs to registry 'kubernetes',"
            " where it has no port like 7777: not served"
        )
    ]


def test_one_address_serves_a_service_once_and_the_first_word_holds() -> None:
    first = an_offer(a_service(HOST, provider=KUBERNETES), serving(a_workload("10.0.0.1", "pod", weight=3)))
    second = an_offer(a_service(HOST), serving(a_workload("10.0.0.1", "vm", weight=9)))
    found = together(an_answer(KUBERNETES, first), an_answer(CONSUL, second), shares=SHARED)

    assert [(one.workload, one.weight) for one in found.endpoints[WEB].by_port[80]] == [("pod", 3)]
    assert reported(found) == [
        f"registry consul: info MW0016: 10.0.0.1 serves {NAMESPACE}/{HOST} as pod and as vm: the first counts"
    ]


def test_the_same_address_on_two_networks_is_two_places() -> None:
    offer = an_offer(
        a_service(),
        serving(a_workload("10.0.0.1", "a", network="n1")),
        serving(a_workload("10.0.0.1", "b", network="n2")),
    )

    assert addresses(together(an_answer(CONSUL, offer))) == ["10.0.0.1", "10.0.0.1"]


def test_nobody_who_may_register_takes_a_machine_that_git_declares_out_of_its_policies() -> None:
    """What was reviewed has the word about a workload, then Kubernetes, then Consul."""
    machine = a_workload("10.0.0.9", "ledger-1", labelled={"app": "ledger"})
    claimed = a_workload("10.0.0.9", "ledger-1", labelled={"app": "nothing"})
    pod = a_workload("10.0.0.8", "ledger-1", labelled={"app": "pod"})
    consul, git = an_answer(CONSUL, workloads=[claimed]), an_answer(GIT, workloads=[machine])
    kubernetes = an_answer(KUBERNETES, workloads=[pod])
    found = together(consul, git)

    assert found.workloads[NAMESPACE, "ledger-1"] == machine
    assert reported(found) == [
        (
            "registry consul: info MW0018: workload shop/ledger-1 is known to registry 'git' as well,"
            " which has the word about it"
        )
    ]
    assert together(kubernetes, consul).workloads[NAMESPACE, "ledger-1"] == pod


def test_at_one_port_the_service_of_the_registry_that_has_the_word_comes_first() -> None:
    """A service whose name sorts first must not take the port of a machine over."""
    ours = an_offer(
        a_service("ledger.shop.svc.cluster.local", a_port(5432, "tcp"), provider=GIT),
        an_instance("10.0.0.7", 5432, "vm-7", of=5432),
    )
    theirs = an_offer(
        a_service("aaa.service.consul", a_port(5432, "http")), an_instance("10.0.0.7", 5432, "x", of=5432)
    )
    found = together(an_answer(CONSUL, theirs), an_answer(GIT, ours))

    assert [one.service.host for one in found.inbound[NAMESPACE, "vm-7"]] == [
        "ledger.shop.svc.cluster.local",
        "aaa.service.consul",
    ]


def selecting(provider: Provider) -> Answer:
    return an_answer(provider, an_offer(a_service(provider=provider, selector={"app": "web"})))


def app(address: str, *, is_ready: bool = True) -> Workload:
    return a_workload(address, labelled={"app": "web"}, is_ready=is_ready)


def test_a_kubernetes_service_picks_the_workloads_that_git_declares() -> None:
    found = together(selecting(KUBERNETES), an_answer(GIT, workloads=[app("10.0.0.7")]))

    endpoint = found.endpoints[WEB].by_port[80][0]
    assert (endpoint.address, endpoint.port, dict(endpoint.labels)[REGISTRY_LABEL]) == (
        "10.0.0.7",
        8080,
        "git",
    )
    assert [one.service for one in found.inbound[NAMESPACE, "at-10-0-0-7"]] == [WEB]


def test_a_service_entry_picks_pods_that_are_ready() -> None:
    pods = [app("10.0.0.1"), app("10.0.0.2", is_ready=False)]
    found = together(an_answer(KUBERNETES, workloads=pods), selecting(GIT))

    assert addresses(found) == ["10.0.0.1"]


def test_no_selector_picks_what_consul_knows() -> None:
    consul = an_answer(CONSUL, workloads=[app("10.0.0.1")])

    assert addresses(together(selecting(KUBERNETES), consul)) == []
    assert addresses(together(consul, selecting(GIT))) == []


def test_a_machine_of_git_answers_for_what_consul_puts_at_its_address() -> None:
    consul = an_answer(CONSUL, an_offer(a_service(), an_instance("10.0.0.7", 8443, name="web-7")))
    machine = a_workload("10.0.0.7", "vm-7")
    found = together(consul, an_answer(GIT, workloads=[machine]))

    assert found.inbound[NAMESPACE, "vm-7"] == (Inbound(WEB, a_port(), 8443),)
    assert found.inbound[NAMESPACE, "web-7"] == (Inbound(WEB, a_port(), 8443),)


def test_two_workloads_of_one_cluster_at_one_address_answer_each_for_its_own() -> None:
    """Pods on the network of their host share its address."""
    web, db = a_service(provider=KUBERNETES), a_service("db.shop.svc.cluster.local", provider=KUBERNETES)
    found = together(
        an_answer(
            KUBERNETES,
            an_offer(web, an_instance("10.0.0.7", 8080, name="web-7")),
            an_offer(db, an_instance("10.0.0.7", 5432, name="db-7")),
        )
    )

    assert [one.target for one in found.inbound[NAMESPACE, "web-7"]] == [8080]
    assert [one.target for one in found.inbound[NAMESPACE, "db-7"]] == [5432]


def test_services_of_one_machine_in_consul_share_the_proxy_of_their_account() -> None:
    """Consul knows services and no machines: one Envoy stands before all that are of one identity."""
    other = a_service("admin.service.consul")
    db = replace(a_workload("10.0.0.7", "db-7"), service_account="db")
    found = together(
        an_answer(
            CONSUL,
            an_offer(a_service(), an_instance("10.0.0.7", 8080, name="web-7")),
            an_offer(other, an_instance("10.0.0.7", 9090, name="admin-7")),
            an_offer(a_service("db.service.consul"), serving(db, 5432)),
        )
    )

    assert [one.target for one in found.inbound[NAMESPACE, "web-7"]] == [8080, 9090]
    assert [one.target for one in found.inbound[NAMESPACE, "db-7"]] == [5432]


def test_who_is_not_ready_gets_no_requests_and_has_its_ports_all_the_same() -> None:
    found = together(
        an_answer(KUBERNETES, an_offer(a_service(provider=KUBERNETES), unready=[an_instance("10.0.0.1")]))
    )

    assert addresses(found) == []
    assert [one.target for one in found.inbound[NAMESPACE, "at-10-0-0-1"]] == [8080]


def test_draining_reaches_the_endpoint() -> None:
    offer = an_offer(a_service(), serving(a_workload("10.0.0.1"), is_draining=True))

    assert together(an_answer(CONSUL, offer)).endpoints[WEB].by_port[80][0].is_draining is True


def test_a_name_is_no_endpoint_of_a_service_whose_addresses_are_known() -> None:
    """Envoy would refuse all endpoints of the service for it."""
    named = a_workload("vm.example.com", "vm", labelled={"app": "web"})
    pods = an_offer(a_service(provider=KUBERNETES, selector={"app": "web"}), an_instance("10.0.0.1"))
    found = together(an_answer(KUBERNETES, pods), an_answer(GIT, workloads=[named]))

    assert addresses(found) == ["10.0.0.1"]
    assert reported(found) == [
        (
            f"registry git: warning MW0024: vm of {NAMESPACE}/{HOST} is at 'vm.example.com', which is no"
            " address: not served"
        )
    ]


def test_names_to_resolve_and_known_addresses_make_no_service_together() -> None:
    external = replace(a_service(provider=KUBERNETES, registry="west"), resolution=Resolution.DNS)
    found = together(
        web(KUBERNETES, "10.0.0.1", registry="east"),
        an_answer(KUBERNETES, an_offer(external, an_instance("api.example.com")), registry="west"),
    )

    assert addresses(found) == ["10.0.0.1"]
    assert reported(found) == [
        (
            f"registry west: warning MW0017: {NAMESPACE}/{HOST} is DNS here and STATIC in registry 'east',"
            " which owns it: this one's claim is left out"
        )
    ]


def test_a_port_that_is_none_and_the_admin_port_of_a_proxy_are_not_served() -> None:
    """A loopback address is each caller's own: behind it at 15000 is the admin port of its Envoy."""
    instances = an_instance("10.0.0.1", 70000), an_instance("127.0.0.1", 15000), an_instance("10.0.0.2")
    found = together(an_answer(CONSUL, an_offer(a_service(), *instances)))

    assert addresses(found) == ["10.0.0.2"]
    assert [tie.message for tie in found.ties] == [
        f"at-10-0-0-1 of {NAMESPACE}/{HOST} is at 10.0.0.1:70000: not served",
        f"at-127-0-0-1 of {NAMESPACE}/{HOST} is at 127.0.0.1:15000: not served",
    ]


def test_a_service_at_a_port_of_the_proxies_own_is_reported() -> None:
    found = together(an_answer(CONSUL, an_offer(a_service(HOST, a_port(15006, "tcp")))))

    assert reported(found) == [
        (
            f"registry consul: warning MW0024: port 15006 of {NAMESPACE}/{HOST} is one that proxies keep"
            " for themselves"
        )
    ]


def test_whoever_answers_in_either_cluster_may_answer() -> None:
    """Clusters of different trust domains name their Pods in the certificates that clients accept."""
    east, west = (
        replace(
            a_service(provider=KUBERNETES, registry=name),
            subject_alt_names=(f"spiffe://{name}/ns/shop/sa/web",),
        )
        for name in ("east", "west")
    )
    found = together(
        an_answer(KUBERNETES, an_offer(east), registry="east"),
        an_answer(KUBERNETES, an_offer(west), registry="west"),
    )

    assert found.services[WEB].subject_alt_names == (
        "spiffe://east/ns/shop/sa/web",
        "spiffe://west/ns/shop/sa/web",
    )


def test_what_every_cluster_means_its_own_by_is_not_served_together() -> None:
    """Istio, ``MeshConfig.serviceSettings``: kube-system, and the API server itself."""

    def api(registry: str, address: str) -> Answer:
        service = a_service(
            "kubernetes.default.svc.cluster.local",
            provider=KUBERNETES,
            registry=registry,
            namespace="default",
        )
        return an_answer(KUBERNETES, an_offer(service, an_instance(address)), registry=registry)

    found = together(api("east", "10.0.0.1"), api("west", "10.1.0.1"))
    (endpoints,) = found.endpoints.values()

    assert [one.address for one in endpoints.by_port[80]] == ["10.0.0.1"]
