"""Explicit addresses that cannot be had twice."""

from __future__ import annotations

from mesh.analysis import Finding, analyse
from mesh.config import ConfigObject
from tests.support.documents import a_config, an_object


def a_service(address: str) -> ConfigObject:
    spec = "resolution: STATIC\nports: [{number: 9080, protocol: HTTP, name: http}]"
    return an_object("ServiceEntry", f"hosts: [reviews.example]\naddresses: ['{address}']\n{spec}", "reviews")


def found(*objects: ConfigObject) -> list[Finding]:
    return [finding for finding in analyse(a_config(*objects)) if finding.code == "MW0014"]


def test_a_service_cannot_be_listened_for_at_the_address_of_a_workload() -> None:
    """The sidecar listens there for what comes in: requests that leave it would come back."""
    workload = an_object("WorkloadEntry", "address: 127.0.80.10", "reviews-1")
    (finding,) = found(a_service("127.0.80.10"), workload)

    assert (finding.path, finding.message, finding.hint) == (
        "spec.addresses[0]",
        f"127.0.80.10 is the address of WorkloadEntry {workload.key.namespace}/reviews-1",
        "give the service a loopback address of its own",
    )


def test_any_other_address_may_be_shared() -> None:
    """Under capture a virtual address is matched, not listened at."""
    workload = an_object("WorkloadEntry", "address: 10.0.0.1", "reviews-1")

    assert found(a_service("10.0.0.1"), workload) == []
    assert found(a_service("127.0.80.11"), workload) == []
