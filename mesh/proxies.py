"""The proxy that is asking: what it says of itself, and what we know of it.

For a proxy that Git or a registry knows, the server's knowledge wins (DESIGN 3.4): labels,
locality and network are looked up, and what the node claims about them is not read. Of its own words only
what describes the installation is taken: how traffic is captured and which ports it binds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mesh.errors import Refused
from mesh.labels import NO_LABELS, Labels
from mesh.names import is_ip


class Role(StrEnum):
    """The first word of a node id."""

    SIDECAR = "sidecar"
    GATEWAY = "router"


class Interception(StrEnum):
    """How the application's traffic reaches the proxy. Istio, ``ProxyConfig.interceptionMode``."""

    REDIRECT = "REDIRECT"
    TPROXY = "TPROXY"
    NONE = "NONE"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeId:
    """``sidecar~<ip>~<name>.<namespace>~<namespace>.svc.<domain>``. Istio, ``pkg/model/proxy.go``."""

    role: Role
    address: str
    name: str
    namespace: str
    domain: str

    @classmethod
    def parse(cls, text: str) -> NodeId:
        match text.split("~"):
            case [role, address, name, domain] if role in Role._value2member_map_ and is_ip(address):
                workload, dot, namespace = name.rpartition(".")
                owner, svc, suffix = domain.partition(".svc.")
                if dot and workload and svc and suffix and namespace and owner == namespace:
                    return cls(
                        role=Role(role), address=address, name=workload, namespace=namespace, domain=suffix
                    )
        raise Refused(
            f"not a node id: {text!r}",
            hint="expected sidecar~<ip>~<name>.<namespace>~<namespace>.svc.<domain>",
        )

    def __str__(self) -> str:
        return f"{self.role}~{self.address}~{self.name}.{self.namespace}~{self.namespace}.svc.{self.domain}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """One proxy as the control plane sees it, after knowledge was put over claims."""

    role: Role
    name: str
    namespace: str
    address: str
    service_account: str = "default"
    labels: Labels = NO_LABELS
    interception: Interception = Interception.REDIRECT
    http_proxy_port: int = 0
    domain: str = "cluster.local"
    network: str = ""
    """The network that it stands in; empty where nobody knows."""

    @property
    def id(self) -> str:
        """How people name it: ``name.namespace``."""
        return f"{self.name}.{self.namespace}"
