"""Puts Envoy's API into ``xds/`` as one descriptor set, at install time.

``xds-protos`` ships generated modules under top-level names (``xds``, ``envoy``, ``google``,
``test``) that clash with ours and with the Envoy wheel, so it is a build requirement only.
This hook reads the descriptors out of its modules and writes the closure of what we use
into one file; ``xds/envoy.py`` loads that file into a private pool at run time.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

DESCRIPTORS = Path("xds") / "envoy.binpb"

# The roots of the closure. What these files import comes with them.
ROOTS = (
    "envoy/admin/v3/config_dump.proto",
    "envoy/config/accesslog/v3/accesslog.proto",
    "envoy/config/bootstrap/v3/bootstrap.proto",
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/rbac/v3/rbac.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/extensions/access_loggers/file/v3/file.proto",
    "envoy/extensions/access_loggers/stream/v3/stream.proto",
    "envoy/extensions/filters/common/fault/v3/fault.proto",
    "envoy/extensions/filters/http/fault/v3/fault.proto",
    "envoy/extensions/filters/http/health_check/v3/health_check.proto",
    "envoy/extensions/filters/http/rbac/v3/rbac.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/http/set_filter_state/v3/set_filter_state.proto",
    "envoy/extensions/filters/listener/http_inspector/v3/http_inspector.proto",
    "envoy/extensions/filters/listener/original_dst/v3/original_dst.proto",
    "envoy/extensions/filters/listener/original_src/v3/original_src.proto",
    "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/network/rbac/v3/rbac.proto",
    "envoy/extensions/filters/network/set_filter_state/v3/set_filter_state.proto",
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
    "envoy/extensions/load_balancing_policies/least_request/v3/least_request.proto",
    "envoy/extensions/load_balancing_policies/maglev/v3/maglev.proto",
    "envoy/extensions/load_balancing_policies/random/v3/random.proto",
    "envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash.proto",
    "envoy/extensions/load_balancing_policies/round_robin/v3/round_robin.proto",
    "envoy/extensions/path/match/uri_template/v3/uri_template_match.proto",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
    "envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config.proto",
    "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto",
    "envoy/extensions/transport_sockets/tls/v3/secret.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/service/discovery/v3/ads.proto",
    "envoy/service/discovery/v3/discovery.proto",
    "envoy/service/secret/v3/sds.proto",
    "validate/validate.proto",
    "google/protobuf/descriptor.proto",
    "google/protobuf/struct.proto",
    "google/protobuf/wrappers.proto",
)


def closure(roots: tuple[str, ...]) -> FileDescriptorSet:
    """The files named by ``roots`` and all they import, dependencies first."""
    found: dict[str, Any] = {}

    def visit(descriptor: Any) -> None:
        if descriptor.name in found:
            return
        for dependency in descriptor.dependencies:
            visit(dependency)
        found[descriptor.name] = descriptor

    for root in roots:
        module = importlib.import_module(root.removesuffix(".proto").replace("/", ".") + "_pb2")
        visit(module.DESCRIPTOR)
    files = FileDescriptorSet()
    for descriptor in found.values():
        descriptor.CopyToProto(files.file.add())
    return files


class DescriptorHook(BuildHookInterface[Any]):
    """Writes the descriptor set before the wheel (or the editable install) is assembled."""

    PLUGIN_NAME = "descriptors"

    def initialize(self, _version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling."""
        target = Path(self.root) / DESCRIPTORS
        target.parent.mkdir(parents=True, exist_ok=True)
        # By renaming: a control plane of this tree may be starting at this moment.
        made = target.with_suffix(".new")
        made.write_bytes(closure(ROOTS).SerializeToString(deterministic=True))
        made.replace(target)
        build_data["artifacts"].append(str(DESCRIPTORS))
