from __future__ import annotations

from typing import Any

import pytest

from mesh.kinds.tls import ClientTLSSettings
from mesh.services import Protocol, Service
from mesh.views import Cluster
from tests.support.views import ACCOUNT, a_cluster, a_port, a_service
from xds import envoy
from xds.translate import transport

RAW = {
    "name": "envoy.transport_sockets.raw_buffer",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    },
}


def secured(cluster: Cluster, kind: str = "EDS") -> dict[str, Any]:
    made = envoy.parsed("envoy.config.cluster.v3.Cluster", {"type": kind})
    transport.write(cluster, made)
    literal = envoy.as_dict(made)
    del literal["type"]
    return literal


def context(cluster: Cluster) -> dict[str, Any]:
    """The TLS context of a cluster that has one for all its endpoints."""
    socket = secured(cluster)["transport_socket"]
    assert socket["name"] == "envoy.transport_sockets.tls"
    return dict(socket["typed_config"])


def a_written(mode: str, **said: Any) -> dict[str, Any]:
    return {"policy": {"tls": {"mode": mode, **said}}}


def test_outside_the_mesh_connections_are_plain() -> None:
    assert secured(a_cluster(auto_mutual_tls=False)) == {}


def test_each_endpoint_decides_between_mutual_tls_and_plain_text() -> None:
    first, second = secured(a_cluster(auto_mutual_tls=True))["transport_socket_matches"]
    assert (first["name"], first["match"]) == ("tlsMode-istio", {"tlsMode": "istio"})
    assert first["transport_socket"]["name"] == "envoy.transport_sockets.tls"
    assert second == {"name": "tlsMode-disabled", "match": {}, "transport_socket": RAW}


def test_mutual_tls_shows_the_workloads_certificate_and_accepts_the_services_accounts_only() -> None:
    matches = secured(a_cluster(subset="v1", auto_mutual_tls=True))["transport_socket_matches"]
    made = matches[0]["transport_socket"]["typed_config"]
    assert made == {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": "outbound_.9080_.v1_.reviews.bookinfo.svc.cluster.local",
        "common_tls_context": {
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_2",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "alpn_protocols": ["istio-http/1.1", "istio", "http/1.1"],
            "tls_certificate_sds_secret_configs": [
                {
                    "name": "default",
                    "sds_config": {
                        "path_config_source": {"path": "sds/cert.yaml", "watched_directory": {"path": "sds"}},
                        "resource_api_version": "V3",
                    },
                }
            ],
            "combined_validation_context": {
                "default_validation_context": {
                    "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": ACCOUNT}}]
                },
                "validation_context_sds_secret_config": {
                    "name": "ROOTCA",
                    "sds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"},
                },
            },
        },
    }


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (Protocol.HTTP, ["istio-http/1.1", "istio", "http/1.1"]),
        (Protocol.GRPC, ["istio-h2", "istio", "h2"]),
        (Protocol.UNKNOWN, ["istio-http/1.1", "istio-h2", "istio"]),
        (Protocol.TCP, ["istio"]),
    ],
)
def test_what_is_offered_in_the_handshake_follows_the_protocol(
    protocol: Protocol, expected: list[str]
) -> None:
    service = a_service("reviews", a_port(9080, protocol))
    made = context(a_cluster(service=service, **a_written("ISTIO_MUTUAL")))
    assert made["common_tls_context"]["alpn_protocols"] == expected


def accepted(made: dict[str, Any]) -> list[tuple[str, str]]:
    common = made["common_tls_context"]
    validation = (
        common["combined_validation_context"]["default_validation_context"]
        if "combined_validation_context" in common
        else common.get("validation_context", {})
    )
    names = validation.get("match_typed_subject_alt_names", [])
    return [(name["san_type"], name["matcher"]["exact"]) for name in names]


def test_names_of_the_service_entry_may_answer_too() -> None:
    service = a_service("reviews", subject_alt_names=("spiffe://other/ns/a/sa/b", ACCOUNT))
    made = context(a_cluster(service=service, **a_written("ISTIO_MUTUAL")))
    assert accepted(made) == [("URI", ACCOUNT), ("URI", "spiffe://other/ns/a/sa/b")]


def test_a_rule_may_name_who_answers_and_under_which_server_name() -> None:
    written = a_written("ISTIO_MUTUAL", sni="gate", subjectAltNames=["spiffe://cluster.local/ns/x/sa/y"])
    made = context(a_cluster(**written))
    assert made["sni"] == "gate"
    assert accepted(made) == [("URI", "spiffe://cluster.local/ns/x/sa/y")]


def test_a_rule_that_disables_tls_wins_over_the_mesh() -> None:
    assert secured(a_cluster(auto_mutual_tls=True, **a_written("DISABLE"))) == {}


def test_a_passed_on_connection_has_no_endpoint_to_decide() -> None:
    assert list(secured(a_cluster(auto_mutual_tls=True), "ORIGINAL_DST")) == ["transport_socket"]


def test_simple_tls_believes_the_operating_systems_authorities() -> None:
    made = context(a_cluster(service=external(), **a_written("SIMPLE")))
    assert made == {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_2",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "validation_context": {"trusted_ca": {"filename": "/etc/ssl/certs/ca-certificates.crt"}},
        },
    }


def test_mutual_tls_outside_the_mesh_uses_the_files_that_were_named() -> None:
    made = context(
        a_cluster(
            service=external(),
            **a_written(
                "MUTUAL",
                clientCertificate="/c.pem",
                privateKey="/k.pem",
                caCertificates="/ca.pem",
                caCrl="/crl.pem",
                sni="api.example.com",
                subjectAltNames=["api.example.com", "10.0.0.1", "spiffe://x/y"],
            ),
        )
    )
    assert made["sni"] == "api.example.com"
    common = made["common_tls_context"]
    assert common["tls_certificates"] == [
        {"certificate_chain": {"filename": "/c.pem"}, "private_key": {"filename": "/k.pem"}}
    ]
    assert common["validation_context"]["trusted_ca"] == {"filename": "/ca.pem"}
    assert common["validation_context"]["crl"] == {"filename": "/crl.pem"}
    assert accepted(made) == [("DNS", "api.example.com"), ("IP_ADDRESS", "10.0.0.1"), ("URI", "spiffe://x/y")]


def test_nothing_is_verified_when_the_user_insists() -> None:
    made = context(a_cluster(service=external(), **a_written("SIMPLE", insecureSkipVerify=True)))
    assert "validation_context" not in made["common_tls_context"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (None, (False, False)),
        ({"mode": "ISTIO_MUTUAL"}, (False, False)),
        ({"mode": "SIMPLE"}, (True, True)),
        ({"mode": "SIMPLE", "sni": "a.b"}, (False, False)),
        ({"mode": "SIMPLE", "subjectAltNames": ["a.b"]}, (True, False)),
        ({"mode": "SIMPLE", "insecureSkipVerify": True}, (True, False)),
    ],
)
def test_the_server_name_follows_the_request_when_nobody_said_one(
    said: dict[str, Any] | None, expected: tuple[bool, bool]
) -> None:
    settings = None if said is None else ClientTLSSettings.model_validate(said)
    assert transport.needs_automatic_names(settings) == expected


def external() -> Service:
    return a_service("api.example.com", a_port(443, Protocol.HTTP))
