"""What a Consul service is to the mesh, and what a person is told where its registration is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.kinds.frozen import FrozenMap
from mesh.kinds.registry_consul import Consul, ConsulMapping
from mesh.services import Locality, Location, Protocol, Provider, Resolution
from registries.answers import Instance, Offer
from registries.consul.mapping import Mapped, mapped

Entry = dict[str, Any]
AS_IS = Consul()


def an_entry(
    number: int = 1,
    *,
    node: Entry | None = None,
    checks: tuple[tuple[str, str], ...] = (),
    **service: Any,
) -> Entry:
    """Instance ``web-<number>`` at ``10.0.0.<number>:80``, on a node of its own; checks: ids and states."""
    at = f"n{number}"
    own = {"Node": at, "Address": f"10.9.0.{number}", "Datacenter": "dc1", "ModifyIndex": 1}
    known = {"ID": f"web-{number}", "Service": "web", "Address": f"10.0.0.{number}", "Port": 80}
    return {
        "Node": {**own, **(node or {})},
        "Service": {**known, **service},
        "Checks": [{"Node": at, "CheckID": check, "Status": status} for check, status in checks],
    }


def of(*entries: Entry, name: str = "web", settings: Consul = AS_IS, **mapping: Any) -> Mapped:
    if mapping:
        settings = settings.model_copy(update={"mapping": ConsulMapping(**mapping)})
    return mapped(name, entries, settings, "vms")


def offer_of(*entries: Entry, **more: Any) -> Offer:
    (offer,) = of(*entries, **more).offers
    return offer


def only(*entries: Entry, **more: Any) -> Instance:
    (instance,) = offer_of(*entries, **more).instances
    return instance


def remark_of(*entries: Entry, **more: Any) -> tuple[str, str, str] | None:
    remark = of(*entries, **more).remark
    return (remark.about, remark.message, remark.hint) if remark else None


def test_a_plain_registration_is_a_service_of_the_mesh() -> None:
    service = offer_of(an_entry()).service

    assert str(service.key) == "default/web.service.consul"
    assert (service.resolution, service.location) == (Resolution.STATIC, Location.INTERNAL)
    assert (service.provider, service.registry, service.export_to) == (Provider.CONSUL, "vms", ("*",))
    assert [(port.number, port.name, port.protocol) for port in service.ports] == [
        (80, "default", Protocol.UNKNOWN)
    ]
    assert only(an_entry()).workload.locality == Locality("dc1")


def test_every_template_makes_a_host_with_the_same_instances() -> None:
    templates = ("{name}.service.consul", "{name}.{namespace}.{datacenter}.{partition}.mesh")
    found = of(an_entry(), hostnames=templates, namespace="shop").offers

    assert [offer.service.host for offer in found] == ["web.service.consul", "web.shop.dc1.default.mesh"]
    assert found[0].instances is found[1].instances


def test_a_name_that_no_host_can_have_is_left_out_and_said() -> None:
    assert of(an_entry(), name="my_web").offers == ()
    assert remark_of(an_entry(), name="my_web") == (
        "service my_web",
        "not a host name: 'my_web.service.consul' (label 'my_web')",
        "rename the service, or leave it out with exclude; it is not served under this name",
    )


def test_instances_of_two_namespaces_are_two_services() -> None:
    found = of(an_entry(1), an_entry(2, Meta={"namespace": "shop"}), namespaces=("shop",)).offers

    assert [str(offer.service.key) for offer in found] == [
        "default/web.service.consul",
        "shop/web.service.consul",
    ]


@pytest.mark.parametrize(
    ("service_id", "node", "name"),
    [
        ("web-1", "n1", "web-1"),
        ("web", "n1", "web-n1"),  # an id that was not chosen is the service's name
        ("Web_1", "n1", "web-1"),
        ("web:10.0.0.1:80", "n1", "web-10-0-0-1-80"),
        ("x" * 70, "n1", "x" * 54 + "-c71bd109"),
    ],
)
def test_a_workload_is_called_by_the_id_of_its_instance(service_id: str, node: str, name: str) -> None:
    assert only(an_entry(ID=service_id, node={"Node": node})).workload.name == name


def test_one_id_on_two_nodes_is_two_workloads() -> None:
    """Consul's ids are unique per node only."""
    found = offer_of(an_entry(1, ID="blue"), an_entry(2, ID="blue"))

    assert [one.workload.name for one in found.instances] == ["blue-n1", "blue-n2"]


