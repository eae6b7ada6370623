"""``python -m tests.bench.cluster_memory``: what a large cluster costs the control plane in memory.

1,000 Services with 100 Pods each, read, joined, guarded and combined as the daemon does it, without a server.
Prints what the process has then, in megabytes.
"""

from __future__ import annotations

import asyncio
import gc
import os

import click

from mesh.clock import SystemClock
from mesh.config import Config
from mesh.kinds.guards import Guards
from mesh.services import Provider
from registries.catalogues import Catalogues
from registries.draft import Draft
from registries.drops import Moment
from registries.guard import Guard
from registries.kubernetes import objects
from registries.kubernetes.inventory import Inventory
from registries.kubernetes.reading import Reading
from registries.networks import Networks
from tests.bench.usage import usage
from tests.support.cluster_objects import a_namespace, a_node, a_pod, a_service, a_slice, an_endpoint

SERVICES, PODS, NODES, NAMESPACES = 1000, 100, 500, 10


def put(inventory: Inventory, number: int) -> None:
    """One Service, with all that belongs to it; Pods are as large as a Deployment makes them."""
    app, namespace = f"service-{number}", f"namespace-{number % NAMESPACES}"
    places = range(number * PODS, (number + 1) * PODS)
    pods = {
        f"{app}-7d9f8b6c5d-{place:06}": (
            f"10.{place >> 16}.{place >> 8 & 255}.{place & 255}",
            f"3f2a91c0-0000-4000-8000-{place:012}",
            f"node-{place % NODES}",
        )
        for place in places
    }
    cluster_ip = f"172.16.{number >> 8}.{number & 255}"
    inventory.services.put(
        objects.service(a_service(app, namespace, clusterIP=cluster_ip, clusterIPs=[cluster_ip]))
    )
    labels = {"version": "v1", "pod-template-hash": "7d9f8b6c5d"}
    containers = [{"name": "app", "ports": [{"name": "http", "containerPort": 8080}]}]
    endpoints = []
    for name, (address, uid, node) in pods.items():
        written = a_pod(
            name,
            namespace,
            app=app,
            address=address,
            uid=uid,
            node=node,
            account=app,
            labels=labels,
            containers=containers,
        )
        inventory.pods.put(objects.pod(written))
        endpoints.append(
            an_endpoint(name, address, namespace=namespace, uid=uid, node=node, zone="eu-west-1a")
        )
    inventory.slices.put(objects.endpoint_slice(a_slice(*endpoints, service=app, namespace=namespace)))


async def measured() -> float:
    """Resident memory with everything served, in megabytes."""
    inventory, draft = Inventory(Reading(registry="east")), Draft("east", Provider.KUBERNETES)
    for number in range(NODES):
        inventory.nodes.put(objects.node(a_node(f"node-{number}", zone=f"eu-{number % 3}")))
    for number in range(NAMESPACES):
        inventory.namespaces.put(objects.namespace(a_namespace(f"namespace-{number}")))
    for number in range(SERVICES):
        put(inventory, number)
    await inventory.settle(draft, 0.0)
    believed = Guard(Guards()).take(draft.answer(), Moment.of(SystemClock()))
    catalogues = Catalogues()
    Networks().catalogue(catalogues, (believed,), {}, Config.build([]).mesh)
    if len(catalogues.latest.workloads) != SERVICES * PODS:
        raise AssertionError(f"{len(catalogues.latest.workloads)} workloads are served")
    gc.collect()
    return usage(os.getpid()).resident_mb


if __name__ == "__main__":
    click.echo(f"{asyncio.run(measured()):.0f}")
