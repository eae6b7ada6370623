"""What one object alone can show beyond its shape. The rules are Istio's validators."""

from __future__ import annotations

import pytest

from mesh.kinds.mesh import Paths
from tests.support.documents import problems_of

A_ROUTE = "route: [{destination: {host: a}}]"


def http(route: str) -> str:
    return f"hosts: [a]\nhttp: [{{{route}}}]"


@pytest.mark.parametrize(
    ("spec", "messages"),
    [
        (http(A_ROUTE), []),
        (
            http("match: [{uri: {regex: '['}}], " + A_ROUTE),
            ["spec.http[0].match[0].uri.regex: not a regular expression: '[' (missing ]: [)"],
        ),
        (http("match: [{uri: {prefix: ''}}], " + A_ROUTE), []),
        (
            http("match: [{method: {prefix: ''}}], " + A_ROUTE),
            ["spec.http[0].match[0].method.prefix: expected a prefix, found nothing"],
        ),
        (
            http("match: [{headers: {x: {exact: a, prefix: b}}}], " + A_ROUTE),
            ["spec.http[0].match[0].headers.x: expected only one of exact, prefix"],
        ),
        (
            http("match: [{headers: {'a b': {}}}], " + A_ROUTE),
            ["spec.http[0].match[0].headers.a b: not the name of a header: 'a b'"],
        ),
        (
            http("match: [{port: 70000}], " + A_ROUTE),
            ["spec.http[0].match[0].port: expected a port from 1 to 65535, found 70000"],
        ),
        (
            http("redirect: {uri: /b}, " + A_ROUTE),
            ["spec.http[0].route: a route cannot have both route and redirect"],
        ),
        (http("name: nothing"), ["spec.http[0]: a route needs one of route, redirect, directResponse"]),
        (
            http("redirect: {uri: /b, redirectCode: 404}"),
            ["spec.http[0].redirect.redirectCode: expected one of 301, 302, 303, 307, 308, found 404"],
        ),
        (
            http("redirect: {}"),
            ["spec.http[0].redirect: expected at least one of uri, prefixRewrite, authority, scheme, port"],
        ),
        (
            http("directResponse: {status: 99}"),
            ["spec.http[0].directResponse.status: expected an HTTP status from 200 to 599, found 99"],
        ),
        (
            http("rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}, " + A_ROUTE),
            ["spec.http[0].rewrite: expected only one of uri, uriRegexRewrite"],
        ),
        (http("timeout: 0s, " + A_ROUTE), ["spec.http[0].timeout: expected a duration of at least 1ms"]),
        (
            http("retries: {attempts: 0, retryOn: 5xx}, " + A_ROUTE),
            ["spec.http[0].retries.attempts: retries are switched off (attempts is 0) and configured"],
        ),
        (
            http("retries: {attempts: 1, retryOn: '5xx,503,never'}, " + A_ROUTE),
            ["spec.http[0].retries.retryOn: not a condition to retry on: 'never'"],
        ),
        (
            http("fault: {abort: {grpcStatus: '5'}}, " + A_ROUTE),
            ["spec.http[0].fault.abort.grpcStatus: not a gRPC status: '5'"],
        ),
        (
            http("fault: {delay: {fixedDelay: 1s, percentage: {value: 101}}}, " + A_ROUTE),
            ["spec.http[0].fault.delay.percentage.value: expected a number from 0 to 100, found 101"],
        ),
        (
            http("headers: {response: {set: {':status': a}}}, " + A_ROUTE),
            ["spec.http[0].headers.response.set.:status: ':status' is not a header that can be edited here"],
        ),
        (
            http("headers: {request: {set: {x: 50%}}}, " + A_ROUTE),
            [
                (
                    "spec.http[0].headers.request.set.x: not the value of a header: '50%' "
                    "(write '%%' for a percent sign)"
                )
            ],
        ),
        (
            http("rewrite: {authority: b}, headers: {request: {set: {Host: c}}}, " + A_ROUTE),
            ["spec.http[0].headers.request: the authority is rewritten 2 times"],
        ),
        (
            http("route: [{destination: {host: a}}, {destination: {host: b}}]"),
            ["spec.http[0].route: the weights of several destinations add up to 0"],
        ),
        (
            http("route: [{destination: {host: '*'}}]"),
            ["spec.http[0].route[0].destination.host: a destination cannot be the wildcard '*'"],
        ),
        (
            "hosts: ['*']\nhttp: [{" + A_ROUTE + "}]",
            ["spec.hosts[0]: the wildcard '*' alone is not allowed in the mesh"],
        ),
        ("hosts: ['*']\ngateways: [gw]\nhttp: [{" + A_ROUTE + "}]", []),
        (
            "hosts: [a.b.com, '*.b.com']\nhttp: [{" + A_ROUTE + "}]",
            ["spec.hosts[1]: '*.b.com' repeats 'a.b.com'"],
        ),
        (
            "hosts: [a]\nexportTo: ['*', b]\nhttp: [{" + A_ROUTE + "}]",
            ["spec.exportTo: '*' (everybody) stands alone, found 2 entries"],
        ),
        (
            "hosts: [a]\nexportTo: [., bookinfo]\nhttp: [{" + A_ROUTE + "}]",
            ["spec.exportTo[1]: 'bookinfo' is exported to already"],
        ),
        ("hosts: [a]", ["spec: expected at least one of http, tls, tcp"]),
    ],
)
def test_virtual_service(spec: str, messages: list[str]) -> None:
    assert problems_of("VirtualService", spec) == [f"error IST0106 {message}" for message in messages]


