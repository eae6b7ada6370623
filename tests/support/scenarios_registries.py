"""What registries say in a scenario: ``registries.yaml`` beside its ``config``, as values.

A registry's services by host, each with its instances; whoever has a name is a workload, whose proxy may
connect. What is not said of a port or an instance is the default of the field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from mesh.config import Config
from mesh.labels import labels
from mesh.services import Port, Protocol, Provider, Workload
from registries.answers import Answer, Instance, Offer
from registries.combine import Shares
from tests.support.answers import a_service, an_answer

Written = Mapping[str, Any]


def answers(folder: Path) -> tuple[Answer, ...]:
    """In the order of trust; none when the scenario has no such file."""
    file = folder / "registries.yaml"
    written = yaml.safe_load(file.read_text()) if file.exists() else []
    return tuple(sorted((_answer(one) for one in written), key=lambda answer: answer.provider))


def shares(config: Config) -> Shares:
    """The hosts that registries serve together with others."""
    return {one.name: one.share_hosts for one in config.mesh.registries}


def _answer(written: Written) -> Answer:
    registry, provider = written["registry"], Provider[written["provider"].upper()]
    offers = [
        _offer(host, one, written["namespace"], registry, provider)
        for host, one in written["services"].items()
    ]
    instances = (one for offer in offers for one in (*offer.instances, *offer.unready))
    named = tuple(one.workload for one in instances if one.workload.name)
    return an_answer(offers, registry=registry, provider=provider, workloads=named)


def _offer(host: str, written: Written, namespace: str, registry: str, provider: Provider) -> Offer:
    number = written["port"]
    port = Port(
        number=number,
        name=written.get("name", "http"),
        protocol=Protocol(written.get("protocol", "HTTP")),
        target=number,
    )
    service = replace(a_service(host, namespace, provider), ports=(port,), registry=registry)
    serving, waiting = (
        tuple(sorted(_instances(written["instances"], number, namespace, is_ready=ready), key=_place))
        for ready in (True, False)
    )
    return Offer(service, serving, unready=waiting)


def _instances(written: list[Written], number: int, namespace: str, *, is_ready: bool) -> Iterator[Instance]:
    for one in written:
        if one.get("isReady", True) is not is_ready:
            continue
        at, _, port = one["at"].rpartition(":")
        account = one.get("serviceAccount", "")
        workload = Workload(
            name=one.get("name", ""),
            namespace=namespace,
            address=at,
            labels=labels(one.get("labels", {})),
            service_account=account or "default",
            weight=one.get("weight", 1),
            mutual_tls=bool(account),
            network=one.get("network", ""),
            is_ready=is_ready,
        )
        yield Instance(
            workload=workload, ports=((number, int(port)),), is_draining=one.get("isDraining", False)
        )


def _place(instance: Instance) -> tuple[object, ...]:
    return instance.place
