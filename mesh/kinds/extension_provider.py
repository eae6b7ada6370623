"""MeshConfig's extension providers: outside services that other kinds name.

Each provider is its name and exactly one of the others (Istio, "MeshConfig.ExtensionProvider").
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mesh.kinds.kind import NOTHING, Duration, Flag, Kind, Number, StringMap, Struct, Text, Texts, Unsigned

TraceContext = Literal["UNSPECIFIED", "W3C_TRACE_CONTEXT", "GRPC_BIN", "CLOUD_TRACE_CONTEXT", "B3"]


class Empty(Kind):
    """A message whose presence says everything."""


class HttpHeader(Kind):
    """A header with a literal value, or one from the proxy's environment."""

    name: Text = ""
    value: Text | None = None
    env_name: Text | None = None


class HttpService(Kind):
    """How an HTTP service is called."""

    path: Text = ""
    timeout: Duration | None = None
    headers: tuple[HttpHeader, ...] = ()


class GrpcService(Kind):
    """How a gRPC service is called."""

    timeout: Duration | None = None
    initial_metadata: tuple[HttpHeader, ...] = ()


class ExternalService(Kind):
    """What most providers share: a host that a registry knows, and its port."""

    service: Text = ""
    port: Unsigned = 0


class RequestBody(Kind):
    """Istio, "EnvoyExternalAuthorizationRequestBody"."""

    max_request_bytes: Unsigned = 0
    allow_partial_message: Flag = False
    pack_as_bytes: Flag = False


class EnvoyExtAuthzHttp(ExternalService):
    """Istio, "EnvoyExternalAuthorizationHttpProvider"."""

    timeout: Duration | None = None
    path_prefix: Text = ""
    fail_open: Flag = False
    clear_route_cache: Flag = False
    status_on_error: Text = ""
    include_headers_in_check: Texts = ()
    include_request_headers_in_check: Texts = ()
    include_additional_headers_in_check: StringMap = NOTHING
    include_request_body_in_check: RequestBody | None = None
    headers_to_upstream_on_allow: Texts = ()
    headers_to_downstream_on_deny: Texts = ()
    headers_to_downstream_on_allow: Texts = ()


class EnvoyExtAuthzGrpc(ExternalService):
    """Istio, "EnvoyExternalAuthorizationGrpcProvider"."""

    timeout: Duration | None = None
    fail_open: Flag = False
    clear_route_cache: Flag = False
    status_on_error: Text = ""
    include_request_body_in_check: RequestBody | None = None


class Zipkin(ExternalService):
    """Istio, "ZipkinTracingProvider"."""

    max_tag_length: Unsigned = 0
    enable_64bit_trace_id: Flag = False
    path: Text = ""
    trace_context_option: Literal["USE_B3", "USE_B3_WITH_W3C_PROPAGATION"] = "USE_B3"
    timeout: Duration | None = None
    headers: tuple[HttpHeader, ...] = ()


class Lightstep(ExternalService):
    """Istio, "LightstepTracingProvider"."""

    access_token: Text = Field(default="", repr=False)
    max_tag_length: Unsigned = 0


class Datadog(ExternalService):
    """Istio, "DatadogTracingProvider"."""

    max_tag_length: Unsigned = 0


class SkyWalking(ExternalService):
    """Istio, "SkyWalkingTracingProvider"."""

    access_token: Text = Field(default="", repr=False)


class StackdriverLogging(Kind):
    """Istio, "StackdriverProvider.Logging"."""

    labels: StringMap = NOTHING


class Stackdriver(Kind):
    """Istio, "StackdriverProvider"."""

    debug: Flag = False
    max_number_of_attributes: Number | None = None
    max_number_of_annotations: Number | None = None
    max_number_of_message_events: Number | None = None
    max_tag_length: Unsigned = 0
    logging: StackdriverLogging | None = None


class OpenCensus(ExternalService):
    """Istio, "OpenCensusAgentTracingProvider"."""

    context: tuple[TraceContext, ...] = ()
    max_tag_length: Unsigned = 0


class ResourceDetectors(Kind):
    """Istio, "ResourceDetectors"."""

    environment: Empty | None = None
    dynatrace: Empty | None = None


class DynatraceApi(ExternalService):
    """Istio, "DynatraceSampler.DynatraceApi"."""

    http: HttpService | None = None


class DynatraceSampler(Kind):
    """Istio, "OpenTelemetryTracingProvider.DynatraceSampler"."""

    tenant: Text = ""
    cluster_id: Number = 0
    root_spans_per_minute: Unsigned = 0
    http_service: DynatraceApi | None = None


class OpenTelemetry(ExternalService):
    """Istio, "OpenTelemetryTracingProvider"."""

    max_tag_length: Unsigned = 0
    http: HttpService | None = None
    grpc: GrpcService | None = None
    resource_detectors: ResourceDetectors | None = None
    service_attribute_enrichment: Literal["ISTIO_CANONICAL", "OTEL_SEMANTIC_CONVENTIONS"] = "ISTIO_CANONICAL"
    dynatrace_sampler: DynatraceSampler | None = None


class LogFormat(Kind):
    """A line of text, or a JSON object. Istio, "LogFormat"."""

    text: Text | None = None
    labels: Struct = None


class EnvoyFileAccessLog(Kind):
    """Istio, "EnvoyFileAccessLogProvider"."""

    path: Text = ""
    log_format: LogFormat | None = None
    omit_empty_values: Flag = False


class EnvoyTcpAls(ExternalService):
    """Istio, "EnvoyTcpGrpcV3LogProvider"."""

    log_name: Text = ""
    filter_state_objects_to_log: Texts = ()


class EnvoyHttpAls(EnvoyTcpAls):
    """Istio, "EnvoyHttpGrpcV3LogProvider"."""

    additional_request_headers_to_log: Texts = ()
    additional_response_headers_to_log: Texts = ()
    additional_response_trailers_to_log: Texts = ()


class EnvoyOtelAls(ExternalService):
    """Istio, "EnvoyOpenTelemetryLogProvider"."""

    log_name: Text = ""
    log_format: LogFormat | None = None


class Sds(ExternalService):
    """Istio, "SDSProvider"."""

    name: Text = ""


class ExtensionProvider(Kind):
    """Istio, "MeshConfig.ExtensionProvider"."""

    name: Text = ""
    envoy_ext_authz_http: EnvoyExtAuthzHttp | None = None
    envoy_ext_authz_grpc: EnvoyExtAuthzGrpc | None = None
    zipkin: Zipkin | None = None
    lightstep: Lightstep | None = None
    datadog: Datadog | None = None
    stackdriver: Stackdriver | None = None
    opencensus: OpenCensus | None = None
    skywalking: SkyWalking | None = None
    opentelemetry: OpenTelemetry | None = None
    prometheus: Empty | None = None
    envoy_file_access_log: EnvoyFileAccessLog | None = None
    envoy_http_als: EnvoyHttpAls | None = None
    envoy_tcp_als: EnvoyTcpAls | None = None
    envoy_otel_als: EnvoyOtelAls | None = None
    sds: Sds | None = None
