"""The containers and volumes that a Pod is given, literally.

Key and certificate lie in memory, where only the two that run as the proxy's user see them: the application's
containers do not mount it. Nothing is privileged; the one capability is that of the container that loads the
capture rules, and ends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ca.accounts import AUDIENCE
from mesh.proxies import Interception
from reconciler.inject.capture import rules
from reconciler.inject.sidecar import (
    FOLDER,
    TOKEN_FOLDER,
    TOKEN_SECONDS,
    USER,
    Sidecar,
)
from reconciler.inject.wishes import Wishes
from xds.probes import Probe

Container = dict[str, Any]

INIT, ENROL, RENEW, PROXY = "meshwright-init", "meshwright-enrol", "meshwright-renew", "meshwright-proxy"
NAMES = (INIT, ENROL, RENEW, PROXY)
RUN, TOKEN = "meshwright-run", "meshwright-token"
VOLUMES = (RUN, TOKEN)

_DRAIN_SECONDS = 5
# Downward API: what the kubelet knows of the Pod when it starts it.
_FIELDS = {
    "POD_NAME": "metadata.name",
    "POD_NAMESPACE": "metadata.namespace",
    "INSTANCE_IP": "status.podIP",
}


def capturing(sidecar: Sidecar, wishes: Wishes) -> Container:
    """Loads the capture rules, and ends. Root of its own network alone."""
    return {
        "name": INIT,
        "image": sidecar.image,
        "command": ["nft"],
        "args": [rules(wishes.capture)],
        "resources": _resources("10m", "32Mi", "100m", "128Mi"),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsGroup": 0,
            "runAsNonRoot": False,
            "runAsUser": 0,
        },
    }


def enrolling(sidecar: Sidecar, wishes: Wishes, probes: Sequence[Probe]) -> Container:
    """Gets the first certificate and writes Envoy's bootstrap, and ends: Envoy starts from what is there."""
    return _enrolment(ENROL, sidecar, wishes, probes, ())


def renewing(sidecar: Sidecar, wishes: Wishes, probes: Sequence[Probe]) -> Container:
    """Keeps the certificate fresh. The same program; it writes the same bootstrap."""
    return _enrolment(RENEW, sidecar, wishes, probes, ("--watch",))


def _enrolment(
    name: str, sidecar: Sidecar, wishes: Wishes, probes: Sequence[Probe], more: Sequence[str]
) -> Container:
    environment = [
        *({"name": key, "valueFrom": {"fieldRef": {"fieldPath": path}}} for key, path in _FIELDS.items()),
        {"name": "MESHWRIGHT_CA_ROOT", "value": sidecar.ca_root},
    ]
    if probes:
        said = json.dumps([asdict(probe) for probe in probes], separators=(",", ":"))
        # Else the kubelet would put one of the variables there: it reads $(NAME) so, and $$ as one $.
        said = said.replace("$", "$$")
        environment.append({"name": "MESHWRIGHT_PROBES", "value": said})
    is_captured = wishes.interception is not Interception.NONE
    return {
        "name": name,
        "image": sidecar.image,
        "command": ["meshwright"],
        "args": [
            "enrol",
            "$(POD_NAME).$(POD_NAMESPACE)",
            "--address=$(INSTANCE_IP)",
            *(f"--server={place}" for place in sidecar.enrolment),
            *(f"--control-plane={place}" for place in sidecar.control_plane),
            f"--trust-domain={sidecar.trust_domain}",
            *([f"--cluster={sidecar.cluster}"] if sidecar.cluster else []),
            *([] if is_captured else [f"--interception={wishes.interception}"]),
            f"--token-file={TOKEN_FOLDER}/token",
            f"--dir={FOLDER}",
            *more,
        ],
        "env": environment,
        "resources": _resources("10m", "64Mi", "1000m", "256Mi"),
        "securityContext": _as_proxy(),
        "volumeMounts": [
            {"name": RUN, "mountPath": FOLDER},
            {"name": TOKEN, "mountPath": TOKEN_FOLDER, "readOnly": True},
        ],
    }


def proxy(sidecar: Sidecar, wishes: Wishes) -> Container:
    """Envoy. It stays a little when the Pod ends, because the application may still be answering."""
    size = {**sidecar.sizes, **wishes.sizes}
    ready = {"path": "/healthz/ready", "port": 15021}
    return {
        "name": PROXY,
        "image": sidecar.envoy_image,
        "command": ["envoy"],
        "args": [
            "--config-path",
            "bootstrap.json",
            "--log-level",
            "warning",
            # Istio's fields, that Envoy calls deprecated with every push: Istio silences it in the same way.
            "--component-log-level",
            "misc:error",
            "--concurrency",
            "2",
            "--disable-hot-restart",
            "--drain-time-s",
            str(_DRAIN_SECONDS),
        ],
        # The bootstrap names its files from here, as it does on a machine.
        "workingDir": FOLDER,
        "ports": [{"name": "http-envoy-prom", "containerPort": 15090, "protocol": "TCP"}],
        "lifecycle": {"preStop": {"sleep": {"seconds": _DRAIN_SECONDS}}},
        "startupProbe": {"httpGet": dict(ready), "periodSeconds": 1, "failureThreshold": 600},
        "readinessProbe": {"httpGet": dict(ready), "periodSeconds": 15, "failureThreshold": 4},
        "resources": _resources(size["cpu"], size["memory"], size["cpu limit"], size["memory limit"]),
        "securityContext": _as_proxy(),
        "volumeMounts": [{"name": RUN, "mountPath": FOLDER}],
    }


def native(container: Container) -> Container:
    """The same as a native sidecar: an init container that goes on, and ends after the application."""
    changed = {key: said for key, said in container.items() if key != "lifecycle"}
    return {"name": changed.pop("name"), "restartPolicy": "Always", **changed}


def volumes() -> list[dict[str, Any]]:
    token = {"audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"}
    return [
        {"name": RUN, "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
        {"name": TOKEN, "projected": {"sources": [{"serviceAccountToken": token}]}},
    ]


def _as_proxy() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsGroup": USER,
        "runAsNonRoot": True,
        "runAsUser": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _resources(cpu: str, memory: str, cpu_limit: str, memory_limit: str) -> Mapping[str, Mapping[str, str]]:
    return {
        "requests": {"cpu": cpu, "memory": memory},
        "limits": {"cpu": cpu_limit, "memory": memory_limit},
    }
