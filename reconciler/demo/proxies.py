"""One workload of the demo as a machine would have it: its program, its enrolment, its Envoy.

The steps are those of a real machine. A one-time token is carried there, the enrolment program makes
the key and has it signed, Envoy starts from the files that are then there, and the same program stays
to renew them.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mesh.errors import Unavailable
from mesh.proxies import Interception, NodeId
from reconciler.demo import share
from reconciler.demo.control_plane import ControlPlane
from reconciler.demo.processes import Processes, ours
from reconciler.demo.workloads import LOOPBACK, TRUST_DOMAIN, Workload
from xds.bootstrap import Installation, Socket, bootstrap_text

CONTROL_PLANE = f"spiffe://{TRUST_DOMAIN}/ns/istio-system/sa/meshwright"
ENROL_TIMEOUT_S = 60.0
SHOW_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A workload and the folder that stands for its machine's disk."""

    workload: Workload
    folder: Path
    envoy: Path
    control_plane: ControlPlane
    processes: Processes

    @property
    def name(self) -> str:
        return self.workload.name

    async def start_program(self, *module_and_arguments: str) -> None:
        """Start the program that the proxy stands before: one of our modules, which listens on loopback."""
        await self.processes.start(
            self.name,
            sys.executable,
            "-m",
            *module_and_arguments,
            "--listen",
            f"{LOOPBACK}:{self.workload.port}",
            folder=self.folder,
            environment=ours(),
        )

    async def enrol(self) -> None:
        """Get the first certificate with a one-time token."""
        token = self.folder / "token"
        token.touch(mode=0o600)
        token.write_text(await self.control_plane.token(self.workload.identity, self.name))
        await self._enrolment("enrol", "--token-file", str(token))
        token.unlink()

    async def renew(self) -> None:
        """Replace the certificate now, long before it is due."""
        await self._enrolment("renew", "--force")

    async def start_proxy(self) -> None:
        """Start Envoy, and the renewal of its certificate beside it."""
        (self.folder / "bootstrap.json").write_text(bootstrap_text(self._installation()))
        await self.processes.start(
            f"{self.name}-envoy",
            self.envoy,
            "--config-path",
            "bootstrap.json",
            "--concurrency",
            "1",
            "--log-level",
            "warning",
            # Istio's fields, that Envoy calls deprecated with every push: Istio silences it in the same way.
            "--component-log-level",
            "misc:error",
            # Without it seven proxies of one machine would meet in shared memory.
            "--disable-hot-restart",
            folder=self.folder,
        )
        await self.processes.start(
            f"{self.name}-renewal",
            sys.executable,
            _program(),
            "run",
            *self._where(),
            folder=self.folder,
        )

    async def shown_certificate(self) -> str:
        """The hash of the certificate that callers are shown now, seen from outside."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Whether it is a good one is the callers' business: they verify it with every request.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["istio-http/1.1", "istio"])
        try:
            async with asyncio.timeout(SHOW_TIMEOUT_S):
                _, writer = await asyncio.open_connection(
                    self.workload.address, self.workload.port, ssl=context
                )
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"{self.name} shows no certificate: {error!r}") from error
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return hashlib.sha256(shown).hexdigest()

    async def _enrolment(self, verb: str, *arguments: str) -> None:
        await self.processes.run(
            f"the enrolment program of {self.name}",
            sys.executable,
            _program(),
            verb,
            *self._where(),
            *arguments,
            folder=self.folder,
            timeout_s=ENROL_TIMEOUT_S,
        )

    def _where(self) -> tuple[str, ...]:
        server = f"https://{LOOPBACK}:{self.control_plane.ports.est}"
        return ("--server", server, "--dir", str(self.folder))

    def _installation(self) -> Installation:
        workload = self.workload
        ports, own = workload.proxy_ports, workload.own_address or workload.address
        return Installation(
            node=NodeId(
                role=workload.role,
                address=workload.address,
                name=workload.name,
                namespace=workload.namespace,
                domain=TRUST_DOMAIN,
            ),
            interception=Interception.NONE,
            control_plane=(Socket(LOOPBACK, self.control_plane.ports.xds),),
            control_plane_id=CONTROL_PLANE,
            http_proxy_port=workload.http_proxy_port,
            admin=Socket(own, ports.admin),
            metrics=Socket(own, ports.metrics),
            readiness=Socket(own, ports.readiness),
        )


async def enrol_all(machines: Iterable[Machine]) -> None:
    """Get their first certificates, all at once.

    :raises Unavailable: the first thing that went wrong.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for machine in machines:
                group.create_task(machine.enrol())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors


def _program() -> Path:
    return share.find("playbooks/files/meshwright_enrol.py")
