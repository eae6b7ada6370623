"""Mesh (ours): one per repository, what holds for all of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import re2

from mesh.kinds import guards, networks, registry, selectors
from mesh.kinds.guards import Guards
from mesh.kinds.http_retries import check_retries
from mesh.kinds.kind import Kind, Struct, Text, Texts
from mesh.kinds.mesh_config import MeshConfig
from mesh.kinds.networks import NO_NETWORKS, MeshNetworks
from mesh.kinds.registry import Registry
from mesh.kinds.rules import dns_label, durations, each, port, wrong
from mesh.kinds.verdicts import Verdicts, words
from mesh.places import Place
from mesh.problems import Problem
from mesh.services import GIT


class Paths(Kind):
    """Which files of the repository belong to the mesh: globs over paths from its root.

    ``*`` is anything within one folder, ``**`` anything, ``?`` one character. A glob that matches a
    folder takes everything below it. Nothing to include means everything.
    """

    include: Texts = ()
    exclude: Texts = ()

    def selects(self, path: str) -> bool:
        included = not self.include or any(glob(pattern).fullmatch(path) for pattern in self.include)
        return included and not self.excludes(path)

    def excludes(self, path: str) -> bool:
        """Whether nothing at or below this path can belong to the mesh."""
        return any(glob(pattern).fullmatch(path) for pattern in self.exclude)


@cache
def glob(pattern: str) -> Any:
    """A glob as a regular expression. RE2's time is linear, whatever the pattern."""
    parts = re.split(r"(\*\*/?|\*|\?)", pattern.strip("/"))
    said = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re2.compile("".join(said.get(part, re.escape(part)) for part in parts) + "(?:/.*)?")


class Tenant(Kind):
    """A folder that is accepted or held by itself (DESIGN 3.1)."""

    path: Text


class Mesh(Kind):
    """The mesh of this repository."""

    mesh_config: MeshConfig = MeshConfig()
    mesh_networks: MeshNetworks = NO_NETWORKS
    paths: Paths = Paths()
    tenancy: tuple[Tenant, ...] = ()
    registries: tuple[Registry, ...] = ()
    ca: Struct = None
    rollout: Struct = None
    guards: Guards = Guards()


_MESH_CONFIG_DONE = words("""
    accessLogFile accessLogFormat accessLogEncoding connectTimeout outboundTrafficPolicy.mode enableAutoMtls
    trustDomain trustDomainAliases rootNamespace defaultServiceExportTo defaultVirtualServiceExportTo
    defaultDestinationRuleExportTo proxyListenPort proxyInboundListenPort proxyHttpPort
    protocolDetectionTimeout defaultHttpRetryPolicy pathNormalization tcpKeepalive discoverySelectors
""")
_KUBERNETES_INGRESS = "it is about the Ingress kind of Kubernetes"
_AMBIENT = "it is about ambient mode"
_BOOTSTRAP = "it shapes the bootstrap of Istio's agent; ours is written at installation"
_MESH_CONFIG_IDLE = {
    "hboneIdleTimeout": _AMBIENT,
    "ingressClass": _KUBERNETES_INGRESS,
    "ingressService": _KUBERNETES_INGRESS,
    "ingressControllerMode": _KUBERNETES_INGRESS,
    "ingressSelector": _KUBERNETES_INGRESS,
    "enableTracing": "no tracing provider can be configured yet",
    "defaultConfig": _BOOTSTRAP,
    "configSources": "configuration comes from this repository",
    "dnsRefreshRate": "Envoy's own rate is used after a failed lookup",
    "certificates": "Istio has retired it",
    "verifyCertificateAtClient": "Istio has retired it",
    "enablePrometheusMerge": "Envoy answers scrapes itself, on port 15090",
    "ca": "certificates come from the CA of this control plane",
    "defaultProviders.metrics": "metrics are Envoy's own",
}
_MESH_CONFIG_LATER = {
    "enableEnvoyAccessLogService": "use accessLogFile",
    "disableEnvoyListenerLog": "leave it out",
    "outboundTrafficPolicy.tls": "leave it out",
    "inboundTrafficPolicy": "leave it out",
    "caCertificates": "leave it out",
    "localityLbSetting.distribute": "leave it out",
    "localityLbSetting.failover": "leave it out",
    "localityLbSetting.failoverPriority": "leave it out",
    "zoneAwareLbSetting": "leave it out",
    "h2UpgradePolicy": "set it per destination, with a DestinationRule",
    "inboundClusterStatName": "leave it out",
    "outboundClusterStatName": "leave it out",
    "serviceSettings": "leave it out",
    "serviceScopeConfigs": "leave it out",
    "extensionProviders": "leave it out; use accessLogFile for access logs",
    "defaultProviders.tracing": "leave it out",
    "defaultProviders.accessLogging": "use accessLogFile",
    "defaultInboundHttpRetryPolicy": "leave it out",
    "meshMTLS": "leave it out",
    "tlsDefaults": "leave it out",
    "defaultTrafficPolicy": "use a DestinationRule",
    "serviceEntryVisibility": "use exportTo",
}
VERDICTS = Verdicts(
    carried_out=(
        *words("paths tenancy registries guards meshNetworks"),
        *(f"meshConfig.{name}" for name in _MESH_CONFIG_DONE),
    ),
    no_effect={
        **{f"meshConfig.{name}": reason for name, reason in _MESH_CONFIG_IDLE.items()},
        "meshConfig.localityLbSetting.enabled": "all endpoints of a subset are equals",
    },
    refused={
        **{f"meshConfig.{name}": hint for name, hint in _MESH_CONFIG_LATER.items()},
        "ca": "leave it out; certificates live 24 hours",
        "rollout": "leave it out; a commit goes to all proxies at once",
    },
)
MODE_REFUSED = "ALLOW_ANY_DYNAMIC_DNS"


