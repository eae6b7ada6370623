"""How a connection that a gateway passes on unopened looks: a filter chain that ends no TLS.

No policies are asked here: what a caller is shows in the TLS that the workload itself ends, and to see it
the gateway would have to open it (Istio, ``builtAutoPassthroughFilterChains``).
"""

from __future__ import annotations

from mesh.views import Cluster, Forwarding, Settings
from xds import constraints
from xds.names import MESH_HTTP_OFFERS, MESH_TCP_OFFERS
from xds.translate import sockets, tcp_filters


def passing_chain(cluster: Cluster, to: Forwarding, settings: Settings) -> bytes:
    """The bytes of the filter chain that passes on what asks for this cluster.

    A client of the mesh asks by name and offers its protocols; that the endpoints, too, speak mutual TLS is
    the endpoints' business. Together they keep out whoever is not of the mesh, as the gateway cannot look.
    """
    made = sockets.chain(cluster.name, *tcp_filters.outbound(to, settings.access_log))
    # Envoy compares with what the client asks for in lower case.
    made.filter_chain_match.server_names.append(cluster.name.lower())
    made.filter_chain_match.application_protocols.extend((*MESH_TCP_OFFERS, *MESH_HTTP_OFFERS))
    return constraints.serialised(made)
