"""MeshConfig: Istio's settings of the mesh as a whole, with Istio's defaults.

Unlike other kinds, what is not said has Istio's default here and not protobuf's zero
(Istio, ``pkg/config/mesh``, ``DefaultMeshConfig``): nobody merges several MeshConfigs.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from mesh.kinds.connection_pool import ConnectionPoolSettings, TcpKeepalive
from mesh.kinds.extension_provider import ExtensionProvider
from mesh.kinds.http_retries import HTTPRetry
from mesh.kinds.kind import Duration, Flag, Kind, Number, Text, Texts
from mesh.kinds.load_balancing import LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting
from mesh.kinds.outlier_detection import OutlierDetection
from mesh.kinds.proxy_config import ProxyConfig
from mesh.kinds.selectors import LabelSelector
from mesh.kinds.tls import ClientTLSSettings
from mesh.names import DEFAULT_DOMAIN, ROOT_NAMESPACE

Normalization = Literal["DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"]
Visibility = Literal["VISIBILITY_UNSPECIFIED", "NONE", "NAMESPACE", "PUBLIC"]


class MeshOutboundTrafficPolicy(Kind):
    """Istio, "MeshConfig.OutboundTrafficPolicy"."""

    # Protobuf's zero, which is what Istio takes when the message is there and its mode is not.
    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY", "ALLOW_ANY_DYNAMIC_DNS"] = "REGISTRY_ONLY"
    tls: ClientTLSSettings | None = None


class InboundTrafficPolicy(Kind):
    """Istio, "MeshConfig.InboundTrafficPolicy"."""

    mode: Literal["PASSTHROUGH", "LOCALHOST"] = "PASSTHROUGH"


class ConfigSource(Kind):
    """Istio, "ConfigSource"."""

    address: Text = ""
    tls_settings: ClientTLSSettings | None = None
    subscribed_resources: tuple[Literal["SERVICE_REGISTRY"], ...] = ()


class CertificateData(Kind):
    """Istio, "MeshConfig.CertificateData"."""

    pem: Text | None = None
    spiffe_bundle_url: Text | None = None
    cert_signers: Texts = ()
    trust_domains: Texts = ()


class Certificate(Kind):
    """Istio, "Certificate"."""

    secret_name: Text = ""
    dns_names: Texts = ()


class Settings(Kind):
    """Istio, "MeshConfig.ServiceSettings.Settings"."""

    cluster_local: Flag = False


class ServiceSettings(Kind):
    """Istio, "MeshConfig.ServiceSettings"."""

    settings: Settings | None = None
    hosts: Texts = ()


class ServiceScopeConfigs(Kind):
    """Istio, "MeshConfig.ServiceScopeConfigs"."""

    namespace_selector: LabelSelector | None = None
    services_selector: LabelSelector | None = None
    scope: Literal["LOCAL", "GLOBAL"] = "LOCAL"


class CA(Kind):
    """Istio, "MeshConfig.CA"."""

    address: Text = ""
    tls_settings: ClientTLSSettings | None = None
    request_timeout: Duration | None = None
    istiod_side: Flag = False


class DefaultProviders(Kind):
    """Istio, "MeshConfig.DefaultProviders"."""

    tracing: Texts = ()
    metrics: Texts = ()
    access_logging: Texts = ()


class ProxyPathNormalization(Kind):
    """Istio, "MeshConfig.ProxyPathNormalization"."""

    normalization: Normalization = "DEFAULT"


class TLSConfig(Kind):
    """Istio, "MeshConfig.TLSConfig"."""

    min_protocol_version: Literal["TLS_AUTO", "TLSV1_2", "TLSV1_3"] = "TLS_AUTO"
    ecdh_curves: Texts = ()
    cipher_suites: Texts = ()


class DefaultTrafficPolicy(Kind):
    """Istio, "MeshConfig.DefaultTrafficPolicy"."""

    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None


class MatchRule(Kind):
    """Istio, "ServiceEntryVisibility.MatchRule"."""

    namespace_selector: LabelSelector | None = None


class VisibilityPolicy(Kind):
    """Istio, "ServiceEntryVisibility.Policy"."""

    visibility: Visibility = "VISIBILITY_UNSPECIFIED"
    matching_rules: tuple[MatchRule, ...] = ()


class ServiceEntryVisibility(Kind):
    """Istio, "ServiceEntryVisibility"."""

    default_visibility: Visibility = "VISIBILITY_UNSPECIFIED"
    apply_to_sidecars: Flag = False
    policies: tuple[VisibilityPolicy, ...] = ()


class MeshConfig(Kind):
    """Istio, "MeshConfig"."""

    proxy_listen_port: Number = 15001
    proxy_inbound_listen_port: Number = 15006
    proxy_http_port: Number = 0
    connect_timeout: Duration = timedelta(seconds=10)
    hbone_idle_timeout: Duration = timedelta(hours=1)
    protocol_detection_timeout: Duration = timedelta(0)
    tcp_keepalive: TcpKeepalive | None = None
    ingress_class: Text = "istio"
    ingress_service: Text = "istio-ingressgateway"
    ingress_controller_mode: Literal["UNSPECIFIED", "OFF", "DEFAULT", "STRICT"] = "STRICT"
    ingress_selector: Text = ""
    enable_tracing: Flag = True
    access_log_file: Text = ""
    access_log_format: Text = ""
    access_log_encoding: Literal["TEXT", "JSON"] = "TEXT"
    enable_envoy_access_log_service: Flag = False
    disable_envoy_listener_log: Flag = False
    default_config: ProxyConfig = ProxyConfig()
    outbound_traffic_policy: MeshOutboundTrafficPolicy = MeshOutboundTrafficPolicy(mode="ALLOW_ANY")
    inbound_traffic_policy: InboundTrafficPolicy = InboundTrafficPolicy()
    config_sources: tuple[ConfigSource, ...] = ()
    enable_auto_mtls: Flag = True
    trust_domain: Text = DEFAULT_DOMAIN
    trust_domain_aliases: Texts = ()
    ca_certificates: tuple[CertificateData, ...] = ()
    default_service_export_to: Texts = ("*",)
    default_virtual_service_export_to: Texts = ("*",)
    default_destination_rule_export_to: Texts = ("*",)
    root_namespace: Text = ROOT_NAMESPACE
    locality_lb_setting: LocalityLoadBalancerSetting | None = None
    zone_aware_lb_setting: ZoneAwareLoadBalancerSetting | None = None
    dns_refresh_rate: Duration = timedelta(seconds=60)
    h2_upgrade_policy: Literal["DO_NOT_UPGRADE", "UPGRADE"] = "DO_NOT_UPGRADE"
    inbound_cluster_stat_name: Text = ""
    outbound_cluster_stat_name: Text = ""
    certificates: tuple[Certificate, ...] = ()
    service_settings: tuple[ServiceSettings, ...] = ()
    service_scope_configs: tuple[ServiceScopeConfigs, ...] = ()
    enable_prometheus_merge: Flag = True
    verify_certificate_at_client: Flag | None = None
    ca: CA | None = None
    extension_providers: tuple[ExtensionProvider, ...] = ()
    default_providers: DefaultProviders | None = None
    discovery_selectors: tuple[LabelSelector, ...] = ()
    path_normalization: ProxyPathNormalization = ProxyPathNormalization()
    default_http_retry_policy: HTTPRetry | None = None
    default_inbound_http_retry_policy: HTTPRetry | None = None
    mesh_mtls: TLSConfig | None = Field(default=None, alias="meshMTLS")
    tls_defaults: TLSConfig | None = None
    default_traffic_policy: DefaultTrafficPolicy | None = None
    service_entry_visibility: ServiceEntryVisibility | None = None
