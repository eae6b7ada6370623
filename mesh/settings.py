"""The mesh-wide settings in force: MeshConfig as translation reads it."""

from __future__ import annotations

from mesh.config import Config, ConfigObject
from mesh.kinds.mesh import Mesh
from mesh.kinds.sidecar import Sidecar
from mesh.views import AccessLog, Passthrough, Settings


def settings(mesh: Mesh) -> Settings:
    """What MeshConfig says, as the value that resources depend on."""
    said = mesh.mesh_config
    keepalive = said.tcp_keepalive
    return Settings(
        trust_domain=said.trust_domain,
        trust_domain_aliases=said.trust_domain_aliases,
        root_namespace=said.root_namespace,
        access_log=_access_log(mesh),
        connect_timeout=said.connect_timeout,
        protocol_detection_timeout=said.protocol_detection_timeout,
        tcp_keepalive=(keepalive.probes, keepalive.time, keepalive.interval) if keepalive else None,
        outbound_port=said.proxy_listen_port,
        inbound_port=said.proxy_inbound_listen_port,
        path_normalization=said.path_normalization.normalization.replace("DEFAULT", "BASE"),
        default_retries=said.default_http_retry_policy,
    )


def _access_log(mesh: Mesh) -> AccessLog | None:
    said = mesh.mesh_config
    if not said.access_log_file:
        return None
    return AccessLog(
        path=said.access_log_file, format=said.access_log_format, json=said.access_log_encoding == "JSON"
    )


def passthrough(config: Config, sidecar: ConfigObject[Sidecar] | None) -> Passthrough:
    """What happens to names nobody declared: the Sidecar's word before the mesh's."""
    if sidecar is not None and sidecar.spec.outbound_traffic_policy is not None:
        return Passthrough(sidecar.spec.outbound_traffic_policy.mode)
    return Passthrough(config.mesh_config.outbound_traffic_policy.mode)
