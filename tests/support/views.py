"""Short builders of what translation reads. Everything has a default: a test says what matters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mesh.kinds.destination_rule import (
    ConnectionPoolSettings,
    LoadBalancerSettings,
    OutlierDetection,
)
from mesh.kinds.tls import ClientTLSSettings
from mesh.kinds.virtual_service import HTTPMatchRequest, HTTPRoute
from mesh.names import ObjectKey
from mesh.proxies import Interception
from mesh.services import Endpoint, Location, Port, Protocol, Resolution, Service, ServiceKey
from mesh.views import (
    Authorization,
    Cluster,
    Destination,
    EndpointsView,
    InboundPort,
    InboundView,
    MutualTls,
    OutboundView,
    Passthrough,
    Route,
    RouteTable,
    Settings,
    TrafficPolicy,
    VirtualHost,
)

SETTINGS = Settings()
NAMESPACE = "bookinfo"
ACCOUNT = "spiffe://cluster.local/ns/bookinfo/sa/reviews"


def host(name: str) -> str:
    """``reviews`` is ``reviews.bookinfo.svc.cluster.local``; a name with a dot is full already."""
    return name if "." in name else f"{name}.{NAMESPACE}.svc.cluster.local"


def spelled_anew(name: str) -> str:
    """An equal string that is another object: the memo goes by identity."""
    return name[:1] + name[1:]


def a_port(number: int = 9080, protocol: Protocol = Protocol.HTTP) -> Port:
    return Port(number=number, name=protocol.lower() or "port", protocol=protocol, target=number)


def a_service(name: str = "reviews", *ports: Port, **fields: Any) -> Service:
    made = Service(
        key=ServiceKey(host(name), NAMESPACE),
        ports=ports or (a_port(),),
        resolution=Resolution.STATIC,
        location=Location.INTERNAL,
        source=ObjectKey("ServiceEntry", NAMESPACE, name.partition(".")[0]),
    )
    return replace(made, **fields)


def a_policy(**written: Any) -> TrafficPolicy:
    """A traffic policy in the words of a DestinationRule: ``connectionPool={"tcp": {...}}``."""
    models = {
        "loadBalancer": ("load_balancer", LoadBalancerSettings),
        "connectionPool": ("connection_pool", ConnectionPoolSettings),
        "outlierDetection": ("outlier_detection", OutlierDetection),
        "tls": ("tls", ClientTLSSettings),
    }
    fields = {models[word][0]: models[word][1].model_validate(said) for word, said in written.items()}
    return TrafficPolicy(**fields, sources=(ObjectKey("DestinationRule", NAMESPACE, "reviews"),))


def a_cluster(name: str = "reviews", subset: str = "", **fields: Any) -> Cluster:
    """``policy`` may be given as written: a mapping in the words of a DestinationRule."""
    policy = fields.pop("policy", {})
    service = fields.pop("service", None) or a_service(name)
    made = Cluster(
        service=service,
        port=service.ports[0],
        subset=subset,
        policy=policy if isinstance(policy, TrafficPolicy) else a_policy(**policy),
        auto_mutual_tls=False,
        accounts=(ACCOUNT,),
    )
    return replace(made, **fields)


def an_endpoint(address: str = "10.0.0.1", port: int = 9080, **fields: Any) -> Endpoint:
    return replace(Endpoint(address=address, port=port), **fields)


def a_destination(name: str = "reviews", subset: str = "", **fields: Any) -> Destination:
    return replace(Destination(host=host(name), port=9080, subset=subset), **fields)


def a_match(**written: Any) -> HTTPMatchRequest:
    return HTTPMatchRequest.model_validate(written)


def a_route(*destinations: Destination, match: dict[str, Any] | None = None, **written: Any) -> Route:
    """A route in the words of a VirtualService; ``mirrors`` is a view's: destinations and shares."""
    mirrors = written.pop("mirrors", ())
    return Route(
        match=a_match(**match) if match is not None else None,
        spec=HTTPRoute.model_validate(written),
        destinations=destinations,
        mirrors=mirrors,
        name=written.get("name", ""),
        source=ObjectKey("VirtualService", NAMESPACE, "reviews"),
    )


def a_virtual_host(name: str = "reviews", *routes: Route, **fields: Any) -> VirtualHost:
    made = VirtualHost(
        name=f"{host(name)}:9080",
        domains=(host(name), name),
        routes=routes or (Route(match=None, spec=None, destinations=(a_destination(name),)),),
    )
    return replace(made, **fields)


def a_table(*hosts: VirtualHost, name: str = "9080", **fields: Any) -> RouteTable:
    made = RouteTable(name=name, virtual_hosts=hosts or (a_virtual_host(),), fallback=Passthrough.ALLOW_ANY)
    return replace(made, **fields)


def an_outbound_view(*clusters: Cluster, **fields: Any) -> OutboundView:
    made = OutboundView(
        settings=SETTINGS,
        interception=Interception.NONE,
        passthrough=Passthrough.ALLOW_ANY,
        clusters=clusters,
        tables=(),
        listeners=(),
    )
    return replace(made, **fields)


def an_endpoints_view(**endpoints: tuple[Endpoint, ...]) -> EndpointsView:
    return EndpointsView(by_cluster=dict(endpoints))


def an_inbound_port(target: int = 9080, protocol: Protocol = Protocol.HTTP, **fields: Any) -> InboundPort:
    made = InboundPort(
        target=target,
        port=a_port(target, protocol),
        host=host("reviews"),
        mutual_tls=MutualTls.STRICT,
    )
    return replace(made, **fields)


def an_inbound_view(*ports: InboundPort, **fields: Any) -> InboundView:
    made = InboundView(
        settings=SETTINGS,
        interception=Interception.NONE,
        ports=ports or (an_inbound_port(),),
        mutual_tls=MutualTls.STRICT,
        authorization=Authorization(),
        namespace=NAMESPACE,
    )
    return replace(made, **fields)
