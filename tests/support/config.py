"""Configs, worlds and proxies out of a few documents, read as a repository's would be."""

from __future__ import annotations

import json
from textwrap import dedent
from typing import Any

from mesh.config import Config
from mesh.labels import labels
from mesh.problems import has_errors
from mesh.proxies import Interception, Proxy, Role
from mesh.world import World
from reconciler.reading import Reader, TextFile
from tests.support.catalogues import Declared

NAMESPACE = "bookinfo"
ROOT = "istio-system"
SECURITY_KINDS = {"PeerAuthentication", "AuthorizationPolicy"}
# References that lead nowhere and clashes hold a unit back, but units that were accepted before can still
# meet in this way, so what becomes of them is tested too.
_OF_SEVERAL_OBJECTS = {"IST0101", "IST0110", "IST0112"}


def document(kind: str, name: str, namespace: str = NAMESPACE, *, created: str = "", **spec: Any) -> str:
    """One document in the words of its kind: ``document("DestinationRule", "reviews", host="reviews")``."""
    group = "security" if kind in SECURITY_KINDS else "networking"
    metadata = {"name": name, "namespace": namespace}
    if created:
        metadata["creationTimestamp"] = created
    return json.dumps(
        {"apiVersion": f"{group}.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}
    )


def a_mesh(**mesh_config: Any) -> str:
    """The Mesh document with these settings of MeshConfig."""
    return json.dumps(
        {
            "apiVersion": "meshwright.dev/v1alpha1",
            "kind": "Mesh",
            "metadata": {"name": "mesh"},
            "spec": {"meshConfig": mesh_config},
        }
    )


def a_service(name: str, namespace: str = NAMESPACE, **spec: Any) -> str:
    """A ServiceEntry of the mesh: HTTP on 9080, its workloads are those with ``app: <name>``."""
    said: dict[str, Any] = {
        "hosts": [f"{name}.{namespace}.svc.cluster.local"],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [a_port()],
    }
    if "endpoints" not in spec and spec.get("resolution") != "DNS":
        said["workloadSelector"] = {"labels": {"app": name}}
    return document("ServiceEntry", name, namespace, **{**said, **spec})


def a_port(number: int = 9080, protocol: str = "HTTP", name: str = "", **fields: Any) -> dict[str, Any]:
    made = {"number": number, "name": name or f"{protocol.lower() or 'port'}-{number}", **fields}
    return {**made, "protocol": protocol} if protocol else made


def a_workload(app: str, address: str = "10.0.0.1", namespace: str = NAMESPACE, **spec: Any) -> str:
    """A WorkloadEntry called ``<app>-1`` (say ``name`` for another), of the account ``<app>``."""
    name = spec.pop("name", f"{app}-1")
    said = {"address": address, "labels": {"app": app}, "serviceAccount": app, **spec}
    return document("WorkloadEntry", name, namespace, **said)


def a_virtual_service(
    host: str, *destinations: str, name: str = "", namespace: str = NAMESPACE, **spec: Any
) -> str:
    """Every request for the host goes to the first destination, unless ``http`` says otherwise."""
    said = {"hosts": [host], "http": [{"route": [{"destination": {"host": to}} for to in destinations]}]}
    return document("VirtualService", name or host.partition(".")[0], namespace, **{**said, **spec})


class Meshes:
    """Configs and worlds, each sharing with the one before what did not change."""

    def __init__(self) -> None:
        self._reader, self.declared = Reader(), Declared()
        self._number = 0

    def config(self, *documents: str) -> Config:
        """What the documents say, each in a file of its own.

        :raises AssertionError: when one of them has an error.
        """
        files = [TextFile(f"{at}.yaml", dedent(text).encode()) for at, text in enumerate(documents)]
        reading = self._reader(files)
        self._reader.keep(reading)
        wrong = [problem for problem in reading.problems if problem.code not in _OF_SEVERAL_OBJECTS]
        assert not has_errors(wrong), [str(problem) for problem in wrong]
        return reading.config

    def world(self, *documents: str, revision: str = "") -> World:
        config = self.config(*documents)
        self._number += 1
        services = self.declared.catalogue(config)
        return World(revision=revision or f"r{self._number}", config=config, services=services)


def a_config(*documents: str) -> Config:
    return Meshes().config(*documents)


def a_world(*documents: str) -> World:
    return Meshes().world(*documents)


def a_proxy(app: str = "productpage", namespace: str = NAMESPACE, **fields: Any) -> Proxy:
    """The sidecar of the workload that :func:`a_workload` makes of the same name."""
    said: dict[str, Any] = {
        "role": Role.SIDECAR,
        "name": f"{app}-1",
        "namespace": namespace,
        "address": "10.0.0.1",
        "service_account": app,
        "interception": Interception.REDIRECT,
        **fields,
        "labels": labels(fields.get("labels", {"app": app})),
    }
    return Proxy(**said)
