"""A Pod with capture, in a network namespace of its own: real rules, a stock Envoy, a neighbour on the wire.

Run as a program in a new network namespace (``unshare --net``), as root; its argument is a folder. It prints
what came of each connection, first under STRICT and then under PERMISSIVE. The neighbour is a machine of the
mesh; the control plane runs beside it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from ca import minting
from ca.accounts import Cluster
from ca.authority import open_authority
from ca.counters import Counters
from ca.credentials import server_credentials
from ca.issuance import Issuer
from ca.istio import CertificateService, TokenPort
from ca.profile import Profile
from ca.tokens import JoinTokens
from mesh.clock import SystemClock
from mesh.documents import parse_file
from mesh.latest import Latest
from reconciler.demo.control_plane import ControlPlane, admin_socket, serving
from reconciler.demo.processes import Processes, ours
from reconciler.demo.proxies import Machine
from reconciler.demo.repository import Repository
from reconciler.demo.workloads import LOOPBACK, TRUST_DOMAIN, ProxyPorts, Workload
from reconciler.inject import Sidecar, inject
from tests.support.config import a_mesh, a_port, a_service, a_workload, document
from tests.support.envoys import binary
from tests.support.injected_pods import InjectedPod, status
from tests.support.pod_network import ip
from tests.support.served import becomes
from tests.support.service_accounts import AnApiServer, APod, a_token

HOST, POD = "10.77.0.1", "10.77.0.5"
SERVED, UNDECLARED, BACK, OUTSIDE = 8080, 9999, 8081, 8099
WEB_VIP, BACK_VIP = "240.0.0.6", "240.0.0.7"
APPLICATION = 1000
# A proxy's user cannot read what root has written, or this Python; in a container it could.
_READING = "+dac_override,+dac_read_search"
_LIMIT_S = 100


class Network:
    """The wire between this namespace and that of the Pod, as long as the program runs."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        inside = self._holder.pid
        ip("link set lo up")
        ip("link add host0 type veth peer name pod0")
        ip(f"link set pod0 netns {inside}")
        ip(f"address add {HOST}/24 dev host0")
        ip("link set host0 up")
        for command in (
            "link set lo up",
            f"address add {POD}/24 dev pod0",
            "link set pod0 up",
            f"route add default via {HOST}",
        ):
            ip(command, inside)

    def enter(self, user: int) -> Sequence[str]:
        entering = ("nsenter", "--target", str(self._holder.pid), "--net")
        if user == 0:
            return entering
        rights = ("--inh-caps", _READING, "--ambient-caps", _READING)
        return (*entering, "setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups", *rights)

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait(timeout=10)


async def main(folder: Path) -> None:
    async with asyncio.timeout(_LIMIT_S), AsyncExitStack() as doors:
        network = Network()
        doors.callback(network.close)
        tools = await doors.enter_async_context(Processes(folder / "logs"))
        repository = Repository(folder, tools, SystemClock())
        control_plane = await _control_plane(folder, repository, tools, doors)
        sidecar = await _sidecar(folder / "state", control_plane, doors)
        pod = _pod(folder / "web-1", sidecar, tools, network)
        for port, prefix in ((SERVED, network.enter(APPLICATION)), (UNDECLARED, network.enter(APPLICATION))):
            await _application(folder, tools, port, *prefix, address="0.0.0.0")
        await _application(folder, tools, BACK, address=LOOPBACK)
        await _application(folder, tools, OUTSIDE, address=HOST)
        await pod.start(POD, a_token())
        through = await _neighbour(folder / "back-1", control_plane, tools)
        assert becomes(lambda: status(through, f"web:{SERVED}") == 200, 30), "the Pod does not serve"
        assert becomes(lambda: pod.probe("app", "livenessProbe") == 200), "the probe does not answer"
        strict = _reached(through, pod, network.enter(APPLICATION))
        await repository.push({"mode.yaml": _mode("PERMISSIVE")}, "plain text as well")
        assert becomes(lambda: status(f"http://{POD}:{SERVED}/") == 200, 30), "plain text is refused"
        permissive = _reached(through, pod, network.enter(APPLICATION))
        sys.stdout.write(json.dumps({"STRICT": strict, "PERMISSIVE": permissive}))


def _mode(mode: str) -> str:
    return document("PeerAuthentication", "mode", mtls={"mode": mode})