@pytest.mark.parametrize(
    ("checks", "serves", "drains", "serves_when_warned"),
    [
        ((), True, False, True),
        ((("a", "passing"), ("serfHealth", "passing")), True, False, True),
        ((("a", "passing"), ("b", "critical")), False, False, False),
        ((("a", "warning"),), False, False, True),
        ((("a", "warning"), ("b", "critical")), False, False, False),
        ((("serfHealth", "critical"),), False, False, False),
        ((("_node_maintenance", "critical"),), True, True, True),
        ((("_service_maintenance:web-1", "critical"),), True, True, True),
        ((("_service_maintenance:web-1", "critical"), ("a", "critical")), False, False, False),
        ((("_node_maintenance", "critical"), ("a", "warning")), False, False, True),
    ],
)
def test_checks_decide_who_serves(
    checks: tuple[tuple[str, str], ...], serves: bool, drains: bool, serves_when_warned: bool
) -> None:
    strict = offer_of(an_entry(checks=checks))
    lenient = offer_of(an_entry(checks=checks), settings=Consul(serve_warning=True))

    assert [one.is_draining for one in strict.instances] == ([drains] if serves else [])
    assert bool(strict.unready) is not serves
    assert bool(lenient.instances) is serves_when_warned


def test_the_weight_is_that_of_the_state_it_serves_in() -> None:
    weights = {"Passing": 10, "Warning": 2}
    lenient = Consul(serve_warning=True)
    warned = an_entry(Weights=weights, checks=(("a", "warning"),))

    assert only(an_entry(Weights=weights)).workload.weight == 10
    assert only(warned, settings=lenient).workload.weight == 2
    assert offer_of(an_entry(Weights={"Passing": 0, "Warning": 0})).instances == ()


@pytest.mark.parametrize(("weight", "shown"), [(65536, "65536"), (5 * 10**9, "5000000000"), (10**99, None)])
def test_a_weight_beyond_what_envoy_adds_up_freezes_nothing(weight: int, shown: str | None) -> None:
    """Envoy adds up the weights of a locality in 32 bits, and refuses the endpoints of the whole service."""
    entries = an_entry(1, Weights={"Passing": weight}), an_entry(2)
    offer = offer_of(*entries)

    assert [one.workload.weight for one in offer.instances] == [65535, 1]
    assert remark_of(*entries) == (
        "service web",
        f"instance 'web-1' has the weight {shown or 'a number beyond all bounds'}",
        "give it a weight from 0 to 65535; until then, it has 65535",
    )


def test_a_weight_that_is_none_is_not_said() -> None:
    assert only(an_entry(Weights={"Passing": None})).workload.weight == 1
    assert only(an_entry(Weights=None)).workload.weight == 1
    assert offer_of(an_entry(Weights={"Passing": -3})).instances == ()


TAGGED = {
    "lan_ipv6": {"Address": "2001:db8::1", "Port": 0},
    "wan": {"Address": "198.51.100.1", "Port": 8080},
}
NODE = {"Address": "10.9.0.1", "TaggedAddresses": {"wan": "203.0.113.1", "lan_ipv6": "2001:db8:0::9"}}


@pytest.mark.parametrize(
    ("sources", "own", "place"),
    [
        (("service", "node"), "10.0.0.1", ("10.0.0.1", 80)),
        (("service", "node"), "", ("10.9.0.1", 80)),
        (("node", "service"), "10.0.0.1", ("10.9.0.1", 80)),
        (("service.lan_ipv6", "service"), "10.0.0.1", ("2001:db8::1", 80)),
        (("service.wan",), "10.0.0.1", ("198.51.100.1", 8080)),
        (("node.lan_ipv6",), "10.0.0.1", ("2001:db8::9", 80)),
        (("service.none", "node.none", "service"), "10.0.0.1", ("10.0.0.1", 80)),
        (("service", "node"), "0.0.0.0", ("10.9.0.1", 80)),
        (("service", "node"), "fe80::1%eth0", ("10.9.0.1", 80)),
        (("service",), "[2001:DB8::1]", ("2001:db8::1", 80)),
    ],
)
def test_the_address_is_of_the_first_source_that_has_one(
    sources: tuple[str, ...], own: str, place: tuple[str, int]
) -> None:
    one = only(an_entry(Address=own, TaggedAddresses=TAGGED, node=NODE), addresses=sources)

    assert (one.workload.address, one.ports[0][1]) == place


