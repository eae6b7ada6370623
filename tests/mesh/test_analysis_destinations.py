"""Destinations that lead nowhere, and everything about hosts that are known."""

from __future__ import annotations

from mesh.analysis import Finding, KnownService, analyse
from mesh.config import ConfigObject
from tests.support.documents import a_config, an_object


def a_service(
    host: str = "reviews.bookinfo.svc.cluster.local",
    ports: str = "9080",
    more: str = "",
    namespace: str = "bookinfo",
) -> ConfigObject:
    listed = ", ".join(f"{{number: {port}, name: p{port}, protocol: HTTP}}" for port in ports.split(","))
    spec = f"hosts: ['{host}']\nresolution: STATIC\nports: [{listed}]\n{more}"
    return an_object("ServiceEntry", spec, f"service-{host.partition('.')[0].strip('*') or 'all'}", namespace)


def a_route(destination: str, namespace: str = "bookinfo") -> ConfigObject:
    spec = f"hosts: [reviews]\nhttp: [{{route: [{{destination: {{{destination}}}}}]}}]"
    return an_object("VirtualService", spec, "reviews", namespace)


def found(*objects: ConfigObject, services: tuple[KnownService, ...] = ()) -> list[tuple[str, str, str, str]]:
    return [spoken(finding) for finding in analyse(a_config(*objects), services)]


def spoken(finding: Finding) -> tuple[str, str, str, str]:
    return finding.code, finding.path, finding.message, finding.hint


def test_a_known_host_is_fine_short_or_full() -> None:
    assert found(a_service(), a_route("host: reviews")) == []
    assert found(a_service(), a_route("host: reviews.bookinfo.svc.cluster.local", "default")) == []


def test_an_unknown_host_of_the_mesh_is_an_error_with_the_nearest_name() -> None:
    assert found(a_service(), a_route("host: review")) == [
        (
            "IST0101",
            "spec.http[0].route[0].destination.host",
            "no service 'review.bookinfo.svc.cluster.local'",
            "did you mean 'reviews.bookinfo.svc.cluster.local'?",
        )
    ]


def test_a_host_that_only_dns_could_know_is_an_information() -> None:
    assert found(a_route("host: api.example.com")) == [
        ("MW0011", "spec.http[0].route[0].destination.host", "no ServiceEntry declares 'api.example.com'", "")
    ]


def test_in_a_mesh_with_registries_any_host_may_be_known_to_one_of_them() -> None:
    """A commit is not held because a registry has not been asked yet."""
    mesh = an_object("Mesh", "registries: [{name: dc1, consul: {address: 'http://127.0.0.1:8500'}}]")
    text = "no ServiceEntry declares 'review.bookinfo.svc.cluster.local'"

    assert found(mesh, a_service(), a_route("host: review")) == [
        ("MW0011", "spec.http[0].route[0].destination.host", text, "")
    ]


def test_what_the_repository_shares_makes_no_other_registry() -> None:
    mesh = an_object("Mesh", "registries: [{name: git, shareHosts: ['*']}]")

    assert [code for code, *_ in found(mesh, a_route("host: review"))] == ["IST0101"]


def test_a_wildcard_service_entry_declares_what_it_covers() -> None:
    assert found(a_service("*.example.com"), a_route("host: api.example.com")) == []


def test_a_service_entry_with_a_short_host_declares_the_full_one() -> None:
    """The catalogue reads it so, too."""
    assert found(a_service("reviews"), a_route("host: reviews")) == []


def test_a_service_that_is_not_exported_here_is_unknown_here() -> None:
    hidden = a_service(more="exportTo: [.]")
    assert found(hidden, a_route("host: reviews.bookinfo.svc.cluster.local", "default"))[0][0] == "IST0101"
    assert found(hidden, a_route("host: reviews")) == []


def test_services_from_elsewhere_count() -> None:
    known = KnownService(host="reviews.bookinfo.svc.cluster.local", namespace="bookinfo")
    assert found(a_route("host: reviews"), services=(known,)) == []


def test_an_unknown_subset_is_named_with_those_that_exist() -> None:
    rule = an_object(
        "DestinationRule", "host: reviews\nsubsets: [{name: v1}, {name: v3}, {name: v2}]", "reviews"
    )
    assert found(a_service(), rule, a_route("host: reviews, subset: v4")) == [
        (
            "IST0101",
            "spec.http[0].route[0].destination.subset",
            "no subset 'v4' in DestinationRule bookinfo/reviews",
            "known subsets are v1, v2, v3",
        )
    ]
    assert found(a_service(), rule, a_route("host: reviews, subset: v2")) == []


def test_a_subset_without_any_rule_is_an_error() -> None:
    assert found(a_service(), a_route("host: reviews, subset: v1")) == [
        (
            "IST0101",
            "spec.http[0].route[0].destination.subset",
            "no DestinationRule for 'reviews.bookinfo.svc.cluster.local', so it has no subset 'v1'",
            "add a DestinationRule with subsets",
        )
    ]


def test_a_rule_with_a_wildcard_gives_its_subsets_to_what_it_covers() -> None:
    rule = an_object("DestinationRule", "host: '*.bookinfo.svc.cluster.local'\nsubsets: [{name: v1}]", "all")
    assert found(a_service(), rule, a_route("host: reviews, subset: v1")) == []


def test_one_of_several_ports_has_to_be_chosen() -> None:
    assert found(a_service(ports="80,81"), a_route("host: reviews")) == [
        (
            "IST0112",
            "spec.http[0].route[0].destination",
            "'reviews.bookinfo.svc.cluster.local' has 2 ports, so the destination needs one",
            "add port.number: one of 80, 81",
        )
    ]


def test_an_unknown_port_is_an_error() -> None:
    assert found(a_service(), a_route("host: reviews, port: {number: 81}")) == [
        (
            "IST0101",
            "spec.http[0].route[0].destination.port.number",
            "no port 81 at 'reviews.bookinfo.svc.cluster.local'",
            "known ports are 9080",
        )
    ]


def test_mirrors_are_destinations_too() -> None:
    spec = (
        "hosts: [reviews]\nhttp: [{route: [{destination: {host: reviews}}], mirror: {host: x}},"
        " {match: [{port: 1}], route: [{destination: {host: reviews}}], mirrors: [{destination: {host: y}}]}]"
    )
    findings = found(a_service(), an_object("VirtualService", spec, "reviews"))
    assert [path for code, path, _, _ in findings if code == "IST0101"] == [
        "spec.http[0].mirror.host",
        "spec.http[1].mirrors[0].destination.host",
    ]


def test_a_rule_for_an_unknown_host_is_an_information() -> None:
    assert found(an_object("DestinationRule", "host: nobody", "x")) == [
        (
            "MW0011",
            "spec.host",
            "no service 'nobody.bookinfo.svc.cluster.local' is known, so the rule does nothing",
            "",
        )
    ]
