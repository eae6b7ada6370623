"""References to gateways, unreachable routes, and objects that clash."""

from __future__ import annotations

from mesh.analysis import analyse
from mesh.config import ConfigObject
from tests.support.documents import a_config, an_object

SERVER = "{port: {number: 80, protocol: HTTP, name: http}, hosts: ['%s']}"


def found(code: str, *objects: ConfigObject) -> list[tuple[str, str, str]]:
    return [
        (str(finding.object).partition("/")[2], finding.path, finding.message)
        for finding in analyse(a_config(*objects))
        if finding.code == code
    ]


def a_gateway(hosts: str = "*", name: str = "gw", namespace: str = "bookinfo") -> ConfigObject:
    return an_object("Gateway", f"selector: {{app: gw}}\nservers: [{SERVER % hosts}]", name, namespace)


def a_virtual_service(
    more: str = "", name: str = "a", namespace: str = "bookinfo", host: str = "a.com"
) -> ConfigObject:
    route = "http: [{route: [{destination: {host: x.com}}]}]"
    return an_object("VirtualService", f"hosts: ['{host}']\n{route}\n{more}", name, namespace)


def test_an_unknown_gateway_is_an_error() -> None:
    assert found("IST0101", a_gateway(), a_virtual_service("gateways: [gv, mesh]")) == [
        ("bookinfo/a", "spec.gateways[0]", "no Gateway bookinfo/gv")
    ]


def test_a_gateway_is_found_in_every_spelling() -> None:
    for spelling in ("gw", "./gw", "bookinfo/gw", "gw.bookinfo.svc.cluster.local"):
        assert found("IST0101", a_gateway(), a_virtual_service(f"gateways: [{spelling}]")) == []


def test_the_gateways_of_a_match_are_references_too() -> None:
    spec = "hosts: [a.com]\nhttp: [{match: [{gateways: [gv]}], route: [{destination: {host: x.com}}]}]"
    assert found("IST0101", an_object("VirtualService", spec)) == [
        ("bookinfo/a", "spec.http[0].match[0].gateways[0]", "no Gateway bookinfo/gv")
    ]


def test_a_gateway_that_serves_none_of_the_hosts_is_a_warning() -> None:
    assert found("IST0132", a_gateway("b.com"), a_virtual_service("gateways: [gw]")) == [
        ("bookinfo/a", "spec.hosts", "no server of Gateway bookinfo/gw has any of a.com")
    ]
    assert found("IST0132", a_gateway("*.com"), a_virtual_service("gateways: [gw]")) == []
    assert found("IST0132", a_gateway("./a.com"), a_virtual_service("gateways: [gw]")) == []
    assert found("IST0132", a_gateway("other/a.com"), a_virtual_service("gateways: [gw]")) != []


def routes(*matches: str) -> ConfigObject:
    listed = ", ".join(f"{{{match}route: [{{destination: {{host: x.com}}}}]}}" for match in matches)
    return an_object("VirtualService", f"hosts: [a.com]\nhttp: [{listed}]")


def test_what_comes_after_a_route_without_matches_is_never_reached() -> None:
    assert found("IST0130", routes("", "match: [{port: 1}], ")) == [
        ("bookinfo/a", "spec.http[1]", "never reached: http[0] matches everything")
    ]
    assert found("IST0130", routes("match: [{port: 1}, {}], ", "")) == [
        ("bookinfo/a", "spec.http[1]", "never reached: http[0] matches everything")
    ]
    assert found("IST0130", routes("match: [{port: 1}], ", "")) == []


def test_a_match_that_an_earlier_route_takes_has_no_effect() -> None:
    twice = routes(
        "match: [{port: 1}], ", "match: [{port: 1, name: again}], ", "match: [{port: 1}, {port: 2}], "
    )
    assert found("IST0130", twice) == [
        ("bookinfo/a", "spec.http[1]", "never reached: every match of it is taken by earlier routes")
    ]
    assert [path for _, path, _ in found("IST0131", twice)] == [
        "spec.http[1].match[0]",
        "spec.http[2].match[0]",
    ]


def test_two_virtual_services_of_the_mesh_with_one_host_are_a_warning_at_both() -> None:
    assert found("IST0109", a_virtual_service(name="a"), a_virtual_service(name="b", namespace="other")) == [
        ("bookinfo/a", "spec.hosts[0]", "a.com claimed by VirtualService other/b too"),
        ("other/b", "spec.hosts[0]", "a.com claimed by VirtualService bookinfo/a too"),
    ]


def test_hosts_that_no_client_sees_together_do_not_clash() -> None:
    private, other = "exportTo: [.]", "exportTo: [elsewhere]"
    assert found("IST0109", a_virtual_service(private), a_virtual_service(other, "b", "other")) == []


def test_gateways_merge_so_their_virtual_services_do_not_clash() -> None:
    one, other = a_virtual_service("gateways: [gw]"), a_virtual_service("gateways: [gw]", "b")
    assert found("IST0109", a_gateway(), one, other) == []


def a_sidecar(name: str, labels: str = "") -> ConfigObject:
    selector = f"workloadSelector: {{labels: {{{labels}}}}}\n" if labels else ""
    return an_object("Sidecar", f"{selector}egress: [{{hosts: ['./*']}}]", name)


def test_a_namespace_has_one_default_sidecar() -> None:
    assert found("IST0111", a_sidecar("a"), a_sidecar("b")) == [
        ("bookinfo/a", "spec.workloadSelector", "the namespace has another Sidecar without a selector: b"),
        ("bookinfo/b", "spec.workloadSelector", "the namespace has another Sidecar without a selector: a"),
    ]


def test_a_workload_has_one_sidecar_of_its_own() -> None:
    workload = an_object("WorkloadEntry", "{address: 1.2.3.4, labels: {app: a, version: v1}}")
    by_app, by_version = a_sidecar("a", "app: a"), a_sidecar("b", "version: v1")

    assert found("IST0110", by_app, by_version) == []
    assert [key for key, _, _ in found("IST0110", by_app, by_version, workload)] == [
        "bookinfo/a",
        "bookinfo/b",
    ]
    assert [key for key, _, _ in found("IST0110", by_app, a_sidecar("c", "app: a"))] == [
        "bookinfo/a",
        "bookinfo/c",
    ]