@pytest.mark.parametrize(
    "everywhere",
    ["0.0.0.0", "::", "::ffff:0.0.0.0", "224.0.0.1", "ff02::1", "255.255.255.255", "fe80::1%eth0"],
)
def test_an_address_that_is_nobodys_own_is_no_endpoint(everywhere: str) -> None:
    entries = an_entry(1, Address=everywhere, node={"Address": everywhere}), an_entry(2)

    assert [one.workload.address for one in offer_of(*entries).instances] == ["10.0.0.2"]
    assert remark_of(*entries) == (
        "service web",
        "instance 'web-1' has no address that can be used",
        "register it with an IP address, or with the name of a host; it is left out",
    )


def test_a_loopback_address_is_taken() -> None:
    assert only(an_entry(Address="127.0.0.1")).workload.address == "127.0.0.1"


def test_a_service_of_names_alone_is_found_by_dns() -> None:
    found = offer_of(an_entry(1, Address="a.example.com"), an_entry(2, Address="B.example.com."))

    assert found.service.resolution is Resolution.DNS
    assert [one.workload.address for one in found.instances] == ["a.example.com", "b.example.com"]


def test_a_name_among_addresses_is_left_out_and_said() -> None:
    entries = an_entry(1), an_entry(2, Address="a.example.com")

    assert only(*entries).workload.address == "10.0.0.1"
    assert remark_of(*entries) == (
        "service web",
        "instance 'web-2' is at the name 'a.example.com', others at IP addresses",
        "register all instances with addresses, or all with names; it is left out",
    )


def test_locality_is_of_the_node_and_else_of_consul_itself() -> None:
    node = {"Meta": {"region": "eu", "rack": "r7"}}
    own = {"Region": "us", "Zone": "us-1"}

    assert only(an_entry(node=node), subzone_meta="rack").workload.locality == Locality("eu", "", "r7")
    assert only(an_entry(Locality=own)).workload.locality == Locality("us", "us-1", "")
    assert only(an_entry(Locality=own, node=node)).workload.locality == Locality("eu", "us-1", "")


def test_the_network_is_of_the_instance_and_else_of_its_node() -> None:
    node = {"Meta": {"network": "west"}}

    assert only(an_entry(node=node)).workload.network == "west"
    assert only(an_entry(node=node, Meta={"network": "east"})).workload.network == "east"


def test_labels_are_of_meta_and_tags_and_the_registry() -> None:
    one = only(
        an_entry(Meta={"version": "v2"}, Tags=["version=v1", "stage=prod", "blue"]),
        labels=FrozenMap({"stage": "?", "cloud": "own"}),
    )

    assert dict(one.workload.labels) == {
        "version": "v2",
        "stage": "prod",
        "tag.blue": "true",
        "cloud": "own",
    }


def test_what_is_no_label_is_left_out_and_said_once() -> None:
    tags = ["urlprefix-/web", "rule=Host(`a`)", "version=v1"]
    entries = [an_entry(number, Tags=tags) for number in (1, 2, 3)]

    assert offer_of(*entries).instances[0].workload.labels == (("version", "v1"),)
    assert remark_of(*entries) == (
        "service web",
        (
            "meta or tag 'rule' is no label, or its value is none: 'Host(`a`)'; "
            "meta or tag 'tag.urlprefix-/web' is no label, or its value is none: 'true'"
        ),
        "labels are letters, digits and -_. of at most 63; leave it if no selector needs it",
    )


def test_many_mistakes_are_one_remark() -> None:
    tags = [f"a{number}=?" for number in range(9)]
    remark = remark_of(an_entry(Tags=tags))

    assert remark is not None
    assert remark[1].endswith("'a2' is no label, or its value is none: '?'; and 6 more")


def test_who_says_an_account_is_a_member_whatever_its_health() -> None:
    meta = {"serviceAccount": "shop"}
    found = of(an_entry(1, Meta=meta), an_entry(2, Meta=meta, checks=(("a", "critical"),)), an_entry(3))

    assert [(one.name, one.service_account, one.mutual_tls, one.is_ready) for one in found.workloads] == [
        ("web-1", "shop", True, True),
        ("web-2", "shop", True, False),
    ]
    assert [one.workload.mutual_tls for one in found.offers[0].instances] == [True, False]


