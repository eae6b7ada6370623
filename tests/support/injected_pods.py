"""An injected Pod without a kubelet: what its manifest says becomes processes of this host."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reconciler.demo.control_plane import MESHWRIGHT
from reconciler.demo.processes import Processes, Program, ours
from tests.support.envoys import binary
from tests.support.served import free_port


class InjectedPod:
    """The Pod of a manifest as processes on this host: its enrolment, its Envoy. Owned by the test.

    ``enter``: how a process gets into the network of the Pod, as the user of its container; where there is
    none, the Pod must be one without capture, and has the loopback for a network.
    """

    def __init__(
        self,
        pod: Mapping[str, Any],
        folder: Path,
        tools: Processes,
        enter: Callable[[int], Sequence[str]] = lambda _user: (),
    ) -> None:
        self.folder, self._pod, self._tools, self._enter = folder, pod, tools, enter
        self.http_proxy_port, self._admin_port = free_port(), free_port()
        self._programs: dict[str, Program] = {}
        self._fields = {
            "POD_NAME": pod["metadata"]["name"],
            "POD_NAMESPACE": pod["metadata"]["namespace"],
        }

    async def start(self, address: str, token: str) -> None:
        """What the kubelet does, in its order: the init containers, then the others."""
        self._fields["INSTANCE_IP"] = address
        self.folder.mkdir()
        (self.folder / "token").write_text(token)
        for container in self._containers("initContainers"):
            command, environment = self._process(container)
            await self._tools.run(
                container["name"], *command, folder=self.folder, timeout_s=60, environment=environment
            )
        for container in self._containers("containers"):
            command, environment = self._process(container)
            self._programs[container["name"]] = await self._tools.start(
                container["name"], *command, folder=self.folder, environment=environment
            )

    async def told_to_end(self, container: str) -> tuple[int, str]:
        """What the kubelet does when the Pod ends: the exit code, and what the program has said."""
        program = self._programs[container]
        program.process.terminate()
        async with asyncio.timeout(10):
            return await program.process.wait(), program.log.read_text()

    def probe(self, container: str, probe: str) -> int:
        """What the kubelet is told by the probe that stands in the manifest; 0 when nobody answers."""
        (found,) = (one for one in self._pod["spec"]["containers"] if one["name"] == container)
        asked = found[probe]["httpGet"]
        return status(f"http://{self._fields['INSTANCE_IP']}:{asked['port']}{asked['path']}")

    def _containers(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self._pod["spec"][kind] if one["name"].startswith("meshwright-")]

    def _process(self, container: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
        """Its command and environment; only folders and ports are this host's."""
        words = [*container["command"], *container["args"]]
        for name, value in self._fields.items():
            words = [word.replace(f"$({name})", value) for word in words]
        if words[0] == "meshwright":
            here = {
                "--dir": self.folder,
                "--token-file": self.folder / "token",
                "--admin-port": self._admin_port,
                "--http-proxy-port": self.http_proxy_port,
            }
            more = (str(word) for pair in here.items() for word in pair)
            words = [*MESHWRIGHT, *words[1:], *more]
        elif words[0] == "envoy":
            words[0] = str(binary())
        said = {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}
        user = container["securityContext"]["runAsUser"]
        return [*self._enter(user), *words], {**ours(), **said}


def running(address: str) -> dict[str, Any]:
    """The status that a kubelet would write."""
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }


def status(url: str, host: str = "") -> int:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
