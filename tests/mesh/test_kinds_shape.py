"""The shape of kinds: what is said when a document does not fit, and the values when it does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mesh.config import ConfigObject
from mesh.documents import parse_file
from mesh.kinds.frozen import FrozenMap
from mesh.kinds.objects import Foreign, SpecCache, read_object
from mesh.kinds.virtual_service import VirtualService
from tests.support.documents import a_document, an_object, problems_of, said

REVIEWS = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{route: [{destination: {host: a}}, {destination: {host: b,
  subset: [v1]}}]}]}


# a comment
"""


def test_the_message_is_the_one_of_the_style_page() -> None:
    (document,), _ = parse_file(
        "reviews.yaml",
        b"apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        b"metadata: {name: a}\nspec:\n  hosts: [a]\n  htp: []\n  http:\n"
        b"  - route:\n    - destination:\n        host: a\n        subset: [v1]\n",
    )
    _, problems = read_object(document)
    assert [(str(problem), problem.hint) for problem in problems] == [
        (
            (
                "reviews.yaml:11: error IST0106 spec.http[0].route[0].destination.subset: "
                "expected text, found a list"
            ),
            "",
        ),
        ("reviews.yaml:6: error IST0106 spec.htp: unknown field", "did you mean 'http'?"),
    ]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("host: a\nsubsets: {}", "error IST0106 spec.subsets: expected a list, found a mapping"),
        ("host: a\nsubsets: [{}]", "error IST0106 spec.subsets[0].name: missing, and required"),
        ("host: a\nsubsets: [null]", "error IST0106 spec.subsets[0]: expected a mapping, found nothing"),
        ("host: 3", "error IST0106 spec.host: expected text, found the number 3"),
        (
            "host: a\nsubsets: [{name: v1, labels: {canary: yes}}]",
            "error IST0106 spec.subsets[0].labels.canary: expected text, found true",
        ),
        (
            "host: a\ntrafficPolicy: {tls: {mode: SIMPEL}}",
            (
                "error IST0106 spec.trafficPolicy.tls.mode: "
                "expected one of DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL, found text 'SIMPEL'"
            ),
        ),
        (
            "host: a\ntrafficPolicy: {outlierDetection: {interval: 5}}",
            (
                "error IST0106 spec.trafficPolicy.outlierDetection.interval: "
                "expected a duration such as '5s', found the number 5"
            ),
        ),
        (
            "host: a\ntrafficPolicy: {connectionPool: {tcp: {maxConnections: many}}}",
            (
                "error IST0106 spec.trafficPolicy.connectionPool.tcp.maxConnections: "
                "expected a whole number, found text 'many'"
            ),
        ),
        (
            "host: a\ntrafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: 1}}}",
            (
                "error IST0106 spec.trafficPolicy.loadBalancer.consistentHash.useSourceIp: "
                "expected true or false, found the number 1"
            ),
        ),
        (
            "host: a\ntrafficPolicy: {outlierDetection: {interval: 99999999h}}",
            (
                "error IST0106 spec.trafficPolicy.outlierDetection.interval: "
                "expected a duration such as '5s', of at most 106751 days, found text '99999999h'"
            ),
        ),
        (
            f"host: a\nsubsets: {'x' * 100}",
            "error IST0106 spec.subsets: expected a list, found text of 100 characters",
        ),
        ("host: a\nexport_to: ['*']", "error IST0106 spec.export_to: unknown field"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_found(spec: str, message: str) -> None:
    assert message in problems_of("DestinationRule", spec)


def test_every_mistake_is_reported_at_once() -> None:
    spec = "host: [a]\nsubsets: [{name: v1}, {label: {}}]\ntrafficPolicy: {tunnel: {}}"
    assert problems_of("DestinationRule", spec) == [
        "error IST0106 spec.host: expected text, found a list",
        "error IST0106 spec.trafficPolicy.tunnel.targetHost: missing, and required",
        "error IST0106 spec.trafficPolicy.tunnel.targetPort: missing, and required",
        "error IST0106 spec.subsets[1].name: missing, and required",
        "error IST0106 spec.subsets[1].label: unknown field",
        "error MW0004 spec.trafficPolicy.tunnel: 'tunnel' is not supported yet",
    ]


def test_a_field_without_a_value_is_not_said() -> None:
    found = an_object("DestinationRule", "host: a\ntrafficPolicy:\nsubsets: [{name: v1, labels: null}]").spec
    assert (found.traffic_policy, found.subsets[0].labels) == (None, FrozenMap())


def test_values_are_parsed_frozen_and_hashable() -> None:
    route = an_object(
        "VirtualService",
        """\
        hosts: [a]
        http:
        - timeout: 1.5s
          match: [{headers: {b: {exact: x}, a: {}}}]
          fault: {delay: {fixedDelay: 1m, percentage: {value: 0.1}}}
          route: [{destination: {host: a}}]
        """,
    ).spec.http[0]

    assert route.timeout == timedelta(seconds=1.5)
    assert route.fault.delay.percentage.value == 1_000
    assert list(route.match[0].headers) == ["a", "b"]
    assert route == route.model_copy()
    assert hash(route) == hash(route.model_copy())


def test_the_same_text_is_the_same_spec_wherever_it_stands() -> None:
    """Also when something is to be said about it, each time at its own line."""
    text = REVIEWS.replace("subset: [v1]", "subset: v1").replace("http: [{", "http: [{mirrorPercent: 5, ")
    specs = SpecCache()
    (first,), _ = parse_file("a.yaml", text.encode())
    (moved,), _ = parse_file("b.yaml", b"\n\n\n" + text.encode())

    one, before = read_object(first, specs)
    other, after = read_object(moved, specs)

    assert isinstance(one, ConfigObject)
    assert isinstance(other, ConfigObject)
    assert one.spec is other.spec
    assert [problem.where.line for problem in before] == [4, 4]
    assert [problem.where.line for problem in after] == [7, 7]


def test_an_export_of_a_cluster_is_taken_as_it_is() -> None:
    document = a_document("""\
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata:
          annotations: {kubectl.kubernetes.io/last-applied-configuration: "{}"}
          creationTimestamp: "2024-01-31T12:00:00Z"
          generation: 3
          labels: {app: reviews}
          managedFields: [{manager: kubectl, operation: Update}]
          name: reviews
          namespace: bookinfo
          resourceVersion: "4711"
          uid: 3f0d
        spec:
          hosts: [reviews]
          http: [{route: [{destination: {host: reviews}}]}]
        status: {conditions: []}
        """)
    made, problems = read_object(document)

    assert isinstance(made, ConfigObject)
    assert problems == ()
    assert isinstance(made.spec, VirtualService)
    assert made.created == datetime(2024, 1, 31, 12, tzinfo=UTC)
    assert (str(made.key), made.labels) == ("VirtualService/bookinfo/reviews", (("app", "reviews"),))


def test_an_object_without_a_namespace_is_in_the_default_one() -> None:
    made, _ = read_object(a_document(REVIEWS.replace("[v1]", "v1")))
    assert isinstance(made, ConfigObject)
    assert made.key.namespace == "default"


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            "apiVersion: networking.istio.io/v2\nkind: Gateway",
            "error MW0009 apiVersion: Gateway has no version 'v2'",
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: VirtualServices",
            "error MW0009 kind: networking.istio.io has no kind 'VirtualServices'",
        ),
        (
            "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter",
            "error MW0004 kind: kind 'EnvoyFilter' is not supported yet",
        ),
        (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute",
            "error MW0004 kind: kind 'HTTPRoute' is not supported yet",
        ),
        ("kind: Gateway", "error MW0009 apiVersion: missing, or not text, and required"),
        ("apiVersion: v1", "error MW0009 kind: missing, or not text, and required"),
    ],
)
def test_a_kind_that_is_not_carried_out_is_named(head: str, message: str) -> None:
    made, problems = read_object(a_document(f"{head}\nmetadata: {{name: a}}\n"))
    assert (made, [said(problem) for problem in problems]) == (None, [message])


@pytest.mark.parametrize(
    "head", ["apiVersion: apps/v1\nkind: Deployment", "apiVersion: v1\nkind: Pod", "a: 1"]
)
def test_documents_of_others_are_passed_over(head: str) -> None:
    made, problems = read_object(a_document(head))
    assert isinstance(made, Foreign)
    assert problems == ()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("{}", "error IST0106 metadata.name: missing, and required"),
        (
            "{name: Reviews_1}",
            "error IST0106 metadata.name: not a host name: 'Reviews_1' (label 'Reviews_1')",
        ),
        ("{name: a, namspace: b}", "error IST0106 metadata.namspace: unknown field"),
        ("{name: a, namespace: a/b}", "error IST0106 metadata.namespace: not a DNS label: 'a/b'"),
        (
            "{name: a, creationTimestamp: yesterday}",
            (
                "error IST0106 metadata.creationTimestamp: "
                "expected a time such as '2024-01-31T12:00:00Z', found text 'yesterday'"
            ),
        ),
    ],
)
def test_metadata_is_checked(metadata: str, message: str) -> None:
    text = f"apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {metadata}\n"
    _, problems = read_object(a_document(text))
    assert [said(problem) for problem in problems] == [message]
