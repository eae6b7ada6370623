"""Every field has a verdict, and what is not carried out is reported where it is said."""

from __future__ import annotations

import pytest

from mesh.kinds import KINDS, KindRow
from mesh.kinds.verdicts import Verdict, leaves, words
from tests.support.documents import problems_of

ROWS = [pytest.param(row, id=row.kind) for row in KINDS.values()]


@pytest.mark.parametrize("row", ROWS)
def test_every_field_of_every_kind_has_a_verdict(row: KindRow) -> None:
    assert [path for path in leaves(row.model) if row.verdicts.of(path) is None] == []


@pytest.mark.parametrize("row", ROWS)
def test_every_verdict_is_about_a_field_that_exists(row: KindRow) -> None:
    assert row.plan is not None


def test_a_verdict_holds_for_what_is_below_until_a_longer_path_overrides_it() -> None:
    verdicts = KINDS["meshwright.dev", "Mesh"].verdicts
    assert verdicts.of("meshConfig.defaultConfig.tracing.zipkin.address") is Verdict.NO_EFFECT
    assert verdicts.of("meshConfig.defaultProviders.tracing") is Verdict.REFUSED
    assert verdicts.of("meshConfig.defaultHttpRetryPolicy.attempts") is Verdict.CARRIED_OUT
    assert verdicts.of("meshConfig") is None


def test_words_unfold_their_braces() -> None:
    assert words("a b.{ c d.{ e } } f") == ("a", "b.c", "b.d.e", "f")


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        (
            "VirtualService",
            "hosts: [a]\ntcp: [{route: [{destination: {host: a}}]}]",
            "error MW0004 spec.tcp: 'tcp' is not supported yet",
        ),
        (
            "VirtualService",
            "hosts: [a]\nhttp: [{corsPolicy: {}, route: [{destination: {host: a}}]}]",
            "error MW0004 spec.http[0].corsPolicy: 'corsPolicy' is not supported yet",
        ),
        (
            "VirtualService",
            "hosts: [a]\nhttp: [{match: [{}, {statPrefix: x}], route: [{destination: {host: a}}]}]",
            "error MW0004 spec.http[0].match[1].statPrefix: 'statPrefix' is not supported yet",
        ),
        (
            "DestinationRule",
            "host: a\nsubsets: [{name: v1, trafficPolicy: {loadBalancer: {warmup: {duration: 1s}}}}]",
            "error MW0004 spec.subsets[0].trafficPolicy.loadBalancer.warmup: 'warmup' is not supported yet",
        ),
        (
            "DestinationRule",
            "host: a\ntrafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {credentialName: x}}]}",
            (
                "error MW0004 spec.trafficPolicy.portLevelSettings[0].tls.credentialName: "
                "'credentialName' is not supported yet"
            ),
        ),
        (
            "Sidecar",
            "egress: [{port: {number: 80, protocol: HTTP, name: http}, hosts: ['./*']}]",
            "error MW0004 spec.egress[0].port: 'port' is not supported yet",
        ),
        (
            "AuthorizationPolicy",
            "rules: [{when: [{key: source.ip, values: ['10.0.0.1']}]}]",
            "error MW0004 spec.rules[0].when: 'when' is not supported yet",
        ),
        (
            "WorkloadGroup",
            "{template: {}, probe: {tcpSocket: {port: 80}}}",
            "error MW0004 spec.probe: 'probe' is not supported yet",
        ),
        (
            "Mesh",
            "meshConfig: {ingressClass: nginx}",
            (
                "info MW0005 spec.meshConfig.ingressClass: 'ingressClass' has no effect here: "
                "it is about the Ingress kind of Kubernetes"
            ),
        ),
    ],
)
def test_a_field_that_is_not_carried_out_is_named(kind: str, spec: str, message: str) -> None:
    assert problems_of(kind, spec) == [message]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("Mesh", "meshConfig: {ingressClass: istio, enablePrometheusMerge: true, extensionProviders: []}"),
        ("Sidecar", "egress: [{captureMode: DEFAULT, bind: '', hosts: ['./*']}]"),
        ("VirtualService", "hosts: [a]\ntls: []\ntcp:\nhttp: [{route: [{destination: {host: a}}]}]"),
    ],
)
def test_a_default_that_is_spelled_out_says_nothing(kind: str, spec: str) -> None:
    assert problems_of(kind, spec) == []
