"""Gateway: what a proxy at the edge listens for."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.kinds.kind import NOTHING, Kind, StringMap, Text, Texts, Unsigned
from mesh.kinds.rules import (
    TLS_PROTOCOLS,
    UNIX_PREFIX,
    dns_label,
    each,
    ip_address,
    port,
    protocol,
    unix_path,
    wildcard_domain,
    wrong,
)
from mesh.kinds.tls import ServerTLSSettings, check_server
from mesh.kinds.verdicts import Verdicts, words
from mesh.names import is_ip
from mesh.places import Place
from mesh.problems import Problem


class Port(Kind):
    """Istio, "Port"."""

    number: Unsigned
    protocol: Text
    name: Text
    target_port: Unsigned = 0


class Server(Kind):
    """Istio, "Server"."""

    port: Port
    bind: Text = ""
    hosts: Texts
    tls: ServerTLSSettings | None = None
    default_endpoint: Text = ""
    name: Text = ""


class Gateway(Kind):
    """Istio, "Gateway"."""

    servers: tuple[Server, ...] = ()
    selector: StringMap = NOTHING


_NO_CLIENT_CERTIFICATES = "leave it out; client certificates are not asked for until then"

VERDICTS = Verdicts(
    carried_out=words("""
        selector
        servers.{
            bind hosts name port.{ number protocol name }
            tls.{
                httpsRedirect mode serverCertificate privateKey credentialName minProtocolVersion
                maxProtocolVersion cipherSuites
            }
        }
    """),
    refused={
        "servers.defaultEndpoint": "leave it out; Istio does not support it for gateways either",
        "servers.port.targetPort": "leave it out; a gateway listens on the number",
        "servers.tls.caCertificates": _NO_CLIENT_CERTIFICATES,
        "servers.tls.caCrl": "leave it out",
        "servers.tls.credentialNames": "use credentialName, one certificate",
        "servers.tls.caCertCredentialName": _NO_CLIENT_CERTIFICATES,
        "servers.tls.tlsCertificates": "use serverCertificate and privateKey, one certificate",
        "servers.tls.subjectAltNames": _NO_CLIENT_CERTIFICATES,
        "servers.tls.verifyCertificateSpki": _NO_CLIENT_CERTIFICATES,
        "servers.tls.verifyCertificateHash": _NO_CLIENT_CERTIFICATES,
        "servers.tls.ecdhCurves": "leave it out",
        "servers.tls.insecureSkipVerify": _NO_CLIENT_CERTIFICATES,
    },
)
SUPPORTED_PROTOCOLS = ("HTTP", "HTTP2", "GRPC", "HTTPS")


def check(gateway: Gateway, where: Place) -> Iterator[Problem]:
    """Istio, ``ValidateGateway``."""
    if not gateway.servers:
        yield from wrong(where, "spec.servers", "expected at least one server, found none")
    names: set[str] = set()
    for index, server in enumerate(gateway.servers):
        at = f"spec.servers[{index}]"
        if server.port.name in names:
            yield from wrong(where, f"{at}.port.name", f"the port name {server.port.name!r} appears twice")
        names.add(server.port.name)
        yield from _server(server, where, at)


def _server(server: Server, where: Place, at: str) -> Iterator[Problem]:
    if not server.hosts:
        yield from wrong(where, f"{at}.hosts", "expected at least one host, found none")
    yield from each(where, f"{at}.hosts", server.hosts, _host)
    yield from _port(server, where, at)
    if server.tls is not None:
        yield from check_server(server.tls, where, f"{at}.tls")
    speaks_tls = server.port.protocol.upper() in TLS_PROTOCOLS
    if speaks_tls and server.tls is None:
        message = f"missing, and required by protocol {server.port.protocol}"
        yield from wrong(where, f"{at}.tls", message)
    if speaks_tls and server.tls is not None and server.tls.mode == "PASSTHROUGH":
        message = "mode 'PASSTHROUGH' is not supported yet, because routes by the names of TLS are not"
        hint = "use AUTO_PASSTHROUGH for services of the mesh, else SIMPLE"
        yield where.problem("MW0004", f"{at}.tls.mode", message, hint)
    if server.tls is not None and not speaks_tls:
        said = server.tls.mode != "PASSTHROUGH" or server.tls.server_certificate or server.tls.private_key
        if said:
            message = (
                f"protocol {server.port.protocol} is plain text and takes no TLS settings but httpsRedirect"
            )
            yield from wrong(where, f"{at}.tls", message)


def _port(server: Server, where: Place, at: str) -> Iterator[Problem]:
    name = server.port.protocol
    if not name or protocol(name):
        yield from wrong(where, f"{at}.port.protocol", protocol(name) or "expected a protocol, found nothing")
    elif name.upper() not in SUPPORTED_PROTOCOLS and not _is_passed_on(server):
        hint = f"use one of {', '.join(SUPPORTED_PROTOCOLS)}, or TLS with mode AUTO_PASSTHROUGH"
        yield where.problem("MW0004", f"{at}.port.protocol", f"protocol {name!r} is not supported yet", hint)
    if not server.port.name:
        yield from wrong(where, f"{at}.port.name", "expected the name of the port, found nothing")
    if server.bind.startswith(UNIX_PREFIX):
        yield from wrong(where, f"{at}.bind", unix_path(server.bind))
        if server.port.number:
            yield from wrong(where, f"{at}.port.number", "a unix socket's port number is 0")
        return
    yield from wrong(where, f"{at}.port.number", port(server.port.number))
    if server.bind:
        yield from wrong(where, f"{at}.bind", ip_address(server.bind))


def _is_passed_on(server: Server) -> bool:
    """Whether its TLS goes through unopened; then nothing depends on what is inside."""
    is_tls = server.port.protocol.upper() == "TLS"
    return is_tls and server.tls is not None and server.tls.mode in {"PASSTHROUGH", "AUTO_PASSTHROUGH"}


def _host(text: str) -> str:
    """``host`` or ``namespace/host``; the namespace may be ``.`` or ``*``, the host a wildcard."""
    namespace, slash, host = text.partition("/")
    if not slash:
        namespace, host = "*", text
    if namespace not in {".", "*"} and dns_label(namespace):
        return f"not a namespace: {namespace!r} (in {text!r})"
    return full_host(host)


def full_host(host: str) -> str:
    """A name with a dot, an address, or a wildcard that is a whole label. Used by Sidecar too."""
    if host == "*" or is_ip(host):
        return ""
    if "." not in host:
        return f"short names are not allowed here: {host!r}"
    if "*" in host and not host.startswith("*."):
        return f"partial wildcards are not allowed here: {host!r}"
    return wildcard_domain(host)