@pytest.mark.parametrize(
    ("policy", "messages"),
    [
        ("{}", ["error IST0106 spec.trafficPolicy: expected at least one field, found none"]),
        (
            "loadBalancer: {simple: LEAST_CONN}",
            ["warning IST0002 spec.trafficPolicy.loadBalancer.simple: deprecated: use LEAST_REQUEST instead"],
        ),
        (
            "loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}",
            ["error IST0106 spec.trafficPolicy.loadBalancer: expected only one of simple, consistentHash"],
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 12}}}",
            [
                (
                    "error IST0106 spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: "
                    "expected a prime number below 5000011, found 12"
                )
            ],
        ),
        (
            "connectionPool: {tcp: {maxConnections: -1}}",
            [
                (
                    "error IST0106 spec.trafficPolicy.connectionPool.tcp.maxConnections: "
                    "expected a number from 0, found -1"
                )
            ],
        ),
        ("connectionPool: {tcp: {idleTimeout: 0s}}", []),
        (
            "connectionPool: {http: {http2KeepAlive: {interval: 5s}}}",
            [
                (
                    "error IST0106 spec.trafficPolicy.connectionPool.http.http2KeepAlive.timeout: "
                    "missing, and required"
                )
            ],
        ),
        (
            "outlierDetection: {consecutiveErrors: 5}",
            [
                (
                    "warning IST0002 spec.trafficPolicy.outlierDetection.consecutiveErrors: "
                    "deprecated: use consecutive5xxErrors or consecutiveGatewayErrors instead"
                )
            ],
        ),
        (
            "outlierDetection: {maxEjectionPercent: 101}",
            [
                (
                    "error IST0106 spec.trafficPolicy.outlierDetection.maxEjectionPercent: "
                    "expected a number from 0 to 100, found 101"
                )
            ],
        ),
        (
            "tls: {mode: MUTUAL, clientCertificate: /a}",
            ["error IST0106 spec.trafficPolicy.tls.privateKey: missing, and required by mode MUTUAL"],
        ),
        (
            "portLevelSettings: [{port: {number: 80}}]",
            [
                (
                    "error IST0106 spec.trafficPolicy.portLevelSettings[0]: "
                    "expected at least one field beside port, found none"
                )
            ],
        ),
    ],
)
def test_destination_rule(policy: str, messages: list[str]) -> None:
    spec = f"host: a\ntrafficPolicy: {policy if policy == '{}' else '{' + policy + '}'}"
    assert problems_of("DestinationRule", spec) == messages