def check(mesh: Mesh, where: Place) -> Iterator[Problem]:
    yield from _mesh_config(mesh.mesh_config, where, "spec.meshConfig")
    yield from registry.check(mesh.registries, where, "spec.registries")
    yield from guards.check(mesh.guards, where, "spec.guards")
    known = {GIT, *(one.name for one in mesh.registries)}
    yield from networks.check(mesh.mesh_networks, known, where, "spec.meshNetworks")
    folders: list[str] = []
    for index, tenant in enumerate(mesh.tenancy):
        path = f"spec.tenancy[{index}].path"
        folder = tenant.path.strip("/")
        if not folder or any(part in {"", ".", ".."} for part in folder.split("/")):
            yield from wrong(where, path, f"not a folder of the repository: {tenant.path!r}")
        for other in folders:
            if f"{folder}/".startswith(f"{other}/") or f"{other}/".startswith(f"{folder}/"):
                yield from wrong(where, path, f"{tenant.path!r} and {other!r} overlap")
        folders.append(folder)


def _mesh_config(config: MeshConfig, where: Place, at: str) -> Iterator[Problem]:
    """Istio, ``ValidateMeshConfig``."""
    for name, number in (
        ("proxyListenPort", config.proxy_listen_port),
        ("proxyInboundListenPort", config.proxy_inbound_listen_port),
        # 0 is off.
        ("proxyHttpPort", config.proxy_http_port or 1),
    ):
        yield from wrong(where, f"{at}.{name}", port(number))
    yield from durations(where, at, connectTimeout=config.connect_timeout)
    if config.outbound_traffic_policy.mode == MODE_REFUSED:
        message = f"mode {MODE_REFUSED!r} is not supported yet"
        yield where.problem("MW0004", f"{at}.outboundTrafficPolicy.mode", message, "use ALLOW_ANY")
    yield from wrong(where, f"{at}.trustDomain", _trust_domain(config.trust_domain))
    yield from each(where, f"{at}.trustDomainAliases", config.trust_domain_aliases, _trust_domain)
    yield from wrong(where, f"{at}.rootNamespace", dns_label(config.root_namespace))
    if config.default_http_retry_policy is not None:
        yield from check_retries(config.default_http_retry_policy, where, f"{at}.defaultHttpRetryPolicy")
    for index, selector in enumerate(config.discovery_selectors):
        yield from selectors.check(selector, where, f"{at}.discoverySelectors[{index}]")


def _trust_domain(text: str) -> str:
    labels = text.split(".")
    is_one = text == text.lower() and all(not dns_label(label) for label in labels)
    return "" if is_one else f"not a trust domain: {text!r} (expected lower-case labels with dots)"
