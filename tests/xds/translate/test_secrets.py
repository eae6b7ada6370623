from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mesh.kinds.gateway import Server
from mesh.names import ObjectKey
from mesh.views import GatewayServer, GatewayView
from mesh.world import Credential
from tests.support.envoys import needs_envoy, refusal
from tests.support.served import Callers
from tests.support.views import SETTINGS
from xds import envoy
from xds.memo import Memo
from xds.resources import Resource
from xds.translate.secrets import gateway_secrets, trust_secrets

EDGE = ObjectKey("Gateway", "istio-system", "edge")


def a_server(secret: str = "kubernetes://site", **tls: Any) -> GatewayServer:
    written = {
        "port": {"number": 443, "protocol": "HTTPS", "name": "https"},
        "hosts": ["*"],
        "tls": {"mode": "SIMPLE", **(tls or {"credentialName": "site"})},
    }
    return GatewayServer(
        port=443,
        bind="",
        server=Server.model_validate(written),
        routes="https.443.https.edge.istio-system",
        sni_hosts=("a.example",),
        source=EDGE,
        secret=secret,
    )


def found(*servers: GatewayServer, **credentials: Credential) -> list[Resource]:
    view = GatewayView(settings=SETTINGS, servers=servers, tables=())
    return list(gateway_secrets(view, credentials, Memo()))


def test_the_roots_of_the_mesh_are_one_secret_that_every_socket_asks_for() -> None:
    (bundle,) = trust_secrets(("one\n", "two\n"), Memo())
    assert envoy.as_dict(bundle.message) == {
        "name": "ROOTCA",
        "validation_context": {"trusted_ca": {"inline_string": "one\ntwo\n"}},
    }


def test_the_roots_are_written_once_as_long_as_they_stay() -> None:
    memo, roots = Memo(), ("one\n",)
    list(trust_secrets(roots, memo))
    list(trust_secrets(roots, memo))
    assert memo.made == {"trust_bundle": 1}


def test_a_credential_is_found_by_its_name_and_served_once() -> None:
    (secret,) = found(a_server(), a_server(), site=Credential(b"chain", b"key"))
    assert (secret.name, secret.sources) == ("kubernetes://site", (EDGE,))
    pair = secret.message.tls_certificate
    assert (pair.certificate_chain.inline_bytes, pair.private_key.inline_bytes) == (b"chain", b"key")


def test_a_credential_that_nobody_keeps_is_left_out() -> None:
    assert found(a_server(), other=Credential(b"chain", b"key")) == []


def test_a_key_shows_in_no_message() -> None:
    assert repr(Credential(b"chain", b"the key")) == "Credential(chain=b'chain')"


def test_files_of_the_gateway_are_named_and_their_folder_is_watched() -> None:
    server = a_server(
        "file-cert:/tls/a.pem~/tls/a.key", serverCertificate="/tls/a.pem", privateKey="/tls/a.key"
    )
    (secret,) = found(server)
    assert envoy.as_dict(secret.message) == {
        "name": "file-cert:/tls/a.pem~/tls/a.key",
        "tls_certificate": {
            "certificate_chain": {"filename": "/tls/a.pem"},
            "private_key": {"filename": "/tls/a.key"},
            "watched_directory": {"path": "/tls"},
        },
    }


@needs_envoy
def test_envoy_takes_every_secret(tmp_path: Path) -> None:
    callers = Callers(tmp_path)
    chain, key = callers.pair("site")
    named = a_server("file", serverCertificate=str(chain), privateKey=str(key))
    secrets = [
        *trust_secrets(callers.roots, Memo()),
        *found(replace(named), a_server(), site=Credential(chain.read_bytes(), key.read_bytes())),
    ]
    assert len(secrets) == 3
    assert refusal(secrets, tmp_path) == ""