def test_the_label_of_istio_decides_about_mutual_tls() -> None:
    meta = {"serviceAccount": "shop", "security.istio.io/tlsMode": "disabled"}
    (member,) = of(an_entry(Meta=meta)).workloads

    assert not member.mutual_tls
    assert only(an_entry(Meta={"security.istio.io/tlsMode": "istio"})).workload.mutual_tls


@pytest.mark.parametrize("account", ["a/b", "ns/x/sa/y", "a b"])
def test_what_is_no_account_makes_no_identity(account: str) -> None:
    found = of(an_entry(Meta={"serviceAccount": account}))

    assert found.workloads == ()
    assert found.remark is not None
    assert f"instance 'web-1' says a service account that is none: {account!r}" in found.remark.message


def test_an_instance_of_no_namespace_is_left_out() -> None:
    assert of(an_entry(Meta={"namespace": "a/b"}), namespaces=("*",)).offers == ()
    assert remark_of(an_entry(Meta={"namespace": "a/b"}), namespaces=("*",)) == (
        "service web",
        "instance 'web-1' says a namespace that is none: 'a/b'",
        "say a DNS label in its meta 'namespace'; it is left out",
    )


def test_who_may_register_a_service_does_not_speak_for_every_namespace() -> None:
    """A namespace is part of an identity, and of what policies select."""
    entry = an_entry(Meta={"namespace": "payments", "serviceAccount": "ledger"})
    found = of(entry, namespaces=("shop",))

    assert (found.offers, found.workloads) == ((), ())
    assert remark_of(entry) == (
        "service web",
        "instance 'web-1' says the namespace 'payments', which it may not name",
        "allow it by mapping.namespaces; it is left out",
    )


def test_one_that_does_not_serve_has_no_say_in_how_the_others_are_reached() -> None:
    named = an_entry(1, Address="a.example.com")
    failing = an_entry(2, checks=(("service:web-2", "critical"),))

    assert offer_of(named, failing).service.resolution is Resolution.DNS
    assert [one.workload.address for one in offer_of(named, failing).instances] == ["a.example.com"]


def port_of(*entries: Entry, **mapping: Any) -> tuple[int, str, Protocol]:
    (port,) = offer_of(*entries, **mapping).service.ports
    return port.number, port.name, port.protocol


def test_the_port_that_clients_call_is_said_or_set_or_the_lowest() -> None:
    sick = (("a", "critical"),)
    two = an_entry(1, Port=8081), an_entry(2, Port=8080, checks=sick)

    assert port_of(*two)[0] == 8080
    assert port_of(*two, port=80)[0] == 80
    assert port_of(an_entry(Meta={"servicePort": "81"}), port=80)[0] == 81
    assert offer_of(*two).instances[0].ports == ((8080, 8081),)


@pytest.mark.parametrize(
    ("meta", "settings", "expected"),
    [
        ({"protocol": "http2"}, {}, (80, "http2", Protocol.HTTP2)),
        ({"protocol": "redis"}, {}, (80, "tcp", Protocol.TCP)),
        ({"portName": "grpc-api"}, {}, (80, "grpc-api", Protocol.GRPC)),
        ({"portName": "grpc-api", "protocol": "http"}, {}, (80, "grpc-api", Protocol.HTTP)),
        ({}, {"protocol": "http"}, (80, "http", Protocol.HTTP)),
        ({"servicePort": "3306"}, {}, (3306, "tcp", Protocol.TCP)),
    ],
)
def test_the_protocol_is_said_or_set_or_in_the_name(
    meta: dict[str, str], settings: dict[str, Any], expected: tuple[int, str, Protocol]
) -> None:
    assert port_of(an_entry(Meta=meta), **settings) == expected


def test_a_tag_says_what_meta_does_not() -> None:
    assert port_of(an_entry(Tags=["protocol=http"]))[2] is Protocol.HTTP
    assert port_of(an_entry(Tags=["protocol=http"], Meta={"protocol": "tcp"}))[2] is Protocol.TCP


def test_the_name_that_consul_gives_the_port_counts() -> None:
    ports = [{"Name": "http", "Port": 80, "Default": True}, {"Name": "admin", "Port": 9090}]

    assert port_of(an_entry(Ports=ports)) == (80, "http", Protocol.HTTP)


