"""ProxyConfig, the message: MeshConfig's ``defaultConfig``.

Istio, ``mesh/v1alpha1/proxy.proto``. It shapes the bootstrap of a proxy, so a running proxy
takes a change of it only when it is started again.
"""

from __future__ import annotations

from typing import Literal

from mesh.kinds.connection_pool import TcpKeepalive
from mesh.kinds.extension_provider import Empty
from mesh.kinds.frozen import FrozenMap
from mesh.kinds.kind import NOTHING, Duration, Flag, Kind, Number, Real, StringMap, Text, Texts, Unsigned
from mesh.kinds.tls import ClientTLSSettings
from mesh.kinds.workload import ReadinessProbe

TraceContext = Literal["UNSPECIFIED", "W3C_TRACE_CONTEXT", "GRPC_BIN", "CLOUD_TRACE_CONTEXT", "B3"]
ForwardClientCertDetails = Literal[
    "UNDEFINED", "SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY"
]
ServiceName = Literal["APP_LABEL_AND_NAMESPACE", "CANONICAL_NAME_ONLY", "CANONICAL_NAME_AND_NAMESPACE"]


class TracerAddress(Kind):
    """A tracer that is only an address."""

    address: Text = ""


class TracerLightstep(TracerAddress):
    """Istio, "Tracing.Lightstep"."""

    access_token: Text = ""


class TracerStackdriver(Kind):
    """Istio, "Tracing.Stackdriver"."""

    debug: Flag = False
    max_number_of_attributes: Number | None = None
    max_number_of_annotations: Number | None = None
    max_number_of_message_events: Number | None = None


class TracerOpenCensusAgent(TracerAddress):
    """Istio, "Tracing.OpenCensusAgent"."""

    context: tuple[TraceContext, ...] = ()


class LiteralTag(Kind):
    """Istio, "Tracing.Literal"."""

    value: Text = ""


class NamedTag(Kind):
    """A tag from the environment or a request header."""

    name: Text = ""
    default_value: Text = ""


class CustomTag(Kind):
    """Istio, "Tracing.CustomTag"."""

    literal: LiteralTag | None = None
    environment: NamedTag | None = None
    header: NamedTag | None = None


class Tracing(Kind):
    """Istio, "Tracing"."""

    zipkin: TracerAddress | None = None
    lightstep: TracerLightstep | None = None
    datadog: TracerAddress | None = None
    stackdriver: TracerStackdriver | None = None
    open_census_agent: TracerOpenCensusAgent | None = None
    custom_tags: FrozenMap[Text, CustomTag] = FrozenMap()
    max_path_tag_length: Unsigned = 0
    sampling: Real = 0.0
    tls_settings: ClientTLSSettings | None = None
    enable_istio_tags: Flag | None = None


class SDS(Kind):
    """Istio, "SDS"."""

    enabled: Flag = False
    k8s_sa_jwt_path: Text = ""


class Topology(Kind):
    """Istio, "Topology"."""

    num_trusted_proxies: Unsigned = 0
    forward_client_cert_details: ForwardClientCertDetails = "UNDEFINED"
    proxy_protocol: Empty | None = None


class PollingKeyProvider(Kind):
    """Istio, "PrivateKeyProvider.CryptoMb" and ".QAT"."""

    poll_delay: Duration | None = None
    fallback: Flag | None = None


class PrivateKeyProvider(Kind):
    """Istio, "PrivateKeyProvider"."""

    cryptomb: PollingKeyProvider | None = None
    qat: PollingKeyProvider | None = None


class RemoteService(Kind):
    """Istio, "RemoteService"."""

    address: Text = ""
    tls_settings: ClientTLSSettings | None = None
    tcp_keepalive: TcpKeepalive | None = None


class ProxyStatsMatcher(Kind):
    """Istio, "ProxyConfig.ProxyStatsMatcher"."""

    inclusion_prefixes: Texts = ()
    inclusion_suffixes: Texts = ()
    inclusion_regexps: Texts = ()


class ProxyImage(Kind):
    """Istio, "ProxyImage"."""

    image_type: Text = ""


class Disabled(Kind):
    """A header that can be switched off."""

    disabled: Flag | None = None


class Enabled(Kind):
    """A header that can be switched on."""

    enabled: Flag | None = None


class ServerHeader(Disabled):
    """Istio, "ProxyHeaders.Server"."""

    value: Text = ""


class MetadataExchangeHeaders(Kind):
    """Istio, "ProxyHeaders.MetadataExchangeHeaders"."""

    mode: Literal["UNDEFINED", "IN_MESH"] = "UNDEFINED"


