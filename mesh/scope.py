"""What one kind of proxy may see: the four views.

A proxy is put into its facets by :meth:`Scope.facets`; a facet's key is all that decides its view, and
proxies that are equal in the key share the view (DESIGN D2). Views are made through a
:class:`~mesh.interning.Recall`: what did not change in the world is the same object in the view, and a
view none of whose parts changed is itself the same object.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from mesh.auto_passthrough import door_ports, doors, is_door, is_passable, passed_clusters, passing_servers
from mesh.config import Config, ConfigObject
from mesh.destinations import by_service, cluster_endpoints, clusters
from mesh.edge import destinations, servers, tables
from mesh.inbound import inbound_port, inbound_view
from mesh.interning import Interner, Recall, gathered
from mesh.kinds.gateway import Gateway
from mesh.kinds.sidecar import Sidecar
from mesh.labels import NO_LABELS, Labels, project, selects
from mesh.listeners import listeners
from mesh.networks import NOWHERE, Gateways, Standpoint, all_gateways, declared_gateways
from mesh.outbound import Inputs, captured_tables, explicit_tables
from mesh.proxies import Interception, Proxy, Role
from mesh.routing import Client
from mesh.security import Authentication, Policies, authentication, authorization, levels
from mesh.services import Inbound, Service, ServiceKey
from mesh.settings import passthrough, settings
from mesh.traffic import Rule, rule_for
from mesh.views import (
    Authorization,
    Cluster,
    EndpointsView,
    GatewayServer,
    GatewayView,
    HostView,
    InboundPort,
    InboundView,
    OutboundListener,
    OutboundView,
    PassingServer,
    Passthrough,
    RouteTable,
    Settings,
)
from mesh.visibility import (
    VirtualServices,
    Visible,
    bound_to_mesh,
    host_index,
    imports,
    routed_hosts,
    selection_keys,
    sidecar_for,
    visible,
)
from mesh.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundKey:
    """What decides everything that the applications behind a sidecar can call."""

    namespace: str
    interception: Interception
    sidecar: ConfigObject[Sidecar] | None = None
    labels: Labels = NO_LABELS
    network: str = ""
    """Empty as well where networks decide nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayKey:
    """What decides everything that a gateway offers: the Gateways that select it, and who may pass."""

    namespace: str
    gateways: tuple[ConfigObject[Gateway], ...]
    authorization: Authorization
    network: str = ""
    """Empty as well where networks decide nothing."""


@dataclass(frozen=True, slots=True)
class Facets:
    """The facets of one proxy. A gateway has no inbound; only interception ``NONE`` has a host."""

    outbound: OutboundKey | GatewayKey
    inbound: InboundView | None
    host: HostView | None


