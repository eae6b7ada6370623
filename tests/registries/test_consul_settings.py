"""What the settings of a Consul show by themselves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from mesh.kinds.kind import Kind
from mesh.kinds.registry_consul import Consul, filled
from mesh.services import Protocol
from registries.consul.mapping import mapped
from tests.support.documents import problems_of

AT = "spec.registries[0].consul"


def problems(consul: str) -> list[str]:
    found = problems_of("Mesh", f"registries: [{{name: vms, consul: {{{consul}}}}}]")
    return [problem.removeprefix("error IST0106 ") for problem in found]


def mapping(text: str) -> list[str]:
    return problems(f"address: 'http://consul:8500', mapping: {{{text}}}")


@pytest.mark.parametrize(
    "consul",
    [
        "address: 'http://consul:8500'",
        "address: 'https://consul.example'",
        "address: 'http://[2001:db8::1]:8500/'",
        "secretRef: vault",
        "secretRef: vault, datacenter: dc1, partition: west, namespace: team_a",
        "secretRef: vault, include: ['*', 'a*', '*a', '*a*'], exclude: [], tags: [mesh]",
        "secretRef: vault, mapping: {hostnames: ['{name}.{namespace}.{datacenter}.{partition}.mesh']}",
        "secretRef: vault, mapping: {addresses: [service.lan_ipv6, node.wan, node], port: 80}",
        "secretRef: vault, mapping: {protocol: http}",
        "secretRef: vault, mapping: {labels: {cloud: own}}",
    ],
)
def test_what_is_right_is_taken(consul: str) -> None:
    assert problems(consul) == []


EXPECTED = "(expected http://host:port or https://host:port)"


@pytest.mark.parametrize(
    ("consul", "message"),
    [
        ("", "address: expected an address, or a secretRef whose credentials hold one"),
        ("address: 'consul:8500'", f"address: not an address: 'consul:8500' {EXPECTED}"),
        ("address: 'ftp://consul'", f"address: not an address: 'ftp://consul' {EXPECTED}"),
        ("address: 'http://consul:99999'", f"address: not an address: 'http://consul:99999' {EXPECTED}"),
        ("address: 'http://consul/v1'", f"address: not an address: 'http://consul/v1' {EXPECTED}"),
        (
            "address: 'http://user:pass@consul'",
            f"address: credentials stand in a folder of the operator's, not in an address {EXPECTED}",
        ),
        ("secretRef: ../vault", "secretRef: not a DNS label: '../vault'"),
        ("secretRef: Vault", "secretRef: not in lower case: 'Vault'"),
        ("secretRef: a, datacenter: 'a b'", "datacenter: expected letters, digits, - and _, found 'a b'"),
        ("secretRef: a, include: ['a*b']", "include[0]: expected '*' at an end only, found 'a*b'"),
        ("secretRef: a, exclude: ['**']", "exclude[0]: not the name of a service: '**'"),
        ("secretRef: a, tags: ['']", "tags[0]: expected a tag, found nothing"),
    ],
)
def test_what_is_wrong_is_said_at_its_place(consul: str, message: str) -> None:
    assert problems(consul) == [f"{AT}.{message}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hostnames: []", "hostnames: expected at least one template"),
        (
            "hostnames: ['{nmae}.consul']",
            (
                "hostnames[0]: unknown variable {nmae} in '{nmae}.consul' "
                "(known are {name}, {namespace}, {datacenter}, {partition})"
            ),
        ),
        (
            "hostnames: ['web.consul']",
            "hostnames[0]: expected {name} in 'web.consul': all services would share one host",
        ),
        (
            "hostnames: ['{name}_x.consul']",
            "hostnames[0]: '{name}_x.consul' makes no host name: not a host name: 'x_x.consul' (label 'x_x')",
        ),
        ("namespace: a/b", "namespace: not a DNS label: 'a/b'"),
        ("accountMeta: ''", "accountMeta: expected the key of a meta, found nothing"),
        ("portNameMeta: ''", "portNameMeta: expected the key of a meta, found nothing"),
        ("port: 70000", "port: expected a port from 1 to 65535, found 70000"),
        ("protocol: thrift", "protocol: not a known protocol: 'thrift'"),
        ("addresses: []", "addresses: expected at least one of service, node"),
        (
            "addresses: [lan]",
            "addresses[0]: expected service, node, service.<tag> or node.<tag>, found 'lan'",
        ),
        ("labels: {'a b': c}", "labels.a b: not a label's key: 'a b'"),
    ],
)
def test_a_mapping_that_cannot_work_is_said(text: str, message: str) -> None:
    assert mapping(text) == [f"{AT}.mapping.{message}"]


def test_a_template_means_its_variables_and_nothing_else() -> None:
    """The text is a user's: Python's own templates would read attributes of what fills them."""
    assert filled("{name}.{name}.x", name="web") == "web.web.x"
    assert problems("secretRef: a, mapping: {hostnames: ['{name.__class__}']}") != []


@pytest.mark.parametrize(
    ("pattern", "name", "selects"),
    [
        ("web", "web", True),
        ("web", "WEB", True),
        ("web", "web-1", False),
        ("web*", "web-1", True),
        ("*-1", "web-1", True),
        ("*b-*", "web-1", True),
        ("*", "web", True),
        ("*x", "web", False),
    ],
)
def test_patterns_choose_services(pattern: str, name: str, *, selects: bool) -> None:
    assert Consul(include=(pattern,)).selects(name) is selects
    assert Consul(exclude=(pattern,)).selects(name) is not selects


def test_consul_itself_is_left_out() -> None:
    assert not Consul().selects("consul")


PAGE = (Path(__file__).resolve().parents[2] / "docs" / "registries" / "consul.md").read_text(encoding="utf-8")


def fields(model: type[Kind], prefix: str = "") -> list[str]:
    """Every field as documents write it."""
    found: list[str] = []
    for field in model.model_fields.values():
        path = f"{prefix}{field.alias}"
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Kind):
            found += fields(inner, f"{path}.")
        else:
            found.append(path)
    return found


def test_the_page_explains_every_field() -> None:
    table = PAGE.split("## Every field", 1)[1].split("## ", 1)[0]

    first = " ".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE))
    assert sorted(re.findall(r"`([\w.]+)`", first)) == sorted(fields(Consul))


def test_the_settings_on_the_page_are_sound() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)

    assert problems_of("Mesh", yaml.safe_dump(yaml.safe_load(example)["spec"])) == []


def test_the_example_on_the_page_becomes_what_the_page_says() -> None:
    (settings,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (registration,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    (node_meta,) = re.findall(r"Its node has the meta `(.*?)`", PAGE)
    consul = Consul.model_validate(yaml.safe_load(settings)["spec"]["registries"][0]["consul"], by_name=False)
    service = json.loads(registration)
    node = {"Node": "n1", "Address": "10.4.0.1", "ModifyIndex": 1, "Meta": json.loads(node_meta)}
    entry = {"Node": node, "Service": {**service, "Service": service["Name"]}, "Checks": []}
    found = mapped("reviews", [entry], consul, "vms")

    assert [str(offer.service.key) for offer in found.offers] == [
        "shop/reviews.service.consul",
        "shop/reviews.shop.mesh",
    ]
    (port,) = found.offers[0].service.ports
    (one,) = found.offers[0].instances
    assert (port.number, port.protocol, one.ports) == (80, Protocol.HTTP, ((80, 9080),))
    assert {"version": "v2", "tag.primary": "true", "platform": "vm"}.items() <= dict(
        one.workload.labels
    ).items()
    assert (one.workload.address, one.workload.weight) == ("10.4.0.7", 10)
    assert str(one.workload.locality) == "eu-west/eu-west-1"
    assert [(one.namespace, one.name, one.service_account) for one in found.workloads] == [
        ("shop", "reviews-7", "reviews")
    ]
    assert found.remark is None
