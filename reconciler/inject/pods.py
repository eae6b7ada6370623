"""One Pod, or the template of many: whether it gets a sidecar, and what it is like with one.

Where our containers come: native sidecars first, so that the application's init containers have the mesh
already; plain containers and what prepares them last, so that the application's init containers have the
network as it is, which no Envoy serves yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mesh.proxies import Interception
from reconciler.inject import containers, wishes
from reconciler.inject.flaws import Flaws
from reconciler.inject.probes import is_name, is_port, led_through
from reconciler.inject.sidecar import ANNOTATION, PORTS, TLS_MODE, USER, Sidecar
from reconciler.inject.wishes import Wishes
from xds.probes import Probe

Object = Mapping[str, Any]


def with_sidecar(pod: Object, sidecar: Sidecar, flaws: Flaws) -> dict[str, Any] | None:
    """The Pod with its sidecar. ``None`` when it shall have none, or has it already."""
    metadata, spec = _mapping(pod, "metadata"), _mapping(pod, "spec")
    labels, notes = _mapping(metadata, "labels"), _mapping(metadata, "annotations")
    if wishes.is_out(labels, notes):
        return None
    if ANNOTATION in notes:
        if not _has_sidecar(spec):
            flaws.at("metadata", "annotations", ANNOTATION).error(
                "the Pod is said to have its sidecar, and has none",
                f"take the annotation out; who wants no sidecar says so by {wishes.INJECT}: 'false'",
            )
        return None
    wished, found = wishes.read(notes)
    for flaw in found:
        here = flaws.at("metadata", "annotations", flaw.annotation)
        if flaw.is_error:
            here.error(flaw.message, flaw.hint)
        else:
            here.no_effect(flaw.message)
    _check(spec, flaws.at("spec"))
    # A Pod that is there to end, as a Job's, never would with a plain container beside it.
    ends = spec.get("restartPolicy") in ("Never", "OnFailure")
    is_native = ends or (sidecar.is_native if wished.is_native is None else wished.is_native)
    whole = pod if "metadata" in pod else {"metadata": {}, **pod}
    return {
        **whole,
        "metadata": {
            **metadata,
            "labels": {**labels, TLS_MODE: "istio"},
            "annotations": {**notes, ANNOTATION: sidecar.image},
        },
        "spec": _with_containers(spec, sidecar, wished, flaws.at("spec"), is_native=is_native),
    }


def _has_sidecar(spec: Object) -> bool:
    kinds = ("initContainers", "containers")
    return any(one.get("name") == containers.PROXY for kind in kinds for _, one in _listed(spec, kind))


def _with_containers(
    spec: Object, sidecar: Sidecar, wished: Wishes, flaws: Flaws, *, is_native: bool
) -> dict[str, Any]:
    probes: list[Probe] = []
    theirs: dict[str, list[Any]] = {}
    for kind in ("initContainers", "containers"):
        theirs[kind] = []
        for index, container in _listed(spec, kind):
            changed, led = (
                (container, ()) if wished.are_probes_kept else led_through(container, flaws.at(kind, index))
            )
            theirs[kind].append(changed)
            probes += led
    before = [containers.capturing(sidecar, wished)] if wished.interception is Interception.REDIRECT else []
    before.append(containers.enrolling(sidecar, wished, probes))
    beside = [containers.renewing(sidecar, wished, probes), containers.proxy(sidecar, wished)]
    if is_native:
        first = [*before, *(containers.native(one) for one in beside), *theirs["initContainers"]]
        running = theirs["containers"]
    else:
        first, running = [*theirs["initContainers"], *before], [*theirs["containers"], *beside]
    volumes = [volume for _, volume in _listed(spec, "volumes")]
    added = {"initContainers": first, "containers": running, "volumes": [*volumes, *containers.volumes()]}
    return {**spec, **added}


def _check(spec: Object, flaws: Flaws) -> None:
    if spec.get("hostNetwork") is True:
        flaws.at("hostNetwork").error(
            "a Pod in the network of its node cannot have a sidecar: the capture would be the node's",
            f"take hostNetwork out, or label the Pod with {wishes.INJECT}: 'false'",
        )
    if not list(_listed(spec, "containers")):
        flaws.at("containers").error("a Pod without containers", "write at least one")
    _check_user(_mapping(spec, "securityContext"), "the Pod", flaws.at("securityContext"))
    for kind in ("initContainers", "containers"):
        for index, container in _listed(spec, kind):
            _check_container(container, flaws.at(kind, index))
    for index, volume in _listed(spec, "volumes"):
        if volume.get("name") in containers.VOLUMES:
            flaws.at("volumes", index, "name").error(
                f"the name {volume['name']!r} is the sidecar's", "call the volume something else"
            )


def _check_container(container: Object, flaws: Flaws) -> None:
    name = container.get("name")
    if name in containers.NAMES:
        flaws.at("name").error(f"the name {name!r} is the sidecar's", "call the container something else")
    elif not is_name(name):
        flaws.at("name").error(
            f"expected the name of a container, found {name!r}",
            "write lower case letters, digits and '-', with a letter or digit at both ends",
        )
    elif name == "istio-proxy":
        flaws.error(
            "the Pod has Istio's sidecar already: two would capture the same traffic",
            "inject into the manifest as it was before istioctl kube-inject",
        )
    _check_user(_mapping(container, "securityContext"), f"container {name!r}", flaws.at("securityContext"))
    for index, port in _listed(container, "ports"):
        number, here = port.get("containerPort"), flaws.at("ports", index, "containerPort")
        if not is_port(number):
            here.error(f"expected a port between 1 and 65535, found {number!r}", "write a number")
        elif number in PORTS:
            here.error(f"port {number} is the sidecar's", "let the application listen at another one")


def _check_user(context: Object, who: str, flaws: Flaws) -> None:
    for field in ("runAsUser", "runAsGroup"):
        if context.get(field) == USER:
            flaws.at(field).error(
                f"{who} runs as {USER}, whose traffic is not captured: it is the proxy's",
                "choose another number",
            )


def _mapping(value: Object, key: str) -> Object:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _listed(value: Object, key: str) -> Iterator[tuple[int, Object]]:
    found = value.get(key)
    if isinstance(found, list):
        yield from ((index, one) for index, one in enumerate(found) if isinstance(one, dict))
