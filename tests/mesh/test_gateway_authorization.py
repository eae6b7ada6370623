"""Which policies guard a gateway, and that it is another kind of gateway when they change."""

from __future__ import annotations

from mesh.proxies import Proxy, Role
from mesh.scope import GatewayKey, Scope
from mesh.views import GatewayView
from mesh.world import World
from tests.support.worlds import Worlds

EDGE = Proxy(
    role=Role.GATEWAY, name="edge-1", namespace="ingress", address="10.0.0.1", labels=(("istio", "edge"),)
)
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: ingress}
spec:
  selector: {istio: edge}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
"""


def a_policy(
    name: str, namespace: str, action: str = "DENY", selects: str | None = "edge", path: str = "/admin"
) -> str:
    selector = f"selector: {{matchLabels: {{istio: {selects}}}}}" if selects else ""
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  action: {action}
  rules: [{{to: [{{operation: {{paths: ["{path}"], ports: ["80"]}}}}]}}]
  {selector}
"""


def a_world(*policies: str, worlds: Worlds | None = None, before: World | None = None) -> World:
    files = {f"{number}.yaml": text for number, text in enumerate((GATEWAY, *policies))}
    return (worlds or Worlds()).of(files, before)


def key(scope: Scope, world: World, proxy: Proxy = EDGE) -> GatewayKey:
    found = scope.facets(world, proxy).outbound
    assert isinstance(found, GatewayKey)
    return found


def offered(scope: Scope, world: World) -> GatewayView:
    view, _ = scope.gateway(world, key(scope, world))
    return view


def test_policies_of_the_root_namespace_and_of_the_gateways_own_that_select_it_are_in_force() -> None:
    world = a_world(
        a_policy("for-all", "istio-system", selects=None),
        a_policy("of-root", "istio-system"),
        a_policy("own", "ingress", "ALLOW"),
        a_policy("not-selected", "ingress", selects="other"),
        a_policy("of-another", "bookinfo", selects=None),
    )
    in_force = offered(Scope(), world).authorization
    assert [policy.key.name for policy in in_force.deny] == ["for-all", "of-root"]
    assert [policy.key.name for policy in in_force.allow] == ["own"]


def test_a_changed_policy_makes_another_gateway_of_it() -> None:
    scope, worlds = Scope(), Worlds()
    before = a_world(a_policy("own", "ingress"), worlds=worlds)
    after = a_world(a_policy("own", "ingress", path="/other"), worlds=worlds, before=before)
    assert key(scope, before) != key(scope, after)
    assert offered(scope, before) is not offered(scope, after)


def test_a_policy_that_does_not_select_the_gateway_changes_nothing_for_it() -> None:
    scope, worlds = Scope(), Worlds()
    before = a_world(worlds=worlds)
    after = a_world(a_policy("other", "ingress", selects="other"), worlds=worlds, before=before)
    assert key(scope, before) == key(scope, after)
    assert offered(scope, before) is offered(scope, after)


def test_gateways_with_other_labels_and_the_same_policies_are_one_kind() -> None:
    scope, world = Scope(), a_world(a_policy("for-all", "istio-system", selects=None))
    labelled = Proxy(
        role=Role.GATEWAY,
        name="edge-2",
        namespace="ingress",
        address="10.0.0.2",
        labels=(("istio", "edge"), ("version", "v2")),
    )
    assert key(scope, world) == key(scope, world, labelled)