class Scope:
    """Makes views of worlds. Owned by the task that translates."""

    def __init__(self) -> None:
        self.recall = Recall()
        self._intern = Interner()

    def begin_generation(self) -> None:
        """From here on every view in force is asked for again."""
        self.recall.begin_generation()
        self._intern.drop_unused()

    def end_generation(self) -> None:
        """Forget what was not asked for. Values that only remembered results hold may be made once more."""
        self.recall.end_generation()
        self._intern.drop_unused()

    def facets(self, world: World, proxy: Proxy) -> Facets:
        """Which facets the proxy is composed of in this world."""
        config, recall = world.config, self.recall
        is_split = bool(self._gateways(world))
        if proxy.role is Role.GATEWAY:
            chosen = config.of("Gateway"), config.of("AuthorizationPolicy"), config.mesh, is_split, proxy
            return recall.keyed(chosen, self._gateway_facets, config, proxy, is_split)
        inputs = (
            config.of("Sidecar"),
            config.of("PeerAuthentication"),
            config.of("AuthorizationPolicy"),
            config.of("DestinationRule"),
            config.mesh,
            self._intern(recall.get(selection_keys, config.of("VirtualService"))),
            world.services.inbound.get((proxy.namespace, proxy.name), ()),
            is_split,
            proxy,
        )
        return recall.keyed(inputs, self._sidecar_facets, world, proxy, is_split)

    def _sidecar_facets(self, world: World, proxy: Proxy, is_split: bool) -> Facets:
        config = world.config
        outbound = OutboundKey(
            namespace=proxy.namespace,
            interception=proxy.interception,
            sidecar=sidecar_for(config, proxy.namespace, proxy.labels),
            labels=project(proxy.labels, self.recall.get(selection_keys, config.of("VirtualService"))),
            network=proxy.network if is_split else "",
        )
        inbound = self._inbound(world, proxy)
        if proxy.interception is not Interception.NONE:
            return Facets(outbound, inbound, None)
        host = HostView(
            inbound=inbound,
            address=proxy.address,
            http_proxy_port=proxy.http_proxy_port or config.mesh_config.proxy_http_port,
            passthrough=passthrough(config, outbound.sidecar),
        )
        return Facets(outbound, inbound, self._intern(host))

    def _gateway_facets(self, config: Config, proxy: Proxy, is_split: bool) -> Facets:
        chosen: tuple[ConfigObject[Gateway], ...] = tuple(
            gateway for gateway in config.of("Gateway") if selects(gateway.spec.selector.pairs, proxy.labels)
        )
        is_entrance = any(is_door(server) for gateway in chosen for server in gateway.spec.servers)
        key = GatewayKey(
            namespace=proxy.namespace,
            gateways=chosen,
            authorization=self._lets_in(config, proxy),
            network=proxy.network if is_split or is_entrance else "",
        )
        return Facets(key, None, None)

    def outbound(self, world: World, key: OutboundKey) -> OutboundView:
        """What the sidecars of this facet can call."""
        config, recall = world.config, self.recall
        seen, rules, virtual = self._seen(world, key.namespace, key.sidecar)
        claims = recall.get(host_index, virtual)
        client = self._intern(Client(key.namespace, key.labels))
        beyond = passthrough(config, key.sidecar)
        is_explicit = key.interception is Interception.NONE
        places = seen.services, rules, is_explicit
        bound = recall.keyed(places, listeners, *places, recall)
        inputs = Inputs(seen, rules, claims, client, beyond)
        if is_explicit:
            made = recall.keyed(
                (seen, rules, claims, client, beyond, bound), explicit_tables, inputs, bound, recall
            )
        else:
            made = recall.keyed((seen, rules, claims, client, beyond), captured_tables, inputs, recall)
        settings_, at = self.settings(config), self._standpoint(world, key.network)
        found = self._clusters(world, seen.services, rules, at)
        return recall.get(_outbound_view, settings_, key.interception, beyond, found, made, bound, at)

    def gateway(self, world: World, key: GatewayKey) -> tuple[GatewayView, OutboundView]:
        """What the gateways of this facet offer, and (an outbound view without listeners) what they call."""
        config, recall = world.config, self.recall
        seen, rules, _ = self._seen(world, key.namespace, None)
        made = recall.keyed(
            (config.of("VirtualService"), config.mesh, seen, rules, *key.gateways),
            tables,
            config,
            key.gateways,
            sys.intern(key.namespace),
            seen,
            rules,
            recall,
        )
        hosts = recall.get(destinations, made)
        used = recall.get(gathered, *(service for service in seen.services if service.host in hosts))
        settings_, at = self.settings(config), self._standpoint(world, key.network)
        offered = recall.get(servers, *key.gateways)
        passing = self._passing(world, key, seen, rules)
        if passing:
            at = self._intern(replace(at, doors=recall.get(door_ports, config.of("Gateway"))))
        view = recall.get(_gateway_view, settings_, offered, made, key.authorization, passing)
        found = self._clusters(world, used, rules, at)
        if passing:
            found = recall.get(gathered, *found, *recall.get(passed_clusters, passing))
        nobody = Passthrough.REGISTRY_ONLY
        behind = recall.get(_outbound_view, settings_, Interception.NONE, nobody, found, (), (), at)
        return view, behind

    def _passing(
        self, world: World, key: GatewayKey, seen: Visible, rules: Mapping[str, Rule | None]
    ) -> tuple[PassingServer, ...]:
        """The AUTO_PASSTHROUGH servers, and what they pass on of all that the gateway's namespace sees."""
        recall = self.recall
        opened = recall.get(doors, *key.gateways)
        if not opened:
            return ()
        services = recall.get(gathered, *(service for service in seen.services if is_passable(service)))
        found = self._clusters(world, services, rules, NOWHERE)
        return recall.keyed((opened, found), passing_servers, opened, found, recall)

    def endpoints(self, world: World, view: OutboundView, keys: Iterable[ServiceKey]) -> EndpointsView:
        """The endpoints of the view's clusters of these services."""
        of_service = self.recall.get(by_service, *view.clusters)
        return EndpointsView(
            by_cluster={
                cluster.name: cluster_endpoints(
                    world.config, world.services, cluster, self.recall, view.standpoint
                )
                for key in keys
                for cluster in of_service.get(key, ())
            }
        )

    def _gateways(self, world: World) -> Gateways:
        """The gateways of all networks: one object as long as they are the same."""
        recall = self.recall
        declared = recall.get(declared_gateways, world.config.mesh)
        return self._intern(recall.get(all_gateways, declared, world.services.gateways))

    def _standpoint(self, world: World, network: str) -> Standpoint:
        gateways = self._gateways(world)
        if not gateways and not network:
            return NOWHERE
        return self._intern(gateways.seen_from(network))

    def _clusters(
        self,
        world: World,
        services: tuple[Service, ...],
        rules: Mapping[str, Rule | None],
        standpoint: Standpoint,
    ) -> tuple[Cluster, ...]:
        config, behind, settings_ = world.config, world.services.behind, self.settings(world.config)
        peers = config.of("PeerAuthentication")
        return self.recall.keyed(
            (services, rules, behind, peers, config.mesh, standpoint),
            clusters,
            config,
            behind,
            services,
            rules,
            settings_,
            self.recall,
            standpoint,
        )

    def _seen(
        self, world: World, namespace: str, sidecar: ConfigObject[Sidecar] | None
    ) -> tuple[Visible, Mapping[str, Rule | None], VirtualServices]:
        """What a namespace sees, the DestinationRule in force there for each of it, the routing for it."""
        config, recall, owner = world.config, self.recall, sys.intern(namespace)
        wanted = self._intern(imports(sidecar, namespace))
        default = self._intern(config.mesh_config.default_virtual_service_export_to)
        virtual = recall.get(bound_to_mesh, config.of("VirtualService"), default, owner, wanted)
        routed = self._intern(recall.get(routed_hosts, virtual, wanted))
        seen = recall.get(visible, world.services.services, owner, wanted, routed)
        written = config.of("DestinationRule")
        rules = recall.keyed(
            (seen.services, written, config.mesh, owner), _rules, config, namespace, seen.services, recall
        )
        return seen, rules, virtual

    def settings(self, config: Config) -> Settings:
        """The mesh-wide settings: one object as long as none of them changed."""
        return self._intern(self.recall.get(settings, config.mesh))

    def _inbound(self, world: World, proxy: Proxy) -> InboundView:
        config, recall = world.config, self.recall
        subject = self._intern(proxy.labels)
        demands = recall.get(
            self._authentication, *levels(config, "PeerAuthentication", proxy.namespace), subject
        )
        answers = world.services.inbound.get((proxy.namespace, proxy.name), ())
        return self._intern(
            recall.get(
                inbound_view,
                self.settings(config),
                proxy.interception,
                self._inbound_ports(world, answers, demands),
                demands,
                self._lets_in(config, proxy),
                self._intern((proxy.namespace,)),
            )
        )

    def _inbound_ports(
        self, world: World, answers: tuple[Inbound, ...], demands: Authentication
    ) -> tuple[InboundPort, ...]:
        """One per workload port: where two services share one, the first in order names it."""
        by_target: dict[int, InboundPort] = {}
        for answer in answers:
            if answer.target not in by_target:
                service = world.services.services[answer.service]
                rule = rule_for(world.config, answer.service.namespace, service, self.recall)
                by_target[answer.target] = self.recall.get(inbound_port, answer, rule, demands)
        return self.recall.get(gathered, *by_target.values())

    def _lets_in(self, config: Config, proxy: Proxy) -> Authorization:
        """The policies in force for the proxy: one object for all for whom they are the same."""
        policies = levels(config, "AuthorizationPolicy", proxy.namespace)
        return self.recall.get(self._authorization, *policies, self._intern(proxy.labels))

    def _authentication(self, mesh: Policies, own: Policies, subject: Labels) -> Authentication:
        return self._intern(authentication(mesh, own, subject))

    def _authorization(self, mesh: Policies, own: Policies, subject: Labels) -> Authorization:
        return self._intern(authorization(mesh, own, subject))


def _rules(
    config: Config, namespace: str, services: tuple[Service, ...], recall: Recall
) -> Mapping[str, Rule | None]:
    return {service.host: rule_for(config, namespace, service, recall) for service in services}


def _outbound_view(
    settings_: Settings,
    interception: Interception,
    beyond: Passthrough,
    found: tuple[Cluster, ...],
    made: tuple[RouteTable, ...],
    bound: tuple[OutboundListener, ...],
    standpoint: Standpoint,
) -> OutboundView:
    return OutboundView(
        settings=settings_,
        interception=interception,
        passthrough=beyond,
        clusters=found,
        tables=made,
        listeners=bound,
        standpoint=standpoint,
    )


def _gateway_view(
    settings_: Settings,
    offered: tuple[GatewayServer, ...],
    made: tuple[RouteTable, ...],
    lets_in: Authorization,
    passing: tuple[PassingServer, ...],
) -> GatewayView:
    return GatewayView(
        settings=settings_, servers=offered, tables=made, authorization=lets_in, passing=passing
    )
