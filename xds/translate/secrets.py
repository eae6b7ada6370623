"""SDS: which secrets travel over the stream: the roots of the mesh, and certificates of gateways.

A workload's own key never does: it is made on the machine and read from files (DESIGN D11).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from mesh.kinds.tls import ServerTLSSettings
from mesh.names import ObjectKey
from mesh.views import GatewayView
from mesh.world import Credential
from xds import envoy, names
from xds.memo import Memo
from xds.resources import Resource

_KEPT = "kubernetes://"
"""Istio's prefix of credentials that the control plane hands out."""


def trust_secrets(roots: tuple[str, ...], memo: Memo) -> Iterator[Resource]:
    """The roots to trust, each in PEM, under the name that every socket of the mesh asks for."""
    yield from memo.resource(names.TRUST_BUNDLE, trust_bundle, roots)


def gateway_secrets(
    view: GatewayView, credentials: Mapping[str, Credential], memo: Memo
) -> Iterator[Resource]:
    """The certificate of each HTTPS server: from files on the gateway, or one of ``credentials`` by name.

    A credential that is not there is left out: its server's handshakes fail, the others go on.
    """
    asked = {server.secret: server for server in view.servers if server.secret}
    for name, server in sorted(asked.items()):
        tls = server.server.tls
        if tls is not None and tls.server_certificate:
            yield from memo.resource(name, file_certificate, name, tls, server.source)
        elif (kept := credentials.get(name.removeprefix(_KEPT))) is not None:
            yield from memo.resource(name, kept_certificate, name, kept, server.source)


def trust_bundle(roots: tuple[str, ...]) -> Resource:
    secret = _secret(names.TRUST_BUNDLE)
    secret.validation_context.trusted_ca.inline_string = "".join(roots)
    return Resource.of(names.TRUST_BUNDLE, secret)


def file_certificate(name: str, tls: ServerTLSSettings, source: ObjectKey) -> Resource:
    """Paths on the gateway's own disk. Their folder is watched: renewing them restarts nothing."""
    secret = _secret(name)
    pair = secret.tls_certificate
    pair.certificate_chain.filename = tls.server_certificate
    pair.private_key.filename = tls.private_key
    pair.watched_directory.path = str(PurePosixPath(tls.server_certificate).parent)
    return Resource.of(name, secret, sources=(source,))


def kept_certificate(name: str, credential: Credential, source: ObjectKey) -> Resource:
    secret = _secret(name)
    secret.tls_certificate.certificate_chain.inline_bytes = credential.chain
    secret.tls_certificate.private_key.inline_bytes = credential.key
    return Resource.of(name, secret, sources=(source,))


def _secret(name: str) -> Any:
    return envoy.message("envoy.extensions.transport_sockets.tls.v3.Secret")(name=name)