def _reached(through: str, pod: InjectedPod, inside: Sequence[str]) -> dict[str, int]:
    def ask(url: str) -> int:
        command = [*inside, sys.executable, "-c", _ASK, url]
        return int(subprocess.run(command, capture_output=True, timeout=20, check=True).stdout)

    return {
        "mesh to the application": status(through, f"web:{SERVED}"),
        "plain text to the application": status(f"http://{POD}:{SERVED}/"),
        "plain text to an undeclared port": status(f"http://{POD}:{UNDECLARED}/"),
        "kubelet to an HTTP probe": pod.probe("app", "readinessProbe"),
        "kubelet to a TCP probe": pod.probe("app", "livenessProbe"),
        "kubelet to the proxy": pod.probe("meshwright-proxy", "readinessProbe"),
        "application to the mesh": ask(f"http://{BACK_VIP}:{BACK}/"),
        "application to the outside": ask(f"http://{HOST}:{OUTSIDE}/"),
        "application to its own service": ask(f"http://{WEB_VIP}:{SERVED}/"),
        "application to its own address": ask(f"http://{POD}:{SERVED}/"),
        "application to itself": ask(f"http://{LOOPBACK}:{SERVED}/"),
    }


_ASK = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError:
    print(0)
"""


async def _control_plane(
    folder: Path, repository: Repository, tools: Processes, doors: AsyncExitStack
) -> ControlPlane:
    await repository.create(bell=admin_socket(folder / "state"))
    files = {
        "mesh.yaml": a_mesh(),
        "web.yaml": a_service("web", ports=[a_port(SERVED, name="http")], addresses=[WEB_VIP]),
        "back.yaml": a_service("back", ports=[a_port(BACK, name="http")], addresses=[BACK_VIP]),
        "pod.yaml": a_workload("web", POD),
        "neighbour.yaml": a_workload("back", HOST),
        "mode.yaml": _mode("STRICT"),
    }
    await repository.push(files, "a Pod and a machine")
    everywhere = ("--listen-address", "0.0.0.0")
    made = serving(repository.url, folder / "state", tools, SystemClock(), *everywhere)
    control_plane = await doors.enter_async_context(made)
    await control_plane.until_ready(timedelta(seconds=60))
    return control_plane


async def _sidecar(state: Path, control_plane: ControlPlane, doors: AsyncExitStack) -> Sidecar:
    """A port for tokens whose cluster takes every token for the Pod's; real ones are tested elsewhere."""
    clock = SystemClock()
    authority = Latest(open_authority(state / "ca", clock.now(), trust_domain=TRUST_DOMAIN))
    issuer = Issuer(authority, Profile(), clock)
    cluster = Cluster(name="main", judge=AnApiServer(answer=APod("bookinfo", "web", "web-1")))
    service = CertificateService(
        issuer=issuer,
        tokens=JoinTokens(state / "none"),
        clusters=lambda: (cluster,),
        counters=Counters(CollectorRegistry(), authority),
        clock=clock,
    )
    port = TokenPort(service)
    number = await port.start("0.0.0.0:0", Latest(server_credentials(issuer)))
    doors.push_async_callback(port.stop)
    return Sidecar(
        image="meshwright",
        control_plane=(f"{HOST}:{control_plane.ports.xds}",),
        enrolment=(f"{HOST}:{number}",),
        ca_root=minting.pem(*authority.value.roots).decode(),
    )


def _pod(folder: Path, sidecar: Sidecar, tools: Processes, network: Network) -> InjectedPod:
    probes: dict[str, Any] = {
        "readinessProbe": {"httpGet": {"path": "/", "port": SERVED}},
        "livenessProbe": {"tcpSocket": {"port": SERVED}, "periodSeconds": 1},
    }
    written = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "bookinfo"},
        "spec": {"containers": [{"name": "app", "image": "app", **probes}]},
    }
    made = inject([("pod.json", json.dumps(written))], sidecar)
    (pod,) = (dict(one.data) for one in parse_file("pod.yaml", made.text.encode())[0])
    return InjectedPod(pod, folder, tools, network.enter)


async def _application(folder: Path, tools: Processes, port: int, *entering: str, address: str) -> None:
    served = folder / f"served-{port}"
    await asyncio.to_thread(served.mkdir)
    await tools.start(
        f"application-{port}",
        *(*entering, sys.executable, "-m", "http.server", str(port), "--bind", address),
        folder=served,
        environment=ours(),
    )


async def _neighbour(folder: Path, control_plane: ControlPlane, tools: Processes) -> str:
    """A machine of the mesh; where its programs find the mesh."""
    envoy = binary()
    assert envoy is not None
    workload = Workload(
        name="back-1",
        namespace="bookinfo",
        address=HOST,
        labels={},
        service_account="back",
        port=BACK,
        proxy_ports=ProxyPorts(),
    )
    machine = Machine(
        workload=workload, folder=folder, envoy=envoy, control_plane=control_plane, processes=tools
    )
    await asyncio.to_thread(folder.mkdir)
    await machine.enrol()
    await machine.start_proxy()
    return f"http://{LOOPBACK}:{workload.http_proxy_port}/"


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
