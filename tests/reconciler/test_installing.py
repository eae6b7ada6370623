from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from mesh.errors import Misconfigured
from reconciler import installing
from reconciler.cli import main


def a_bootstrap(*words: str) -> dict:
    done = CliRunner().invoke(main, ["bootstrap", *words])
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def sockets(made: dict) -> list[tuple[str, int]]:
    (cluster,) = [one for one in made["static_resources"]["clusters"] if one["name"] == "xds-grpc"]
    places = [
        one["endpoint"]["address"] for one in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    ]
    return [(one["socket_address"]["address"], one["socket_address"]["port_value"]) for one in places]


def test_a_sidecar_needs_a_name_an_address_and_a_control_plane() -> None:
    made = a_bootstrap("hello-1.shop", "--address", "10.0.0.7", "--control-plane", "mesh.example.com")

    assert made["node"] == {
        "id": "sidecar~10.0.0.7~hello-1.shop~shop.svc.cluster.local",
        "cluster": "hello-1.shop",
        "metadata": {"INTERCEPTION_MODE": "REDIRECT"},
    }
    assert sockets(made) == [("mesh.example.com", 15012)]
    assert made["admin"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 15000}


def test_everything_else_can_be_said() -> None:
    made = a_bootstrap(
        *("edge.eu.istio-system", "--gateway", "--address", "fd00::7", "--group", "edge"),
        *("--control-plane", "10.0.0.1:1", "--control-plane", "[fd00::1]:2", "--control-plane", "fd00::2"),
        *("--trust-domain", "mesh.example", "--interception", "NONE", "--http-proxy-port", "15080"),
        *("--admin-port", "1", "--metrics-port", "2", "--readiness-port", "3"),
    )

    assert made["node"]["id"] == "router~fd00::7~edge.eu.istio-system~istio-system.svc.cluster.local"
    assert made["node"]["metadata"] == {
        "INTERCEPTION_MODE": "NONE",
        "HTTP_PROXY_PORT": "15080",
        "AUTO_REGISTER_GROUP": "edge",
    }
    assert sockets(made) == [("10.0.0.1", 1), ("fd00::1", 2), ("fd00::2", 15012)]
    assert '"spiffe://mesh.example/ns/istio-system/sa/meshwright"' in json.dumps(made)
    windows = [one["address"]["socket_address"] for one in made["static_resources"]["listeners"]]
    assert [(one["address"], one["port_value"]) for one in windows] == [("0.0.0.0", 2), ("0.0.0.0", 3)]


@pytest.mark.parametrize("name", ["hello-1", ".shop", "hello-1.", "Hello.shop", "hello~1.shop", "a.b_c"])
def test_a_proxy_has_a_name_and_a_namespace(name: str) -> None:
    with pytest.raises(Misconfigured) as error:
        installing.bootstrap(name, "10.0.0.7", ["a"])

    assert str(error.value) == f"not the name of a proxy: {name!r}"
    assert error.value.hint == "name and namespace of its WorkloadEntry: hello-1.shop"


@pytest.mark.parametrize("place", ["", ":15012", "a:", "a:0", "a:65536", "a:b", "https://a:15012"])
def test_a_control_plane_has_a_host_and_a_port(place: str) -> None:
    with pytest.raises(Misconfigured) as error:
        installing.bootstrap("a.b", "10.0.0.7", [place])

    assert str(error.value) == f"not a place of a control plane: {place!r}"
    assert error.value.hint == "write HOST:PORT: mesh.example.com:15012"


def test_a_proxy_has_an_ip_address() -> None:
    with pytest.raises(Misconfigured) as error:
        installing.bootstrap("a.b", "host", ["a"])

    assert str(error.value) == "not an IP address: 'host'"
    assert error.value.hint == "the address of its WorkloadEntry: --address 10.0.0.7"


def test_a_trust_domain_is_one() -> None:
    with pytest.raises(Misconfigured) as error:
        installing.bootstrap("a.b", "10.0.0.7", ["a"], trust_domain="Mesh/x")

    assert str(error.value) == "not a trust domain: 'Mesh/x'"