@pytest.mark.parametrize(
    ("server", "messages"),
    [
        ("port: {number: 80, protocol: HTTP, name: http}, hosts: ['*']", []),
        (
            "port: {number: 80, protocol: HTTP, name: http}, hosts: [], bind: x",
            [
                "error IST0106 spec.servers[0].hosts: expected at least one host, found none",
                "error IST0106 spec.servers[0].bind: not an IP address: 'x'",
            ],
        ),
        (
            "port: {number: 80, protocol: HTTP, name: http}, hosts: [short]",
            ["error IST0106 spec.servers[0].hosts[0]: short names are not allowed here: 'short'"],
        ),
        (
            "port: {number: 80, protocol: MONGO, name: m}, hosts: ['*']",
            ["error MW0004 spec.servers[0].port.protocol: protocol 'MONGO' is not supported yet"],
        ),
        (
            "port: {number: 443, protocol: HTTPS, name: s}, hosts: ['*']",
            ["error IST0106 spec.servers[0].tls: missing, and required by protocol HTTPS"],
        ),
        (
            "port: {number: 443, protocol: HTTPS, name: s}, hosts: ['*'], tls: {mode: SIMPLE}",
            [
                "error IST0106 spec.servers[0].tls.serverCertificate: missing, and required by mode SIMPLE",
                "error IST0106 spec.servers[0].tls.privateKey: missing, and required by mode SIMPLE",
            ],
        ),
        (
            "port: {number: 443, protocol: HTTPS, name: s}, hosts: ['*'], tls: {mode: MUTUAL}",
            ["error MW0004 spec.servers[0].tls.mode: mode 'MUTUAL' is not supported yet"],
        ),
        (
            "port: {number: 15443, protocol: TLS, name: t}, hosts: ['*.a'], tls: {mode: AUTO_PASSTHROUGH}",
            [],
        ),
        ("port: {number: 15443, protocol: HTTPS, name: t}, hosts: ['*'], tls: {mode: AUTO_PASSTHROUGH}", []),
        (
            (
                "port: {number: 15443, protocol: TLS, name: t}, hosts: ['*'], "
                "tls: {mode: AUTO_PASSTHROUGH, credentialName: x}"
            ),
            [
                (
                    "warning IST0133 spec.servers[0].tls.mode: "
                    "mode AUTO_PASSTHROUGH uses no certificate; it is ignored"
                )
            ],
        ),
        (
            "port: {number: 443, protocol: TLS, name: t}, hosts: ['*'], tls: {mode: PASSTHROUGH}",
            [
                (
                    "error MW0004 spec.servers[0].tls.mode: "
                    "mode 'PASSTHROUGH' is not supported yet, because routes by the names of TLS are not"
                )
            ],
        ),
        (
            (
                "port: {number: 443, protocol: TLS, name: t}, hosts: ['*'], "
                "tls: {mode: SIMPLE, credentialName: x}"
            ),
            ["error MW0004 spec.servers[0].port.protocol: protocol 'TLS' is not supported yet"],
        ),
        (
            "port: {number: 80, protocol: HTTP, name: h}, hosts: ['*'], tls: {mode: AUTO_PASSTHROUGH}",
            [
                (
                    "error IST0106 spec.servers[0].tls: "
                    "protocol HTTP is plain text and takes no TLS settings but httpsRedirect"
                )
            ],
        ),
        ("port: {number: 80, protocol: HTTP, name: h}, hosts: ['*'], tls: {httpsRedirect: true}", []),
        (
            (
                "port: {number: 80, protocol: HTTP, name: h}, hosts: ['*'], "
                "tls: {mode: SIMPLE, credentialName: x}"
            ),
            [
                (
                    "error IST0106 spec.servers[0].tls: "
                    "protocol HTTP is plain text and takes no TLS settings but httpsRedirect"
                )
            ],
        ),
    ],
)
def test_gateway(server: str, messages: list[str]) -> None:
    assert problems_of("Gateway", f"selector: {{app: gw}}\nservers: [{{{server}}}]") == messages