def test_where_instances_disagree_most_of_them_decide() -> None:
    entries = [
        an_entry(number, Meta={"protocol": spoken}) for number, spoken in enumerate(("tcp", "http", "http"))
    ]

    assert port_of(*entries)[2] is Protocol.HTTP
    assert remark_of(*entries) == (
        "service web",
        "its instances disagree on 'protocol': 'http', 'tcp'",
        "say the same in all of them; until then, what most say holds",
    )


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"servicePort": "http"}, "the port that clients call is none: 'http'"),
        ({"servicePort": "0"}, "the port that clients call is none: '0'"),
        ({"protocol": "thrift"}, "not a known protocol: 'thrift'"),
        ({"portName": "a b"}, "the port has a name that is none: 'a b'"),
    ],
)
def test_what_cannot_be_read_of_the_port_is_said_and_passed_over(meta: dict[str, str], message: str) -> None:
    found = of(an_entry(Meta=meta))

    assert found.offers[0].service.ports[0].number == 80
    assert found.remark is not None
    assert message in found.remark.message


def test_a_port_of_a_thousand_digits_ends_nothing() -> None:
    remark = remark_of(an_entry(Tags=[f"servicePort={'9' * 5000}"]))

    assert port_of(an_entry(Tags=[f"servicePort={'9' * 5000}"]))[0] == 80
    assert remark is not None
    assert remark[1].startswith(
        f"meta or tag 'servicePort' is no label, or its value is none: '{'9' * 60}…'; "
    )
    assert remark[1].endswith(f"the port that clients call is none: '{'9' * 60}…'")


@pytest.mark.parametrize("port", [70000, -5, 65536])
def test_one_instance_with_a_port_that_is_none_does_not_freeze_its_service(port: int) -> None:
    """Consul takes any number (``/v1/catalog/register``), Envoy refuses all endpoints of the service."""
    entries = an_entry(1, Port=port, Meta={"serviceAccount": "shop"}), an_entry(2)

    assert [one.ports for one in offer_of(*entries).instances] == [((80, 80),)]
    assert [one.name for one in of(*entries).workloads] == ["web-1"]
    assert remark_of(*entries) == (
        "service web",
        f"instance 'web-1' has the port {port}",
        "register it with a port from 1 to 65535; it is left out",
    )


def test_a_tagged_port_that_is_none_is_left_out() -> None:
    tagged = {"wan": {"Address": "198.51.100.1", "Port": 70000}}

    assert of(an_entry(TaggedAddresses=tagged), addresses=("service.wan",)).offers == ()


def test_a_port_that_moves_with_an_instance_is_said() -> None:
    two = an_entry(1, Port=8080), an_entry(2, Port=9090)

    assert (port_of(*two)[0], port_of(two[1])[0]) == (8080, 9090)
    assert remark_of(*two) == (
        "service web",
        "its instances have different ports (8080, 9090), and clients call 8080 only as long as one has it",
        "say meta 'servicePort', or set mapping.port",
    )
    assert remark_of(*two, port=80) is None
    assert remark_of(two[1]) is None
    said = {"Meta": {"servicePort": "80"}}
    assert remark_of(an_entry(1, Port=8080, **said), an_entry(2, Port=9090, **said)) is None


def test_many_ports_make_a_short_remark() -> None:
    remark = remark_of(*(an_entry(number, Port=8000 + number) for number in range(1, 10)))

    assert remark is not None
    assert "(8001, 8002, 8003, 8004, 8005 and 4 more)" in remark[1]


def test_a_service_without_any_port_is_left_out() -> None:
    assert of(an_entry(Port=0)).offers == ()
    assert remark_of(an_entry(Port=0)) == (
        "service web",
        "no instance has a port",
        "register them with ports; the service is left out",
    )


def test_who_may_see_it_and_whether_it_is_of_the_mesh_is_said_in_meta() -> None:
    service = offer_of(an_entry(Meta={"exportTo": "., shop", "external": "true"})).service

    assert (service.export_to, service.location) == ((".", "shop"), Location.EXTERNAL)


def test_an_export_to_that_is_none_hides_rather_than_shows() -> None:
    found = of(an_entry(Meta={"exportTo": "*,a/b"}))

    assert found.offers[0].service.export_to == (".",)
    assert found.remark is not None
    assert "exportTo is none: '*,a/b'" in found.remark.message


def test_equal_labels_of_instances_are_one_object() -> None:
    """A hundred instances of a service mostly say the same."""
    entries = [an_entry(number, Meta={"version": "v1"}, Tags=["blue"]) for number in (1, 2)]
    one, other = offer_of(*entries).instances

    assert one.workload.labels is other.workload.labels
