"""The resource names Envoy and Istio agree on, built and taken apart.

``clusters.py`` and ``routes.py`` agree on a name because both call the constructor here; operators
and their dashboards know these spellings from Istio.
"""

from __future__ import annotations

from dataclasses import dataclass

PASSTHROUGH_CLUSTER = "PassthroughCluster"
BLACK_HOLE_CLUSTER = "BlackHoleCluster"
INBOUND_PASSTHROUGH_CLUSTER = "InboundPassthroughCluster"
VIRTUAL_OUTBOUND = "virtualOutbound"
VIRTUAL_INBOUND = "virtualInbound"
HTTP_PROXY_ROUTES = "http_proxy"
MESH_HTTP_OFFERS = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
"""By the application protocols that a client offers, mutual TLS of the mesh is told from other TLS."""
MESH_TCP_OFFERS = ("istio-peer-exchange", "istio")
WORKLOAD_CERTIFICATE = "default"
TRUST_BUNDLE = "ROOTCA"


@dataclass(frozen=True, slots=True)
class ClusterName:
    """``outbound|9080|v1|reviews.bookinfo.svc.cluster.local``. Istio, ``BuildSubsetKey``."""

    direction: str
    port: int
    subset: str
    host: str

    @classmethod
    def parse(cls, text: str) -> ClusterName | None:
        """The parts of a name, or ``None`` for the special clusters."""
        match text.split("|"):
            case [("outbound" | "inbound") as direction, port, subset, host] if port.isdigit():
                return cls(direction, int(port), subset, host)
            case _:
                return None

    def __str__(self) -> str:
        return f"{self.direction}|{self.port}|{self.subset}|{self.host}"

    @property
    def sni(self) -> str:
        """The server name sent under mutual TLS. Istio, ``BuildDNSSrvSubsetKey``."""
        return f"{self.direction}_.{self.port}_.{self.subset}_.{self.host}"


def outbound_cluster(port: int, subset: str, host: str) -> str:
    return f"outbound|{port}|{subset}|{host}"


def inbound_cluster(port: int) -> str:
    """By the port that the application listens on. Istio, ``BuildInboundSubsetKey``."""
    return f"inbound|{port}||"


def listener(address: str, port: int) -> str:
    """``0.0.0.0_9080``."""
    return f"{address}_{port}"
