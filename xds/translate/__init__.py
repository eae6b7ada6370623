"""From views to resources: one function per facet, each in dependency order, then the check.

A facet's resources come by type URL, clusters before endpoints before listeners before routes before
secrets, ready to become parts (``xds/resources.py``). What one facet can know is checked here: its
listeners point at tables that exist. What only the whole can know (clusters and their endpoints) is
checked where facets are put together.

Sidecars are outbound, endpoints, inbound, host (interception ``NONE`` only) and trust; gateways are
outbound (of a view without listeners), endpoints, gateway and trust.
"""

from __future__ import annotations

from collections.abc import Mapping

from mesh.views import EndpointsView, GatewayView, HostView, InboundView, OutboundView
from mesh.world import Credential
from xds import envoy
from xds.memo import Memo
from xds.resources import Part, Resource, check_consistent
from xds.translate import clusters, endpoints, gateways, inbound, listeners, routes, secrets

Resources = dict[str, list[Resource]]
"""The resources of one facet by type URL, each type in a fixed order."""

_NO_CREDENTIALS: Mapping[str, Credential] = {}


def outbound_resources(view: OutboundView, memo: Memo) -> Resources:
    """What the applications behind a sidecar (or the routes of a gateway) can call."""
    return _checked(
        {
            envoy.CLUSTER: list(clusters.outbound_clusters(view, memo)),
            envoy.LISTENER: list(listeners.outbound_listeners(view, memo)),
            envoy.ROUTES: list(routes.route_tables(view.tables, view.settings, memo)),
        }
    )


def endpoint_resources(view: EndpointsView, memo: Memo) -> Resources:
    """Where each of those services is."""
    return {envoy.ENDPOINTS: list(endpoints.assignments(view, memo))}


def inbound_resources(view: InboundView, memo: Memo) -> Resources:
    """What a workload answers for. Without capture only its clusters: its listeners are the host's."""
    return {
        envoy.CLUSTER: list(clusters.inbound_clusters(view, memo)),
        envoy.LISTENER: list(inbound.inbound_listeners(view, memo)),
    }


def host_resources(view: HostView, memo: Memo) -> Resources:
    """What one machine binds. The table of its HTTP proxy is the outbound facet's."""
    return {
        envoy.LISTENER: [
            *inbound.bound_listeners(view, memo),
            *listeners.http_proxy_listener(view, memo),
        ]
    }


def gateway_resources(
    view: GatewayView, memo: Memo, credentials: Mapping[str, Credential] = _NO_CREDENTIALS
) -> Resources:
    """What a gateway offers; ``credentials`` by name, all of its own namespace."""
    return _checked(
        {
            envoy.LISTENER: list(gateways.gateway_listeners(view, memo)),
            envoy.ROUTES: list(routes.route_tables(view.tables, view.settings, memo)),
            envoy.SECRET: list(secrets.gateway_secrets(view, credentials, memo)),
        }
    )


def trust_resources(roots: tuple[str, ...], memo: Memo) -> Resources:
    """Whom every proxy of the mesh believes: root certificates, each in PEM."""
    return {envoy.SECRET: list(secrets.trust_secrets(roots, memo))}


def _checked(made: Resources) -> Resources:
    check_consistent({kind: (Part.of(kind, made[kind]),) for kind in (envoy.LISTENER, envoy.ROUTES)})
    return made
