"""HTTPS at a gateway: the operator keeps the certificate, the repository only names it."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mesh.clock import SystemClock
from reconciler.demo import envoy
from reconciler.demo.proxies import Machine
from reconciler.demo.repository import Repository
from reconciler.demo.workloads import ProxyPorts, Workload
from tests.support.daemons import Daemon, NamedProcesses, is_live, until
from tests.support.envoys import needs_envoy
from tests.support.scenarios_places import claimed
from tests.support.served import free_port

pytestmark = pytest.mark.envoy

SITE = "site.example.com"
GATEWAY = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: site, namespace: web}}
spec:
  selector: {{app: edge}}
  servers:
  - port: {{number: {port}, name: https, protocol: HTTPS}}
    bind: {address}
    hosts: [site.example.com]
    tls: {{mode: SIMPLE, credentialName: site-cert}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: site, namespace: web}}
spec:
  hosts: [site.example.com]
  gateways: [site]
  http:
  - directResponse: {{status: 200, body: {{string: hello}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: edge-1, namespace: web}}
spec: {{address: {address}, labels: {{app: edge}}, serviceAccount: edge}}
"""


def keep_certificate(folder: Path) -> bytes:
    """``tls.crt`` and ``tls.key`` of the site, as an operator puts them there; the certificate in PEM."""
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
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SITE)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True)
    pem = certificate.public_bytes(Encoding.PEM)
    (folder / "tls.crt").write_bytes(pem)
    (folder / "tls.key").touch(mode=0o600)
    (folder / "tls.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return pem


@needs_envoy
async def test_a_gateway_shows_the_certificate_that_the_operator_keeps_under_its_name(tmp_path: Path) -> None:
    certificate = keep_certificate(tmp_path / "secrets" / "web" / "site-cert")
    trusting = ssl.create_default_context(cadata=certificate.decode())
    logs, port = tmp_path / "logs", free_port()
    async with NamedProcesses(logs) as ours, NamedProcesses(logs) as processes:
        with claimed() as place:
            address = place.network("10.0.0.7")
            repository = Repository(tmp_path, processes, SystemClock())
            daemon = Daemon(repository.url, tmp_path / "state", ours)
            await repository.create(bell=daemon.state / "admin.sock")
            push = await repository.push({"web.yaml": GATEWAY.format(port=port, address=address)}, "A site")
            await daemon.start("--secrets-directory", tmp_path / "secrets")
            await daemon.until_ready()
            async with daemon.as_demo() as control_plane, aiohttp.ClientSession() as session:
                workload = Workload(
                    name="edge-1",
                    namespace="web",
                    address=address,
                    labels={},
                    service_account="edge",
                    port=0,
                    proxy_ports=ProxyPorts(),
                )
                machine = Machine(
                    workload=workload,
                    folder=tmp_path / "edge-1",
                    envoy=envoy.find(),
                    control_plane=control_plane,
                    processes=processes,
                )
                machine.folder.mkdir()
                await machine.enrol()
                await machine.start_proxy()

                async def answers() -> bool:
                    url, limit = f"https://{address}:{port}/", aiohttp.ClientTimeout(total=5)
                    try:
                        async with session.get(
                            url, ssl=trusting, server_hostname=SITE, headers={"Host": SITE}, timeout=limit
                        ) as response:
                            return (response.status, await response.text()) == (200, "hello")
                    except (TimeoutError, aiohttp.ClientConnectionError):
                        return False

                await until("the site over HTTPS", answers)
                status = await daemon.until_status(
                    "the commit to be live", lambda status: is_live(status, push.commit, 1)
                )
                assert [one["code"] for one in status["problems"] if one["severity"] == "warning"] == []
