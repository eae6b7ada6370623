"""The parts of the hybrid demo that decide: who runs, what the cluster is told, and what counts as shared."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from mesh.documents import parse_file
from mesh.errors import Misconfigured
from reconciler.demo import places
from reconciler.demo.hybrid import cast, cluster, programs, sidecars
from reconciler.demo.hybrid.kubernetes_api import path_of
from reconciler.demo.hybrid.performance import AT_REST, STEPS, SWAPPED, weighted
from reconciler.demo.hybrid.shopper import Reply
from reconciler.demo.hybrid.splits import Split, identity, wrong
from reconciler.demo.repository import files
from reconciler.demo.workloads import ProxyPorts

EXAMPLE = files(Path(__file__).parents[2] / "examples" / "hybrid")
OUTWARD = "192.0.2.7"
READ = partial(cast.read, pods_at=OUTWARD)
CAST = READ(EXAMPLE, ProxyPorts())
REGISTRIES = {"cart-vm-1": "dc1", "cart-1": "k8s"}


def replies(instance: str, number: int, *, caller: str = "front") -> list[Reply]:
    certificates = f'By={identity("cart")};Hash=abc;Subject="";URI={identity(caller)}'
    return [Reply(instance=instance, caller=certificates)] * number


def test_everybody_of_the_example_has_a_registry() -> None:
    assert CAST.registries == {
        "front-1": "git",
        "catalog-vm-1": "dc1",
        "catalog-vm-2": "dc1",
        "cart-vm-1": "dc1",
        "cart-vm-2": "dc1",
        "catalog-1": "k8s",
        "catalog-2": "k8s",
        "cart-1": "k8s",
    }
    assert [one.workload.name for one in CAST.at_first] == [
        name for name in CAST.registries if name != "cart-vm-2"
    ]


def test_pods_have_the_machine_s_address_and_a_port_each() -> None:
    """Kubernetes takes no endpoint on the loopback network."""
    assert [one.workload.place for one in CAST.pods] == [
        f"{OUTWARD}:19085",
        f"{OUTWARD}:19086",
        f"{OUTWARD}:19087",
    ]


def test_no_two_listeners_meet() -> None:
    assert len(set(CAST.sockets)) == len(CAST.sockets)


def test_two_demos_at_once_get_different_places() -> None:
    read = partial(cast.read, pods_at="127.0.0.1")
    with places.find(EXAMPLE, read) as one, places.find(EXAMPLE, read) as two:
        assert not set(one.cast.sockets) & set(two.cast.sockets)


def test_what_the_registries_know_is_not_pushed() -> None:
    assert sorted(cast.of_git(EXAMPLE)) == [
        "README.md",
        "cart.yaml",
        "catalog.yaml",
        "front.yaml",
        "mesh.yaml",
        "security.yaml",
    ]


def test_a_newcomer_has_to_say_that_it_is_well() -> None:
    """It is known from its registration on, so that its proxy can come up before it is asked."""
    assert json.loads(EXAMPLE[cast.NEWCOMER])["services"][0]["check"] == {"ttl": "1h"}


def test_a_pod_is_in_a_slice_of_the_service_that_selects_it() -> None:
    service = next(one for one in CAST.objects if one["metadata"]["name"] == "cart")
    pod = CAST.pods[2]
    made = cluster.endpoint_slice(service, pod, is_ready=False)

    assert path_of(made) == "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/cart-cart-1"
    assert made["metadata"]["labels"] == {"kubernetes.io/service-name": "cart"}
    assert made["endpoints"] == [
        {
            "addresses": [OUTWARD],
            "conditions": {"ready": False, "serving": False, "terminating": False},
            "targetRef": {"kind": "Pod", "namespace": "shop", "name": "cart-1"},
        }
    ]
    assert made["ports"] == [{"name": "http", "port": 19087, "protocol": "TCP"}]


def test_a_pod_that_is_not_ready_says_so_in_its_status() -> None:
    assert cluster.status(CAST.pods[0], is_ready=False)["conditions"] == [
        {"type": "Ready", "status": "False"}
    ]


def test_shares_hold_within_chance() -> None:
    split = Split(service="cart", consul=70, requests=1000)

    assert split.holds(replies("cart-vm-1", 640) + replies("cart-1", 360), REGISTRIES)
    assert not split.holds(replies("cart-vm-1", 600) + replies("cart-1", 400), REGISTRIES)


def test_nothing_is_none_at_all() -> None:
    split = Split(service="cart", consul=0, requests=1000)

    assert split.holds(replies("cart-1", 1000), REGISTRIES)
    assert not split.holds([*replies("cart-1", 999), *replies("cart-vm-1", 1)], REGISTRIES)


def test_the_tolerance_is_said() -> None:
    assert [str(split) for split in AT_REST] == [
        "catalog: dc1 70 %, k8s 30 % (dc1 621 to 775 of 1000)",
        "cart: k8s alone",
    ]


def test_one_failed_request_is_too_many() -> None:
    split = Split(service="cart", consul=0, requests=200)
    came = [*replies("cart-1", 199), Reply(failure="status 503")]

    assert not split.holds(came, REGISTRIES)
    assert split.observed(came, REGISTRIES) == "cart: k8s 199 of 200; 1 failed: status 503"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (replies("cart-1", 1)[0], ""),
        (Reply(instance="cart-1"), "cart-1 was asked by nobody"),
        (
            replies("cart-1", 1, caller="thief")[0],
            "cart-1 was asked by spiffe://cluster.local/ns/shop/sa/thief",
        ),
        (
            replace(replies("cart-1", 1)[0], caller=f"URI={identity('front')}"),
            "cart-1 answered as nobody",
        ),
    ],
)
def test_both_sides_must_be_known_by_their_certificates(reply: Reply, why: str) -> None:
    assert wrong(reply, "cart") == why


@pytest.mark.parametrize("split", AT_REST, ids=lambda split: split.service)
def test_the_example_is_at_rest(split: Split) -> None:
    text = EXAMPLE[f"{split.service}.yaml"]

    assert weighted(text, split.consul) == text


@pytest.mark.parametrize("split", SWAPPED, ids=lambda split: split.service)
def test_the_weights_that_are_pushed_are_the_shares_that_are_expected(split: Split) -> None:
    text = weighted(EXAMPLE[f"{split.service}.yaml"], split.consul)
    documents, problems = parse_file("a.yaml", text.encode())

    assert problems == ()
    assert {
        route["destination"]["subset"]: route["weight"]
        for route in documents[1].data["spec"]["http"][0]["route"]
    } == {"dc1": split.consul, "k8s": 100 - split.consul}


def test_every_step_has_a_name_that_fits_its_column() -> None:
    names = [step.name for step in STEPS]

    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 19


def test_the_endpoints_of_a_service_are_read_from_its_clusters() -> None:
    said = (
        "outbound|8080|dc1|cart.shop.svc.cluster.local::default_priority::max_connections::1024\n"
        "outbound|8080|dc1|cart.shop.svc.cluster.local::127.0.80.23:19083::cx_active::2\n"
        "outbound|8080|k8s|cart.shop.svc.cluster.local::192.0.2.7:19087::health_flags::healthy\n"
        "outbound|8080||catalog.shop.svc.cluster.local::127.0.80.21:19081::cx_active::2\n"
        "xds-grpc::127.0.0.1:15012::cx_active::1\n"
    )

    assert sidecars.endpoints(said, "cart.shop.svc.cluster.local") == {"127.0.80.23:19083", "192.0.2.7:19087"}


def test_a_missing_server_is_named_with_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)

    with pytest.raises(Misconfigured, match=r"^no etcd on this machine$") as caught:
        programs.find("etcd")

    assert caught.value.hint == "run 'make test-servers', which brings one"


def test_the_newest_of_several_servers_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for version in ("1.8.7", "1.22.5"):
        made = programs.cache() / f"consul-{version}" / "bin" / "consul"
        made.parent.mkdir(parents=True)
        made.touch(mode=0o755)

    assert programs.find("consul").parents[1].name == "consul-1.22.5"