class SetCurrentClientCertDetails(Kind):
    """Istio, "ProxyHeaders.SetCurrentClientCertDetails"."""

    subject: Flag | None = None
    cert: Flag | None = None
    chain: Flag | None = None
    dns: Flag | None = None
    uri: Flag | None = None


class ProxyHeaders(Kind):
    """Istio, "ProxyConfig.ProxyHeaders"."""

    forwarded_client_cert: ForwardClientCertDetails = "UNDEFINED"
    set_current_client_cert_details: SetCurrentClientCertDetails | None = None
    request_id: Disabled | None = None
    server: ServerHeader | None = None
    attempt_count: Disabled | None = None
    envoy_debug_headers: Disabled | None = None
    metadata_exchange_headers: MetadataExchangeHeaders | None = None
    preserve_http1_header_case: Flag | None = None
    x_forwarded_host: Enabled | None = None
    x_forwarded_port: Enabled | None = None


class ConnectionSettings(Kind):
    """Istio, "ProxyConfig.ConnectionSettings"."""

    profile: Literal["SIDECAR", "EDGE"] = "SIDECAR"
    listener_per_connection_buffer_limit_bytes: Number | None = None
    cluster_per_connection_buffer_limit_bytes: Number | None = None
    http_idle_timeout: Duration | None = None
    http_max_connection_duration: Duration | None = None
    http_drain_timeout: Duration | None = None
    http_request_timeout: Duration | None = None
    http_request_headers_timeout: Duration | None = None
    http_stream_idle_timeout: Duration | None = None
    http_max_stream_duration: Duration | None = None
    http_max_concurrent_streams: Number | None = None
    http2_initial_stream_window_size: Number | None = None
    http2_initial_connection_window_size: Number | None = None
    http_headers_with_underscores_action: Literal[
        "HEADERS_WITH_UNDERSCORES_UNSPECIFIED",
        "HEADERS_WITH_UNDERSCORES_ALLOW",
        "HEADERS_WITH_UNDERSCORES_REJECT_REQUEST",
        "HEADERS_WITH_UNDERSCORES_DROP_HEADER",
    ] = "HEADERS_WITH_UNDERSCORES_UNSPECIFIED"
    http_merge_slashes: Flag | None = None
    http_path_with_escaped_slashes_action: Literal[
        "PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED",
        "KEEP_UNCHANGED",
        "REJECT_REQUEST",
        "UNESCAPE_AND_REDIRECT",
        "UNESCAPE_AND_FORWARD",
    ] = "PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED"
    listener_connection_limit: Number | None = None
    global_downstream_connection_limit: Number | None = None


class ProxyConfig(Kind):
    """Istio, "ProxyConfig" of MeshConfig."""

    config_path: Text = ""
    binary_path: Text = ""
    service_cluster: Text | None = None
    tracing_service_name: ServiceName | None = None
    drain_duration: Duration | None = None
    discovery_address: Text = ""
    discovery_refresh_delay: Duration | None = None
    zipkin_address: Text = ""
    statsd_udp_address: Text = ""
    envoy_metrics_service_address: Text = ""
    proxy_admin_port: Number = 0
    availability_zone: Text = ""
    control_plane_auth_policy: Literal["NONE", "MUTUAL_TLS"] | None = None
    custom_config_file: Text = ""
    stat_name_length: Number = 0
    concurrency: Number | None = None
    proxy_bootstrap_template_path: Text = ""
    interception_mode: Literal["REDIRECT", "TPROXY", "NONE"] | None = None
    tracing: Tracing | None = None
    sds: SDS | None = None
    envoy_access_log_service: RemoteService | None = None
    envoy_metrics_service: RemoteService | None = None
    proxy_metadata: StringMap = NOTHING
    runtime_values: StringMap = NOTHING
    status_port: Number = 0
    extra_stat_tags: Texts = ()
    gateway_topology: Topology | None = None
    termination_drain_duration: Duration | None = None
    mesh_id: Text = ""
    readiness_probe: ReadinessProbe | None = None
    proxy_stats_matcher: ProxyStatsMatcher | None = None
    hold_application_until_proxy_starts: Flag | None = None
    ca_certificates_pem: Texts = ()
    image: ProxyImage | None = None
    private_key_provider: PrivateKeyProvider | None = None
    proxy_headers: ProxyHeaders | None = None
    file_flush_interval: Duration | None = None
    file_flush_min_size_kb: Unsigned = 0
    stats_compression: Flag | None = None
    connection_settings: ConnectionSettings | None = None
