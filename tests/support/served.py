"""Resources of ours in a real Envoy that learns them from files, and callers who have certificates.

What resources ask of ADS (route tables, endpoints, secrets) is answered by files here, and nothing else in
them is changed: the rest is what a proxy of the mesh gets.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca.authority import Authority
from ca.callers import Caller
from ca.issuance import Issuer
from mesh.clock import SystemClock
from mesh.identity import SpiffeId
from mesh.views import Settings
from tests.support.certificates import a_key, a_request, an_authority, an_issuer
from tests.support.envoys import Answer, Literal
from xds import envoy
from xds.names import WORKLOAD_CERTIFICATE
from xds.resources import Resource
from xds.translate.transport import SDS_DIRECTORY

MESH_HTTP = ("istio-http/1.1", "istio", "http/1.1")
MESH_TCP = ("istio",)


def served(resources: Iterable[Resource], folder: Path, identity: tuple[Path, Path] | None = None) -> Literal:
    """A bootstrap with which Envoy reads these resources from files in ``folder``.

    ``identity`` is a certificate chain and its key to use in the place of what ``running`` makes up.
    """
    certificate = f"{SDS_DIRECTORY}/cert.yaml"
    if identity is not None:
        certificate = str(folder / "identity.json")
        Path(certificate).write_text(json.dumps({"resources": [pair_secret(*identity)]}))
    by_type: dict[str, list[Literal]] = defaultdict(list)
    for resource in resources:
        answered = _answered(envoy.as_dict(resource.message), folder)
        literal = {"@type": resource.type_url, **answered}
        by_type[resource.type_url].append(literal)
        # Whoever asks for a table, an assignment or a secret takes a file with that one alone.
        _path(folder, resource.type_url, resource.name).write_text(json.dumps({"resources": [literal]}))
    for type_url in (envoy.CLUSTER, envoy.LISTENER):
        text = json.dumps({"resources": by_type[type_url]})
        _path(folder, type_url).write_text(text.replace(f'"{SDS_DIRECTORY}/cert.yaml"', f'"{certificate}"'))
    return {
        "dynamic_resources": {
            "cds_config": _file(_path(folder, envoy.CLUSTER)),
            "lds_config": _file(_path(folder, envoy.LISTENER)),
        }
    }


def pair_secret(chain: Path, key: Path) -> Literal:
    """A workload's certificate, as enrolment leaves it in the file that Envoy watches."""
    pair = {"certificate_chain": {"filename": str(chain)}, "private_key": {"filename": str(key)}}
    return {"@type": envoy.SECRET, "name": WORKLOAD_CERTIFICATE, "tls_certificate": pair}


def _path(folder: Path, type_url: str, name: str = "all") -> Path:
    return folder / f"{envoy.SHORT_NAMES[type_url]}-{re.sub('[^a-zA-Z0-9.-]', '_', name)}.json"


def _file(path: Path) -> Literal:
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


# The field that asks, the field beside it that says for what, and of which type that is.
_ASKS = {
    "config_source": ("route_config_name", envoy.ROUTES),
    "eds_config": ("service_name", envoy.ENDPOINTS),
    "sds_config": ("name", envoy.SECRET),
}


def _answered(value: Any, folder: Path) -> Any:
    """The same, with a file wherever ADS is asked."""
    match value:
        case dict():
            made = {key: _answered(inner, folder) for key, inner in value.items()}
            for key in value.keys() & _ASKS.keys():
                if "ads" in value[key]:
                    names, type_url = _ASKS[key]
                    made[key] = _file(_path(folder, type_url, value[names]))
            return made
        case list():
            return [_answered(inner, folder) for inner in value]
        case _:
            return value


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody has right now, at this address or any other of the loopback."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def becomes(true: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether something that takes a moment comes true. Bounded."""
    pause = threading.Event()
    return any(true() or pause.wait(0.05) for _ in range(int(seconds / 0.05)))


class Callers:
    """An authority, and clients it vouches for."""

    def __init__(self, folder: Path, trust_domain: str = Settings().trust_domain) -> None:
        clock = SystemClock()
        self.authority: Authority = an_authority(clock.now() - timedelta(days=1), trust_domain)
        self._issuer: Issuer = an_issuer(clock, self.authority)
        self._folder = folder
        self._trust_domain = trust_domain

    @property
    def roots(self) -> tuple[str, ...]:
        return tuple(root.public_bytes(Encoding.PEM).decode() for root in self.authority.roots)

    def pair(self, account: str, namespace: str = "bookinfo") -> tuple[Path, Path]:
        """A certificate chain and its key, as files."""
        key = a_key()
        caller = Caller(SpiffeId(self._trust_domain, namespace, account), "test")
        chain = self._issuer.issue(a_request(key), caller)
        certificate, private = (self._folder / f"{namespace}-{account}.{end}" for end in ("pem", "key"))
        certificate.write_bytes(chain.pem)
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, private

    def context(
        self, account: str, namespace: str = "bookinfo", offers: Iterable[str] = MESH_HTTP
    ) -> ssl.SSLContext:
        """How this caller speaks TLS. The server is not checked: that is what clusters are tested for."""
        context = anonymous(offers)
        context.load_cert_chain(*self.pair(account, namespace))
        return context


def anonymous(offers: Iterable[str] = ()) -> ssl.SSLContext:
    """TLS without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if offered := list(offers):
        context.set_alpn_protocols(offered)
    return context


def ask(
    address: tuple[str, int],
    path: str = "/",
    *,
    context: ssl.SSLContext | None = None,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    server_name: str = "reviews",
    timeout: float = 10,
) -> Answer:
    """One request on a connection of its own. :raises OSError: when it is closed instead of answered."""
    connection = http.client.HTTPConnection(*address, timeout=timeout)
    connection.connect()
    if context is not None:
        connection.sock = context.wrap_socket(connection.sock, server_hostname=server_name)
    try:
        connection.request(method, path, headers={"Host": "reviews", **(headers or {})})
        response = connection.getresponse()
        text = response.read().decode()
        return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, text)
    finally:
        connection.close()
