"""A site behind a gateway that speaks HTTPS: what Git says of it, its certificate, its machine, a visit."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mesh.clock import SystemClock
from reconciler.demo import envoy
from reconciler.demo.control_plane import ControlPlane
from reconciler.demo.processes import Processes
from reconciler.demo.proxies import Machine
from reconciler.demo.workloads import ProxyPorts, Workload
from tests.support.scenarios_places import claimed
from tests.support.served import free_port

_HOST = "site.example.com"
_LIMIT = aiohttp.ClientTimeout(total=5)
_CONFIG = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: site, namespace: {namespace}}}
spec:
  selector: {{app: edge}}
  servers:
  - port: {{number: {port}, name: https, protocol: HTTPS}}
    bind: {address}
    hosts: [{host}]
    tls: {{mode: SIMPLE, credentialName: site-cert}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: site, namespace: {namespace}}}
spec:
  hosts: [{host}]
  gateways: [site]
  http:
  - directResponse: {{status: 200, body: {{string: hello}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: edge-1, namespace: {namespace}}}
spec: {{address: {address}, labels: {{app: edge}}, serviceAccount: edge}}
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate of the site and its key, in PEM."""

    certificate: bytes
    key: bytes = field(repr=False)

    @classmethod
    def made(cls) -> Pair:
        key, now = ec.generate_private_key(ec.SECP256R1()), SystemClock().now()
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "site")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(_HOST)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(
            certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def keep(self, folder: Path) -> None:
        """As ``tls.crt`` and ``tls.key``, as an operator puts them there."""
        folder.mkdir(parents=True)
        (folder / "tls.crt").write_bytes(self.certificate)
        (folder / "tls.key").touch(mode=0o600)
        (folder / "tls.key").write_bytes(self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where the site is. Its machine is ``edge-1``, its certificate ``site-cert``."""

    namespace: str
    address: str
    port: int

    @property
    def config(self) -> str:
        return _CONFIG.format(namespace=self.namespace, address=self.address, port=self.port, host=_HOST)

    async def start(self, folder: Path, control_plane: ControlPlane, processes: Processes) -> None:
        """Enrol its machine and start the gateway there."""
        workload = Workload(
            name="edge-1",
            namespace=self.namespace,
            address=self.address,
            labels={},
            service_account="edge",
            port=0,
            proxy_ports=ProxyPorts(),
        )
        machine = Machine(
            workload=workload,
            folder=folder,
            envoy=envoy.find(),
            control_plane=control_plane,
            processes=processes,
        )
        machine.folder.mkdir()
        await machine.enrol()
        await machine.start_proxy()

    async def answers(self, shown: Pair) -> bool:
        """Whether it says hello to one who knows this certificate and no other."""
        trusting = ssl.create_default_context(cadata=shown.certificate.decode())
        with contextlib.suppress(TimeoutError, aiohttp.ClientConnectionError):
            async with (
                aiohttp.ClientSession() as session,
                session.get(
                    f"https://{self.address}:{self.port}/",
                    ssl=trusting,
                    server_hostname=_HOST,
                    headers={"Host": _HOST},
                    timeout=_LIMIT,
                ) as response,
            ):
                return (response.status, await response.text()) == (200, "hello")
        return False


@contextlib.contextmanager
def a_site(namespace: str = "web") -> Iterator[Site]:
    """At an address that nobody else has meanwhile."""
    with claimed() as place:
        yield Site(namespace=namespace, address=place.network("10.0.0.7"), port=free_port())
