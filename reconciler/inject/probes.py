"""Leads a container's probes and hooks to the port of Envoy where the kubelet is answered.

Paths and port are Istio's (``pilot/cmd/pilot-agent/status``). How often and how patiently the kubelet asks
stays as it was written. What names another host than the Pod is no question to this Pod, and is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from reconciler.inject.flaws import Flaws
from xds.probes import PORT, Means, Probe

_PROBES = {"livenessProbe": "livez", "readinessProbe": "readyz", "startupProbe": "startupz"}
_HOOKS = {"postStart": "poststartz", "preStop": "prestopz"}
_HANDLERS = ("httpGet", "tcpSocket", "grpc")
# What a hook may take; the kubelet gives up by the grace period of the Pod.
_HOOK_SECONDS = 3600

Object = Mapping[str, Any]
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def is_name(said: object) -> TypeGuard[str]:
    """Whether this can be what a container is called (RFC 1123, a label)."""
    return isinstance(said, str) and _NAME.fullmatch(said) is not None


def is_port(said: object) -> TypeGuard[int]:
    """Whether this is the number of a port."""
    return isinstance(said, int) and not isinstance(said, bool) and 0 < said < 65536


def led_through(container: Object, flaws: Flaws) -> tuple[dict[str, Any], tuple[Probe, ...]]:
    """The container with its questions asked of Envoy, and what Envoy has to know of them.

    One without a proper name stays as it is: no path could be named after it.
    """
    name, changed, probes = container.get("name"), dict(container), []
    if not is_name(name):
        return changed, ()
    for field, path in _PROBES.items():
        asked = container.get(field)
        if isinstance(asked, dict):
            probe = _probe(container, asked, f"/app-health/{name}/{path}", flaws.at(field))
            if probe is not None:
                changed[field] = _asked_of_envoy(asked, probe)
                probes.append(probe)
    hooks = container.get("lifecycle")
    if isinstance(hooks, dict):
        led = dict(hooks)
        for field, path in _HOOKS.items():
            hook = hooks.get(field)
            if isinstance(hook, dict) and "httpGet" in hook:
                asked = {**hook, "timeoutSeconds": _HOOK_SECONDS}
                probe = _probe(
                    container, asked, f"/app-lifecycle/{name}/{path}", flaws.at("lifecycle", field)
                )
                if probe is not None:
                    led[field] = _asked_of_envoy(hook, probe)
                    probes.append(probe)
        changed["lifecycle"] = led
    return changed, tuple(probes)


def _probe(container: Object, asked: Object, path: str, flaws: Flaws) -> Probe | None:
    """``None`` for what is not asked over the network, or not of this Pod, or cannot be read."""
    handler = next((name for name in _HANDLERS if isinstance(asked.get(name), dict)), None)
    if handler is None or asked[handler].get("host"):
        return None
    question = asked[handler]
    port = _port(container, question.get("port"))
    if port is None:
        flaws.at(handler, "port").error(
            f"no port {question.get('port')!r} in this container", "name one of its ports, or write a number"
        )
        return None
    match handler:
        case "httpGet":
            means = Means.HTTPS if str(question.get("scheme", "")).upper() == "HTTPS" else Means.HTTP
            target = _absolute(str(question.get("path") or "/"))
        case "tcpSocket":
            means, target = Means.TCP, ""
        case _:
            means, target = Means.GRPC, str(question.get("service") or "")
    return Probe(
        path=path,
        means=means,
        port=port,
        target=target,
        timeout_s=_seconds(asked.get("timeoutSeconds"), 1),
        period_s=_seconds(asked.get("periodSeconds"), 10),
    )


def _asked_of_envoy(asked: Object, probe: Probe) -> dict[str, Any]:
    """The same, with another handler at its place."""
    changed: dict[str, Any] = {}
    for field, said in asked.items():
        if field not in _HANDLERS:
            changed[field] = said
            continue
        changed["httpGet"] = {"path": probe.path, "port": PORT}
        if field == "httpGet" and said.get("httpHeaders"):
            changed["httpGet"]["httpHeaders"] = said["httpHeaders"]
    return changed


def _port(container: Object, said: object) -> int | None:
    if isinstance(said, str) and re.fullmatch(r"[0-9]{1,5}", said):
        said = int(said)
    elif isinstance(said, str):
        ports = container.get("ports")
        named = [port for port in ports if isinstance(port, dict)] if isinstance(ports, list) else []
        said = next((port.get("containerPort") for port in named if port.get("name") == said), None)
    return said if is_port(said) else None


def _absolute(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"


def _seconds(said: object, default: int) -> int:
    return said if isinstance(said, int) and not isinstance(said, bool) and said > 0 else default
