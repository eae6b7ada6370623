"""What of a DestinationRule holds for a whole connection, and reaches the listeners."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mesh.proxies import Interception
from mesh.scope import OutboundKey, Scope
from mesh.views import Forwarding, HttpListener, OutboundListener, TcpListener
from mesh.world import World
from tests.support.worlds import Worlds

KEY = OutboundKey(namespace="shop", interception=Interception.REDIRECT)


def a_service(name: str, port: str, address: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: shop}}
spec:
  hosts: [{name}.example]
  addresses: [{address}]
  ports: [{port}]
  resolution: STATIC
  location: MESH_INTERNAL
"""


def a_rule(name: str, policy: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: shop}}
spec:
  host: {name}.example
  trafficPolicy: {policy}
"""


FILES = {
    "ledger.yaml": a_service("ledger", "{number: 5432, name: tcp-sql, protocol: TCP}", "240.0.0.1"),
    "old.yaml": a_service("old", "{number: 7000, name: thing}", "240.0.0.2"),
}
LIMITS = "{connectionPool: {tcp: {idleTimeout: 300s, maxConnectionDuration: 2h}}}"


def listeners(scope: Scope, world: World) -> dict[str, OutboundListener]:
    return {listener.address: listener for listener in scope.outbound(world, KEY).listeners}


def forwarding(address: str, policy: str | None, name: str) -> Forwarding:
    files = FILES | ({"rule.yaml": a_rule(name, policy)} if policy else {})
    found = listeners(Scope(), Worlds().of(files))[address]
    to = found.to if isinstance(found, TcpListener) else found.otherwise
    assert to is not None
    return to


def test_a_connection_lasts_as_long_as_the_rule_of_its_service_says() -> None:
    for address, name in (("240.0.0.1", "ledger"), ("240.0.0.2", "old")):
        to = forwarding(address, LIMITS, name)
        assert (to.idle_timeout, to.max_duration) == (timedelta(seconds=300), timedelta(hours=2))
        assert [str(source.kind) for source in to.sources] == ["ServiceEntry", "DestinationRule"]


def test_what_is_said_for_a_port_counts_for_that_port() -> None:
    policy = (
        "{portLevelSettings: [{port: {number: 5432}, connectionPool: {tcp: {idleTimeout: 9s}}},"
        " {port: {number: 1}, connectionPool: {tcp: {idleTimeout: 8s}}}]}"
    )
    assert forwarding("240.0.0.1", policy, "ledger").idle_timeout == timedelta(seconds=9)


def test_connections_are_shared_out_by_caller_where_the_rule_says_so() -> None:
    by_source = "{loadBalancer: {consistentHash: {useSourceIp: true}}}"
    assert forwarding("240.0.0.1", by_source, "ledger").by_source
    assert not forwarding("240.0.0.1", None, "ledger").by_source


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (None, True),
        ("{tls: {mode: ISTIO_MUTUAL}}", True),
        ("{tls: {mode: SIMPLE}}", False),
    ],
)
def test_bytes_of_an_unknown_protocol_say_so_to_the_mesh_alone(policy: str | None, expected: bool) -> None:
    """A server of somebody else's may end a handshake that offers a name it does not know."""
    assert forwarding("240.0.0.2", policy, "old").says_bytes is expected
    assert forwarding("240.0.0.1", policy, "old").says_bytes is False


def test_a_rule_for_another_service_leaves_a_listener_the_very_object_it_was() -> None:
    scope, worlds = Scope(), Worlds()
    files = FILES | {"rule.yaml": a_rule("ledger", LIMITS)}
    before = worlds.of(files)
    other = a_rule("old", "{connectionPool: {tcp: {idleTimeout: 1s}}}")
    after = worlds.of(files | {"other.yaml": other}, before)
    first, second = listeners(scope, before), listeners(scope, after)
    assert first["240.0.0.1"] is second["240.0.0.1"]
    assert first["240.0.0.2"] != second["240.0.0.2"]


def test_listeners_stay_the_very_tuple_when_a_rule_says_nothing_of_connections() -> None:
    scope, worlds = Scope(), Worlds()
    files = FILES | {"web.yaml": a_service("web", "{number: 80, name: http, protocol: HTTP}", "240.0.0.3")}
    before = worlds.of(files)
    after = worlds.of(files | {"rule.yaml": a_rule("web", "{outlierDetection: {interval: 1s}}")}, before)
    first, second = scope.outbound(before, KEY), scope.outbound(after, KEY)
    assert first is not second
    assert first.listeners is second.listeners
    assert any(isinstance(one, HttpListener) for one in first.listeners)