@pytest.mark.parametrize(
    ("kind", "spec", "messages"),
    [
        ("Sidecar", "", ["error IST0106 spec: expected at least one of egress, outboundTrafficPolicy"]),
        ("Sidecar", "egress: [{hosts: ['./*', '~other/*', '~/*', 'istio-system/*']}]", []),
        (
            "Sidecar",
            "egress: [{hosts: [reviews]}]",
            ["error IST0106 spec.egress[0].hosts[0]: expected namespace/host, found 'reviews'"],
        ),
        (
            "Sidecar",
            "egress: [{hosts: ['./*', ./a.com]}]",
            ["warning IST0133 spec.egress[0].hosts[1]: './a.com' is covered by './*' already"],
        ),
        (
            "Sidecar",
            "workloadSelector: {}\negress: [{hosts: ['./*']}]",
            [
                (
                    "warning IST0133 spec.workloadSelector: "
                    "an empty selector: it selects every workload of the namespace"
                )
            ],
        ),
        (
            "ServiceEntry",
            "{hosts: [a.com], resolution: NONE}",
            ["error MW0004 spec.resolution: resolution 'NONE' is not supported yet"],
        ),
        (
            "ServiceEntry",
            "{hosts: [a.com], resolution: STATIC, endpoints: [{address: b.com}]}",
            ["error IST0106 spec.endpoints[0].address: expected an IP address, found 'b.com'"],
        ),
        (
            "ServiceEntry",
            "{hosts: [a.com, b.com], resolution: DNS, ports: [{number: 1, name: t, protocol: TCP}]}",
            ["error IST0106 spec.ports[0].protocol: several hosts need ports with an HTTP or TLS protocol"],
        ),
        (
            "ServiceEntry",
            "{hosts: [a.com], resolution: DNS, addresses: [10.0.0.300]}",
            ["error IST0106 spec.addresses[0]: not an IP address or CIDR: '10.0.0.300'"],
        ),
        ("AuthorizationPolicy", "", []),
        (
            "AuthorizationPolicy",
            "action: DENY",
            ["error IST0106 spec.rules: DENY without rules denies nothing"],
        ),
        (
            "AuthorizationPolicy",
            "action: AUDIT\nrules: [{}]",
            ["error MW0004 spec.action: action 'AUDIT' is not supported yet"],
        ),
        (
            "AuthorizationPolicy",
            "rules: [{from: []}]",
            ["error IST0106 spec.rules[0].from: must not be empty"],
        ),
        (
            "AuthorizationPolicy",
            "rules: [{from: [{source: {}}]}]",
            ["error IST0106 spec.rules[0].from[0].source: must not be empty"],
        ),
        (
            "AuthorizationPolicy",
            "rules: [{from: [{source: {ipBlocks: [10.0.0.0/99]}}]}]",
            [
                (
                    "error IST0106 spec.rules[0].from[0].source.ipBlocks[0]: "
                    "not an IP address or CIDR: '10.0.0.0/99'"
                )
            ],
        ),
        (
            "AuthorizationPolicy",
            "rules: [{from: [{source: {serviceAccounts: ['a/b/c']}}]}]",
            [
                (
                    "error IST0106 spec.rules[0].from[0].source.serviceAccounts[0]: "
                    "expected account or namespace/account, found 'a/b/c'"
                )
            ],
        ),
        (
            "AuthorizationPolicy",
            "rules: [{to: [{operation: {ports: ['http']}}]}]",
            [
                (
                    "error IST0106 spec.rules[0].to[0].operation.ports[0]: "
                    "expected a port from 1 to 65535, found 'http'"
                )
            ],
        ),
        (
            "AuthorizationPolicy",
            "rules: [{to: [{operation: {paths: ['/{**}/a/{*}', '/a{b}']}}]}]",
            [
                (
                    "error IST0106 spec.rules[0].to[0].operation.paths[0]: "
                    "not a path: '/{**}/a/{*}' ({**} is not the last operator)"
                ),
                (
                    "error IST0106 spec.rules[0].to[0].operation.paths[1]: "
                    "not a path: '/a{b}' (braces are for {*} and {**}, each a segment of its own)"
                ),
            ],
        ),
        (
            "AuthorizationPolicy",
            "action: DENY\nrules: [{to: [{operation: {methods: [GET]}}]}]",
            [
                (
                    "warning IST0133 spec.rules[0]: "
                    "denies all TCP traffic too, because only attributes of HTTP are named"
                )
            ],
        ),
        (
            "Mesh",
            "tenancy: [{path: teams/a}, {path: teams}]",
            ["error IST0106 spec.tenancy[1].path: 'teams' and 'teams/a' overlap"],
        ),
        (
            "Mesh",
            "tenancy: [{path: ../a}]",
            ["error IST0106 spec.tenancy[0].path: not a folder of the repository: '../a'"],
        ),
        (
            "Mesh",
            "meshConfig: {trustDomain: Example.org, proxyListenPort: 0}",
            [
                "error IST0106 spec.meshConfig.proxyListenPort: expected a port from 1 to 65535, found 0",
                (
                    "error IST0106 spec.meshConfig.trustDomain: "
                    "not a trust domain: 'Example.org' (expected lower-case labels with dots)"
                ),
            ],
        ),
        (
            "WorkloadGroup",
            "{template: {ports: {http: 0}}}",
            ["error IST0106 spec.template.ports.http: expected a port from 1 to 65535, found 0"],
        ),
    ],
)
def test_the_other_kinds(kind: str, spec: str, messages: list[str]) -> None:
    assert problems_of(kind, spec) == messages


@pytest.mark.parametrize(
    ("include", "exclude", "path", "is_taken"),
    [
        ([], [], "a/b.yaml", True),
        (["mesh"], [], "mesh/a/b.yaml", True),
        (["mesh/"], [], "other/b.yaml", False),
        (["**/mesh/*.yaml"], [], "a/b/mesh/c.yaml", True),
        (["**/mesh/*.yaml"], [], "mesh/c.yaml", True),
        (["*.yaml"], [], "a/b.yaml", False),
        ([], ["charts/*/templates"], "charts/web/templates/a/b.yaml", False),
        ([], ["charts/*/templates"], "charts/web/values.yaml", True),
        ([], ["?.yaml"], "a.yaml", False),
        ([], ["a.yaml"], "axyaml", True),
    ],
)
def test_globs_choose_files(include: list[str], exclude: list[str], path: str, is_taken: bool) -> None:
    assert Paths(include=tuple(include), exclude=tuple(exclude)).selects(path) is is_taken
